#!/usr/bin/env bash
# Makes what the cluster of `make e2e-kube` runs, without an engine and a registry:
#   scripts/kube-images.sh FOLDER [platforms]
# The service's image and the chart are those of a release of this tree; the others
# are stand-ins made of this machine's programs (scripts/stand-ins.sh) and programs of
# `scripts/install-parts.sh nodes`. Below FOLDER: images/*.tar, extauthz.tgz; with
# "platforms" also envoy-gateway/*.tar and istio/*.tar, of what `scripts/install-parts.sh
# kube` has built. The Envoy in Istio's images is the stock one.
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
  echo "kube-images: no images of Istio and Envoy Gateway: scripts/install-parts.sh kube builds them"
  exit
fi
mkdir -p "$out/envoy-gateway" "$out/istio"
export IMAGES=$out/envoy-gateway
alone docker.io/envoyproxy/gateway:local "$programs/envoy-gateway" 65532:65532
export IMAGES=$out/istio
alone localhost/istio/pilot:local "$programs/pilot-discovery" 1337:1337
# Istio's proxy is its agent, which starts an Envoy: here that of the image made before.
# By iptables it sends a pod's traffic to that Envoy.
. scripts/take.sh
root=$work/proxy
mkdir "$root"
tar -xOf "$out"/images/*envoyproxy_envoy_*.tar --wildcards '*/layer.tar' | tar -C "$root" -x
mkdir -p "$root/usr/local/bin" "$root/var/lib/istio/envoy"
cp "$programs/pilot-agent" "$root/usr/local/bin/"
ln -s ../../bin/envoy "$root/usr/local/bin/envoy"
cp "$programs/charts/envoy_bootstrap.json" "$root/var/lib/istio/envoy/envoy_bootstrap_tmpl.json"
take /usr/sbin/{ip,ip6}tables{,-save,-restore} "$(dirname "$(find /usr/lib -name libxt_REDIRECT.so -o -name libxt_standard.so | head -n 1)")"/*.so
chmod -R a+rX "$root"
tar -C "$root" -c . | "$DOCKER" import --change 'ENTRYPOINT ["/usr/local/bin/pilot-agent"]' --change 'ENV PATH=/usr/local/bin:/usr/sbin:/usr/bin' - localhost/istio/proxyv2:local
