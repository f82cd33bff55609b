#!/usr/bin/env bash
# Compiles and lays out what goes into the image:
#   scripts/image-root.sh ARCH FOLDER
# below FOLDER: root/ (the image's files), data/ (the data folder, which belongs
# to the image's user), echo/ (the upstream for trials). The same bytes for the
# same sources, Go and roots of trust: VERSION is given, and every time is
# SOURCE_DATE_EPOCH.
set -euo pipefail
cd "$(dirname "$0")/.."
arch=$1 out=$2 version=${VERSION:-dev} epoch=${SOURCE_DATE_EPOCH:-0}
roots=/etc/ssl/certs/ca-certificates.crt
[ -s $roots ] || { echo "image-root: $roots is missing: install ca-certificates" >&2; exit 1; }
umask 022
rm -rf "$out"
mkdir -p "$out"/{root/usr/bin,root/etc/extauthz,root/etc/ssl/certs,root/var/lib,data/extauthz,echo/usr/bin}

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

# compile PROGRAM PACKAGE: static, without paths and dates of this machine.
# grpcnotrace leaves a tracer out that nobody reads.
compile() {
  CGO_ENABLED=0 GOOS=linux GOARCH=$arch GOFLAGS= go build -trimpath -buildvcs=false -tags grpcnotrace "${small[@]}" \
    -ldflags "-s -w -buildid= -X main.version=$version" -o "$1" "$2"
}
compile "$out/root/usr/bin/extauthz" ./cmd/extauthz
compile "$out/echo/usr/bin/echo" ./e2e/echo
cp $roots "$out/root/etc/ssl/certs/"
cp scripts/compose/image.yaml "$out/root/etc/extauthz/extauthz.yaml"
printf 'extauthz:x:65532:65532::/var/lib/extauthz:/sbin/nologin\n' >"$out/root/etc/passwd"
printf 'extauthz:x:65532:\n' >"$out/root/etc/group"
chmod -R u=rwX,go=rX "$out"
chmod 750 "$out/data/extauthz"
find "$out" -exec touch -h -d "@$epoch" {} +
