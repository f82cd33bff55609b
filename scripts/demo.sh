#!/usr/bin/env bash
# Shows the service at its main task: a real Envoy, the service on SQLite, an upstream
# that returns the request that reached it, and a series of requests with their real
# answers. Stays up until Ctrl-C; with DEMO_ONCE=1 it ends after the tour, and fails if
# any answer was not the expected one.
#
# It must not fail on a slow machine. So it waits for answers, never for a fixed time:
# first for a denial and an allowed request through Envoy, then, during the tour, for an
# answer of the service if Envoy got none in time and sent its own 503. Each wait prints
# what it waits for, and ends early if a process has ended. The limit is for conditions
# that will never come true.
set -euo pipefail
cd "$(dirname "$0")/.."
version=${ENVOY_VERSION:-1.40.0}
limit=600 # seconds a wait may take

# Settings of another installation must not apply here.
for variable in "${!EXTAUTHZ_@}"; do unset "$variable"; done

work=$(mktemp -d)
pids=() names=() # the processes that must stay up
task=            # the command that is being waited for
stop() {
  trap - EXIT INT TERM
  for pid in $task "${pids[@]}"; do kill "$pid" 2>/dev/null || true; done
  for pid in $task "${pids[@]}"; do wait "$pid" 2>/dev/null || true; done
  rm -rf "$work"
}
trap stop EXIT
trap 'stop; exit 130' INT
trap 'stop; exit 143' TERM

# fail REASON [ADVICE]: the reason, the end of each log, and what to do.
fail() {
  local log
  end_line
  for log in "$work"/*.log; do
    [ -s "$log" ] || continue
    printf -- '--- the end of %s\n' "${log##*/}" >&2
    tail -n 15 "$log" >&2
    echo >&2
  done
  echo "demo: $1; ${2:-see the logs above, and run make demo again}" >&2
  exit 1
}

# say TEXT: prints a status line. On a terminal each call overwrites the line; elsewhere a
# line is printed at most every five seconds.
said_at=0
say() {
  if [ -t 1 ]; then
    printf '\r\033[K  %s' "$1"
    said_at=1
  elif [ "$SECONDS" -ge $((said_at + 5)) ]; then
    printf '  %s\n' "$1"
    said_at=$SECONDS
  fi
}
end_line() {
  if [ -t 1 ] && [ "$said_at" != 0 ]; then printf '\r\033[K'; fi
  said_at=$SECONDS
  if [ -t 1 ]; then said_at=0; fi
}

# patiently TITLE STATE COMMAND…: runs a command without a time limit. Meanwhile it shows
# what STATE prints about the command's log.
patiently() {
  local title=$1 state=$2 start=$SECONDS
  shift 2
  echo "$title ..."
  end_line
  : >"$work/task.out"
  : >"$work/task.log" # STATE may read them before the command has begun
  "$@" >"$work/task.out" 2>"$work/task.log" &
  task=$!
  while kill -0 "$task" 2>/dev/null; do
    say "$((SECONDS - start)) s: $($state)"
    sleep 0.3
  done
  wait "$task" || fail "this failed: $title" "see the end of task.log above"
  task=
  end_line
  rm "$work/task.log"
}

# until_true WHAT COMMAND…: waits until a command succeeds, as long as all processes are up.
until_true() {
  local what=$1 start=$SECONDS i
  shift
  until "$@" >"$work/last.log" 2>&1; do
    for i in "${!pids[@]}"; do
      kill -0 "${pids[$i]}" 2>/dev/null || fail "${names[$i]} has ended while waiting until $what" "see its log above"
    done
    [ $((SECONDS - start)) -lt $limit ] || fail "waited $limit s in vain until $what" "see last.log above for what was seen last"
    say "$((SECONDS - start)) s: waiting until $what"
    sleep 0.2
  done
  end_line
  rm -f "$work/last.log"
}

# start NAME COMMAND…: starts a process that must stay up, with a log of its own.
start() {
  local name=$1
  shift
  "$@" >"$work/$name.log" 2>&1 &
  pids+=($!) names+=("$name")
}

command -v go >/dev/null || fail "there is no Go on this machine" "install Go 1.26 or newer, or use the image (docs/deployment.md)"
fetching() { tail -n 1 "$work/task.out" | grep . || echo "none is missing so far"; }
compiling() {
  local fetched compiled
  fetched=$(grep -c '^go: downloading' "$work/task.log") || true
  compiled=$(grep -vc '^go: ' "$work/task.log") || true
  echo "$fetched modules downloaded, $compiled packages compiled${packages:+ of at most $packages}"
}
packages=
patiently "Looking for curl and Envoy $version" fetching scripts/install-parts.sh curl "envoy=$version"
patiently "Looking for the modules" compiling go list -deps ./cmd/extauthz ./e2e/echo
packages=$(wc -l <"$work/task.out")
mkdir "$work/bin"
patiently "Building the service and an echo upstream (the first time several minutes)" compiling go build -v -buildvcs=false -o "$work/bin/" ./cmd/extauthz ./e2e/echo
extauthz=$work/bin/extauthz
envoy=${XDG_CACHE_HOME:-$HOME/.cache}/extauthz/envoy/$version/envoy/_bin/envoy
cd "$work" # an extauthz.yaml in the source folder must not apply to the demo

