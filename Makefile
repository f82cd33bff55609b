# extauthz. `make` alone prints what there is.
SHELL := /bin/bash
GO    ?= go
ENVOYS      := 1.36.4 1.40.0
QUICKSTART_ENVOY := 1.40.0
ALL_ENVOYS  := 1.36.4 1.37.0 1.38.3 1.40.0
LINT  := $(GO) tool -modfile=tools/go.mod golangci-lint

.DEFAULT_GOAL := help
.PHONY: words image release e2e-compose test-alerts e2e-kube e2e-kube-short bench bench-all pgo bench-pgo bench-revocation bench-flood bench-feed bench-search help build test-api test-chart parts vet lint fmt test test-full test-short clean run demo quickstart check docs vuln

help: ## what can be made
	@awk -F ':.*## ' '/^[a-z0-9-]+:.*## /{printf "  make %-17s %s\n", $$1, $$2}' $(MAKEFILE_LIST)

build: ## compile the binary to bin/extauthz
	CGO_ENABLED=0 $(GO) build -ldflags "-X main.version=$$(scripts/version.sh)" -o bin/extauthz ./cmd/extauthz

demo: ## the main job at work: Envoy, the service, an upstream, a tour of requests
	scripts/demo.sh

quickstart: ## what the README starts, in dist/quickstart: the service, a real Envoy, an upstream that returns what it receives
	@echo "quickstart: 1 of 2: finding or fetching Envoy $(QUICKSTART_ENVOY), and curl"
	scripts/install-parts.sh curl envoy=$(QUICKSTART_ENVOY)
	@echo "quickstart: 2 of 2: compiling; the first time takes minutes, since Go downloads the modules too"
	mkdir -p dist/quickstart
	CGO_ENABLED=0 $(GO) build -ldflags "-X main.version=$$(scripts/version.sh)" -o dist/quickstart/extauthz ./cmd/extauthz
	CGO_ENABLED=0 $(GO) build -o dist/quickstart/upstream ./e2e/echo
	ln -sf "$${XDG_CACHE_HOME:-$$HOME/.cache}/extauthz/envoy/$(QUICKSTART_ENVOY)/envoy/_bin/envoy" dist/quickstart/envoy

run: build ## run the service alone, on SQLite
	bin/extauthz serve

parts: ## install what tests need beside Go: a C compiler, curl, openssl, Postgres, PgBouncer, Redis, nginx, Caddy, backends (PHP, WSGI, Rack, CGI), Envoy, Helm, tools for the API's document
	scripts/install-parts.sh gcc curl openssl postgres pgbouncer redis nginx caddy backends chart api $(addprefix envoy=,$(ENVOYS))

vet: ## go vet
	$(GO) vet -tags full,kube,compose ./...

words: ## private words where a standard term exists, in names, comments, texts and documents
	$(GO) run ./scripts/words .

lint: words ## golangci-lint, with who may import whom (.golangci.yml), and the word list
	$(LINT) run --build-tags full,kube,compose ./...

check: ## the fast loop (goal: 2 minutes once compiled): gofmt, vet, tests that need nothing but Go
	@unformatted=$$(gofmt -l $$(git ls-files '*.go')); [ -z "$$unformatted" ] || { echo "check: not formatted: $$unformatted; run make fmt" >&2; exit 1; }
	$(GO) vet ./...
	$(GO) test -short ./...

docs: ## the documentation's site, in dist/docs/site; links, anchors and diagrams are checked
	scripts/install-parts.sh docs
	scripts/docs.sh

vuln: ## known vulnerabilities in what the service calls, by govulncheck and its database (VULNDB=URL for a copy)
	$(GO) run golang.org/x/vuln/cmd/govulncheck@v1.9.0 $(if $(VULNDB),-db $(VULNDB)) ./cmd/extauthz

fmt: ## gofmt everything
	gofmt -w $$(git ls-files '*.go')

