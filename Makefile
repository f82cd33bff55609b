# extauthz. `make` alone prints what there is.
SHELL := /bin/bash
GO    ?= go
LINT  := $(GO) tool -modfile=tools/go.mod golangci-lint

.DEFAULT_GOAL := help
.PHONY: help build parts vet lint fmt test test-short clean

help: ## what can be made
	@awk -F ':.*## ' '/^[a-z0-9-]+:.*## /{printf "  make %-12s %s\n", $$1, $$2}' $(MAKEFILE_LIST)

build: ## compile everything
	$(GO) build ./...

parts: ## install what tests need beside Go: Postgres, a C compiler
	scripts/install-parts.sh gcc postgres

vet: ## go vet
	$(GO) vet ./...

lint: ## golangci-lint, with who may import whom (.golangci.yml)
	$(LINT) run ./...

fmt: ## gofmt everything
	gofmt -w $$(git ls-files '*.go')

test: parts vet lint ## what CI runs: vet, lint, all tests with the race detector
	$(GO) test -race ./...

test-short: ## tests that need nothing beside Go, under a minute
	$(GO) test -short ./...

clean: ## remove what was built
	rm -rf bin
