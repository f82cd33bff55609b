#!/usr/bin/env bash
# Prints the version of this tree, in SemVer and without "v". It comes from git's tags
# alone. On the commit that the tag v1.2.3 names, it is 1.2.3. On other commits it has the
# form of Go's pseudo-versions: 1.2.4-0.20270131093000-8f2d3abc0def (0.0.0-… before the
# first tag). So it depends on the commit and its tags, not on how much was cloned. Files
# with changes that are not committed add "changed" at the end. Without git it is "dev".
set -euo pipefail
cd "$(dirname "$0")/.."
commit=$(git rev-parse --short=12 HEAD 2>/dev/null) || { echo dev; exit; }
pseudo=$(TZ=UTC git log -1 --format=%cd --date=format-local:%Y%m%d%H%M%S)-${commit:0:12}
if described=$(git describe --tags --long --abbrev=12 --match 'v[0-9]*.[0-9]*.[0-9]*' 2>/dev/null); then
  tag=${described%-*-g*} behind=${described%-g*}
  version=${tag#v} behind=${behind##*-}
  if [ "$behind" != 0 ]; then
    case $version in
      *-*) version=$version.0.$pseudo ;;
      *) version=${version%.*}.$((${version##*.} + 1))-0.$pseudo ;;
    esac
  fi
else
  version=0.0.0-$pseudo
fi
if [ -n "$(git status --porcelain)" ]; then
  case $version in *-*) version+=.changed ;; *) version+=-changed ;; esac
fi
echo "$version"