test: parts vet lint ## what CI runs: vet, lint, all tests with the race detector
	$(GO) test -race -timeout 40m ./e2e ./models ./... # what takes longest first
	$(GO) test -count=1 -run Allocates ./authz ./envoy ./cachesvc
	$(GO) test -count=1 -run TestModel_SeesDeliberateFaults/each_run ./cachesvc
	DEMO_ONCE=1 scripts/demo.sh

image: ## the images extauthz:local and extauthz-echo:local, for ARCH (amd64, arm64; this machine's by default)
	scripts/image.sh $(ARCH)

release: ## what is published of this commit, in dist/release: archives, images, chart, SBOMs, checksums, with RELEASE_KEY=FILE signed (docs/releasing.md)
	$(GO) run ./scripts/release $(if $(RELEASE_KEY),-key $(RELEASE_KEY))

e2e-compose: test-alerts ## compose.yaml on a real Docker Engine, started where none runs
	scripts/e2e-compose.sh

test-alerts: ## the alert rules, by promtool
	scripts/install-parts.sh prometheus
	promtool check rules helm/extauthz/files/alerts.yaml
	promtool test rules e2e/testdata/alerts.yaml

test-api: ## the management API held to its document: Redocly, Spectral, Schemathesis, a generated client
	scripts/install-parts.sh gcc api
	CI=true $(GO) test -count=1 ./e2e/api

test-chart: ## the Helm chart: linted, rendered, held to Kubernetes' schemas, its configuration run
	scripts/install-parts.sh postgres redis chart
	CI=true $(GO) test -count=1 ./e2e/chart

test-full: ENVOYS = $(ALL_ENVOYS)
test-full: parts vet lint ## also what takes longer: every Envoy, a million keys, a release made twice, fuzzing
	E2E_ENVOYS="$(ALL_ENVOYS)" CI=true $(GO) test -race -count=1 -timeout 60m ./...
	scripts/install-parts.sh traefik=3.7.13 caddy=2.11.9
	CI=true $(GO) test -tags full -timeout 20m -run '^(TestEachProxy|TestProxies_|TestBackends|TestCaddy)' ./e2e
	E2E_PLAIN_BUILD=1 CI=true $(GO) test -tags full -run TestRotation -v -timeout 20m ./e2e
	E2E_PLAIN_BUILD=1 CI=true $(GO) test -tags full -run TestAMillionKeys -v -timeout 20m ./e2e
	$(GO) test -count=1 -run TestModel_SeesDeliberateFaults ./cachesvc
	$(GO) test -count=1 -tags full -run AgreesWithServe -timeout 30m ./cmd/extauthz/internal/server
	E2E_PLAIN_BUILD=1 CI=true $(GO) test -tags full -run '^((TestConditions|TestUsage)_|TestLostReplica)' -timeout 30m ./e2e
	CI=true $(GO) test -tags full -timeout 30m ./e2e/floods
	CI=true $(GO) test -tags full -run TestRelease_IsTheSameBytesTwice -v -timeout 40m ./scripts/release
	scripts/install-parts.sh cosign
	CI=true $(GO) test -count=1 -tags full -run TestCosign ./scripts/release
	CI=true $(GO) test -count=1 -tags full -run TestFirstHour -timeout 30m ./e2e/firsthour
	$(GO) test ./authz -run '^$$' -fuzz FuzzRouteTableAgreesWithServeMux -fuzztime 60s -fuzzminimizetime 100x
	$(GO) test ./authz -run '^$$' -fuzz FuzzCanonicalPathIsWhatEveryPartyReads -fuzztime 60s -fuzzminimizetime 100x
	$(GO) test ./authz -run '^$$' -fuzz FuzzPathPolicy_NoReadingOfAnEncodedPathLeavesItsRule -fuzztime 60s -fuzzminimizetime 100x
	$(GO) test ./cachesvc/internal/l1 -run '^$$' -fuzz FuzzTable_IsAMap -fuzztime 60s -fuzzminimizetime 1x
	$(GO) test ./envoy -run '^$$' -fuzz FuzzFoldAgreesWithReferenceAndExpressions -fuzztime 60s -fuzzminimizetime 100x
	$(GO) test ./envoy -run '^$$' -fuzz FuzzAnyCheckRequestIsAnswered -fuzztime 60s -fuzzminimizetime 100x
	$(GO) test ./envoy -run '^$$' -fuzz FuzzBytesAreDecidedAboutAsMessages -fuzztime 60s -fuzzminimizetime 100x
	$(GO) test ./cmd/extauthz/internal/duration -run '^$$' -fuzz FuzzParse_AgreesWithGo -fuzztime 60s -fuzzminimizetime 100x
	$(GO) test ./envoy -run '^$$' -fuzz FuzzTheRealAuthorizerAnswersAnything -fuzztime 60s -fuzzminimizetime 100x

