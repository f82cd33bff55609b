#!/usr/bin/env bash
# Compiles a program as it is released:
#   VERSION=1.2.3 scripts/compile.sh OS ARCH FILE PACKAGE
# static, without symbols, paths and dates of this machine: the same bytes for the
# same sources, VERSION and Go.
set -euo pipefail
cd "$(dirname "$0")/.."

# Others' packages that no cached check runs through are compiled without inlining:
# 3 MB less. GORM looks methods up by name, so the linker keeps every exported
# method, such as go-redis's hundreds of commands (inlined into each of its seven
# clients 2.2 MB) of which we use a dozen. What reads and writes Redis's protocol,
# and Envoy's messages, stay as they are.
small=()
for packages in github.com/... gorm.io/... go.yaml.in/... golang.org/x/text/... encoding/gob encoding/xml text/template/... internal/profile; do
  small+=("-gcflags=$packages=-l")
done
for packages in github.com/envoyproxy/... github.com/redis/go-redis/v9/internal/...; do small+=("-gcflags=$packages="); done

# grpcnotrace leaves out a tracer that is not used.
CGO_ENABLED=0 GOOS=$1 GOARCH=$2 GOAMD64=v1 GOARM64=v8.0 GOEXPERIMENT= GOFLAGS= go build -trimpath -buildvcs=false -tags grpcnotrace "${small[@]}" \
  -ldflags "-s -w -buildid= -X main.version=${VERSION:-dev}" -o "$3" "$4"