# free PORT: prints this port if nothing listens on it, else the next free one.
free() {
  local port=$1
  while (exec 3<>"/dev/tcp/127.0.0.1/$port") 2>/dev/null; do port=$((port + 1)); done
  echo "$port"
}
gateway=127.0.0.1:$(free 10000) upstream=127.0.0.1:$(free 18080)
export EXTAUTHZ_DATA_DIR=$work/data EXTAUTHZ_GRPC__LISTEN=127.0.0.1:$(free 9001) EXTAUTHZ_HTTP__LISTEN=127.0.0.1:$(free 9002) EXTAUTHZ_OPS__LISTEN=127.0.0.1:$(free 9090)
admin=127.0.0.1:$(free 9003)
export EXTAUTHZ_ADMIN__LISTEN=$admin EXTAUTHZ_SERVER=http://$admin

echo "Starting the service, the upstream and Envoy ..."
start extauthz "$extauthz" serve
start upstream "$work/bin/echo" "$upstream"
"$extauthz" envoy bootstrap --upstream "$upstream" --listen "$gateway" >"$work/envoy.yaml"
start envoy "$envoy" -c "$work/envoy.yaml" --use-dynamic-base-id --log-level warn

# ask CURL-ARGUMENTS…: sets status, and writes the answer to a file. Status 000 means no
# answer.
ask() {
  status=$(curl -q --noproxy '*' -s --max-time 60 -o "$work/answer" -w '%{http_code}' "$@") || status=000
}
answers() { # STATUS TEXT CURL-ARGUMENTS…
  local wanted=$1 text=$2
  shift 2
  ask "$@"
  echo "HTTP $status"
  cat "$work/answer" || true
  [ "$status" = "$wanted" ] && grep -q "$text" "$work/answer"
}
new_key() { # FILE FLAGS…
  local file=$1
  shift
  "$extauthz" keys create -o json "$@" >"$work/$file.json" && sed -n 's/^  "key": "\(.*\)",$/\1/p' "$work/$file.json" >"$work/$file" && [ -s "$work/$file" ]
}
until_true "the service is ready" "$extauthz" healthcheck
until_true "Envoy denies a request without a key" answers 401 missing_key "http://$gateway/orders/42"
until_true "alice has a key" new_key key --user alice --name laptop --scope orders:read
until_true "bob has a key" new_key doomed --user bob --name old-job --scope orders:read
key=$(<"$work/key") doomed=$(<"$work/doomed")
until_true "Envoy lets a request with a key through" answers 200 x-auth-key-id -H "x-api-key: $key" "http://$gateway/orders/42"

failed=0
no_decision() { [ "$status" = 503 ] || [ "$status" = 504 ] || [ "$status" = 000 ]; }
decided() {
  ask "$@"
  echo "HTTP $status"
  ! no_decision
}
# tour TITLE EXPECTED-STATUS CURL-ARGUMENTS…
tour() {
  local title=$1 expected=$2 shown argument
  shift 2
  until_true "Envoy has an answer of the service in time" decided "$@"
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
    { grep -iE '^(GET|x-auth-|x-api-key)' "$work/answer" || true; } | sed 's/\r$//; s/^/    /'
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
tour "Another key, still valid" 200 -H "x-api-key: $doomed" "http://$gateway/orders/42"
until_true "bob's key is revoked" "$extauthz" keys revoke "${doomed%_*}"
tour "The same key, revoked a moment ago" 401 -H "x-api-key: $doomed" "http://$gateway/orders/42"
explained() { # 3: denied
  EXTAUTHZ_KEY=$doomed "$extauthz" explain GET /orders/42 >"$work/explained" || [ $? = 3 ]
}
until_true "the decision is explained" explained
printf '\n\033[1mWhy?\033[0m\n  $ EXTAUTHZ_KEY=$OLD_KEY extauthz explain GET /orders/42\n'
sed 's/^/    /' "$work/explained"

if [ -n "${DEMO_ONCE:-}" ]; then exit $failed; fi
cat <<TEXT

Still running. In another terminal:

  export EXTAUTHZ_SERVER=http://$admin EXTAUTHZ_DATA_DIR=$work/data
  curl -i -H 'x-api-key: $key' http://$gateway/orders/42
  $extauthz keys list
  $extauthz keys create --user carol --name ci --scope orders:create

Ctrl-C ends it.
TEXT
wait -n "${pids[@]}" || true
fail "a process has ended" "see its log above"
