#!/usr/bin/env bash
# Builds the images extauthz and extauthz-echo (an upstream for trials):
#   scripts/image.sh [ARCH]     amd64 or arm64; this machine's by default
# Compiles in Go's image if that is present or can be pulled, else with the Go of this
# machine. IMAGE_BUILD=image or IMAGE_BUILD=machine forces one of the two. TAG is "local"
# by default.
set -euo pipefail
cd "$(dirname "$0")/.."
arch=${1:-$(uname -m | sed 's/x86_64/amd64/; s/aarch64/arm64/')}
tag=${TAG:-local} docker=${DOCKER:-docker}
go_image=$(sed -n 's/^ARG GO_IMAGE=//p' Dockerfile)
export VERSION=${VERSION:-$(scripts/version.sh)}
revision=$(git rev-parse HEAD 2>/dev/null || echo unknown)
export SOURCE_DATE_EPOCH=${SOURCE_DATE_EPOCH:-$(git log -1 --format=%ct 2>/dev/null || echo 0)}
fail() { echo "image: $*" >&2; exit 1; }
"$docker" version >/dev/null 2>&1 || fail "no Docker Engine answers: start one, or set DOCKER_HOST"

# BuildKit is built into Docker clients before version 23. For later ones it is a plugin
# (buildx).
kit=0
if [ "$("$docker" version -f '{{.Client.Version}}' | cut -d. -f1)" -lt 23 ] || "$docker" buildx version >/dev/null 2>&1; then kit=1; fi
where=${IMAGE_BUILD:-}
if [ -z "$where" ]; then
  where=machine
  if [ $kit = 1 ] && { "$docker" image inspect "$go_image" >/dev/null 2>&1 || timeout 300 "$docker" pull -q "$go_image" >/dev/null 2>&1; }; then where=image; fi
fi
build() { # TARGET NAME
  DOCKER_BUILDKIT=$kit "$docker" build -q --platform "linux/$arch" --target "$1" -t "$2:$tag" --build-arg "TARGETARCH=$arch" \
    --build-arg "VERSION=$VERSION" --build-arg "REVISION=$revision" --build-arg "SOURCE_DATE_EPOCH=$SOURCE_DATE_EPOCH" . >/dev/null
}
case $where in
  image)
    echo "image: compiling in $go_image"
    targets=(image echo) ;;
  machine)
    command -v go >/dev/null || fail "$go_image can't be had, and there is no Go on this machine: install one of them"
    echo "image: $go_image can't be had or is not asked for: compiling with this machine's $(go env GOVERSION)"
    laid=dist/image/$arch
    scripts/image-root.sh "$arch" "$laid"
    pack() { tar --sort=name --mtime="@$SOURCE_DATE_EPOCH" --numeric-owner --format=gnu "$@"; }
    pack --owner=0 --group=0 -cf "$laid/root.tar" -C "$laid/root" .
    pack --owner=65532 --group=65532 --transform 's,^,./var/lib/,' -rf "$laid/root.tar" -C "$laid/data" extauthz
    pack --owner=0 --group=0 -cf "$laid/echo.tar" -C "$laid/echo" .
    targets=(prebuilt prebuilt-echo) ;;
  *) fail "IMAGE_BUILD=$where: write image or machine" ;;
esac
build "${targets[0]}" extauthz
build "${targets[1]}" extauthz-echo
size=$("$docker" image inspect -f '{{.Size}}' "extauthz:$tag")
printf 'image: extauthz:%s (linux/%s, %s), %d.%d MB\n' "$tag" "$arch" "$VERSION" $((size / 1000000)) $((size % 1000000 / 100000))
