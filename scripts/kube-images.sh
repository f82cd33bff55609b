#!/usr/bin/env bash
# Makes what the cluster of `make e2e-kube` runs, without an engine and a registry:
#   scripts/kube-images.sh FOLDER [platforms]
# The service's image and the chart are those of a release of this tree; the others
# are stand-ins made of this machine's programs (scripts/stand-ins.sh) and programs of
# `scripts/install-parts.sh nodes`. Below FOLDER: images/*.tar, extauthz.tgz; with
# "platforms" also envoy-gateway/*.tar, of what `scripts/install-parts.sh kube` has built.
set -euo pipefail
cd "$(dirname "$0")/.."
out=$1
arch=$(go env GOARCH)
programs=${XDG_CACHE_HOME:-$HOME/.cache}/extauthz/kube/$(sha256sum tools/kube/go.mod | cut -c1-12)
work=$(mktemp -d)
trap 'rm -rf "$work"' EXIT
mkdir -p "$out/images"
go build -o "$work/imagepack" ./scripts/imagepack
export DOCKER=$work/imagepack IMAGES=$out/images

go run ./scripts/release -draft -o "$work/release"
mv "$work"/release/*_image_linux_"$arch".tar "$out/images/extauthz.tar"
mv "$work"/release/extauthz-*.tgz "$out/extauthz.tgz"

# alone NAME FILE [USER]: an image of one static program.
alone() {
  mkdir -p "$work/root/usr/bin"
  cp "$2" "$work/root/usr/bin/${2##*/}"
  tar -C "$work/root" -c . | "$DOCKER" import --change "ENTRYPOINT [\"/usr/bin/${2##*/}\"]" ${3:+--change "USER $3"} - "$1"
  rm -rf "$work/root"
}
scripts/compile.sh linux "$arch" "$work/echo" ./e2e/echo
alone extauthz-echo:local "$work/echo"
alone localhost/pause:local "$programs/pause"
alone localhost/coredns:local "$programs/coredns"
scripts/stand-ins.sh redis postgres envoy

[ "${2:-}" = platforms ] || exit 0
if ! [ -e "$programs/charts" ]; then
  echo "kube-images: no image of Envoy Gateway: scripts/install-parts.sh kube builds them"
  exit
fi
mkdir -p "$out/envoy-gateway"
export IMAGES=$out/envoy-gateway
alone docker.io/envoyproxy/gateway:local "$programs/envoy-gateway" 65532:65532
