#!/usr/bin/env bash
# Compiles the programs and lays out the files of the image:
#   scripts/image-root.sh ARCH FOLDER
# Below FOLDER are root/ (the image's files), data/ (the data folder, which belongs to the
# image's user) and echo/ (the upstream for trials). The same sources, Go and roots of
# trust give the same bytes: VERSION is an input, and every timestamp is
# SOURCE_DATE_EPOCH.
set -euo pipefail
cd "$(dirname "$0")/.."
arch=$1 out=$2 epoch=${SOURCE_DATE_EPOCH:-0}
roots=/etc/ssl/certs/ca-certificates.crt
[ -s $roots ] || { echo "image-root: $roots is missing: install ca-certificates" >&2; exit 1; }
umask 022
rm -rf "$out"
mkdir -p "$out"/{root/usr/bin,root/etc/extauthz,root/etc/ssl/certs,root/var/lib,data/extauthz,echo/usr/bin}

scripts/compile.sh linux "$arch" "$out/root/usr/bin/extauthz" ./cmd/extauthz
scripts/compile.sh linux "$arch" "$out/echo/usr/bin/echo" ./e2e/echo
cp $roots "$out/root/etc/ssl/certs/"
cp scripts/compose/image.yaml "$out/root/etc/extauthz/extauthz.yaml"
printf 'extauthz:x:65532:65532::/var/lib/extauthz:/sbin/nologin\n' >"$out/root/etc/passwd"
printf 'extauthz:x:65532:\n' >"$out/root/etc/group"
chmod -R u=rwX,go=rX "$out"
chmod 750 "$out/data/extauthz"
find "$out" -exec touch -h -d "@$epoch" {} +
