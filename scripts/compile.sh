#!/usr/bin/env bash
# Compiles a program as it is released:
#   VERSION=1.2.3 scripts/compile.sh OS ARCH FILE PACKAGE
# The program is static, without symbols, paths and dates of this machine. The same
# sources, VERSION and Go give the same bytes.
set -euo pipefail
cd "$(dirname "$0")/.."

# Packages of other projects that a cached check does not use are compiled without
# inlining, which saves 3 MB. GORM looks methods up by name, so the linker keeps every
# exported method, such as go-redis's hundreds of commands, of which we use a dozen
# (inlined into each of its seven clients, they take 2.2 MB). Packages for Redis's
# protocol and for Envoy's messages are inlined as usual.
small=()
for packages in github.com/... gorm.io/... go.yaml.in/... golang.org/x/text/... encoding/gob encoding/xml text/template/... internal/profile; do
  small+=("-gcflags=$packages=-l")
done
for packages in github.com/envoyproxy/... github.com/redis/go-redis/v9/internal/...; do small+=("-gcflags=$packages="); done

# grpcnotrace leaves out a tracer that is not used.
CGO_ENABLED=0 GOOS=$1 GOARCH=$2 GOAMD64=v1 GOARM64=v8.0 GOEXPERIMENT= GOFLAGS= go build -trimpath -buildvcs=false -tags grpcnotrace "${small[@]}" \
  -ldflags "-s -w -buildid= -X main.version=${VERSION:-dev}" -o "$3" "$4"