e2e-kube: ## the chart on two nodes of a real Kubernetes under load, and Istio, Envoy Gateway and Contour on its API, as plain processes; as root (the first time 20 to 40 minutes more, to build them)
	scripts/install-parts.sh gcc postgres redis chart kube nodes contour $(addprefix envoy=,$(ENVOYS))
	CI=true $(GO) test -tags kube -count=1 -run 'Installs|Holds|Hook' -v -timeout 10m ./e2e/chart
	CI=true $(GO) test -tags kube -count=1 -run '^(TestPlatforms|TestControlPlanes)$$' -v -timeout 20m ./e2e
	CI=true $(GO) test -tags kube -count=1 -v -timeout 60m ./e2e/nodes

e2e-kube-short: ## installation, upgrade and drain on these nodes, where e2e-kube has built them (2 minutes); else it says so
	scripts/install-parts.sh postgres redis chart nodes=built
	CI=true $(GO) test -tags kube -count=1 -short -v -timeout 10m ./e2e/nodes

test-short: ## tests that need nothing beside Go, under a minute
	$(GO) test -short ./...

bench: parts ## CPU, latency, memory, creation and cold start, with baselines that decide nothing, into docs/benchmarks.md (15 minutes)
	$(GO) run ./e2e/bench headline -o docs/benchmarks.md

bench-all: parts ## each dimension by itself too, and the whole hop through Envoy (40 minutes); `go run ./e2e/bench -h` for parts of it
	$(GO) run ./e2e/bench all -o docs/benchmarks.md

pgo: parts ## record what the service does under load, for the compiler: cmd/extauthz/default.pgo
	$(GO) run ./e2e/bench pgo cmd/extauthz/default.pgo

bench-pgo: parts ## whether that helps: this build beside one without it
	$(GO) build -pgo=off -o dist/extauthz-plain ./cmd/extauthz
	$(GO) run ./e2e/bench compare dist/extauthz-plain

bench-revocation: parts ## the time from a revocation's answer to the last allowed check, on three processes
	E2E_PLAIN_BUILD=1 CI=true $(GO) test ./e2e -run '^$$' -bench Revocation -benchtime 1x -timeout 30m

bench-flood: parts ## how long cold real keys take beside 20,000 forged ones a second
	E2E_PLAIN_BUILD=1 CI=true $(GO) test ./e2e -run '^$$' -bench Flood -benchtime 1x -timeout 10m

bench-feed: parts ## one statement over a million keys, a start right after it, a transaction that stays open: decisions, memory, time and CPU
	E2E_PLAIN_BUILD=1 CI=true $(GO) test ./e2e -run '^$$' -bench Feed -benchtime 1x -timeout 15m

bench-search: parts ## how long a page of a search takes among five million keys
	E2E_PLAIN_BUILD=1 CI=true $(GO) test ./e2e -run '^$$' -bench Search -benchtime 1x -timeout 15m

clean: ## remove what was built
	rm -rf bin dist
