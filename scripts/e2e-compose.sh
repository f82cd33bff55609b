#!/usr/bin/env bash
# Runs the end-to-end suite of compose.yaml on a real Docker Engine. If none answers, it
# starts one (as root), stops it in the end and undoes its network settings. Images are
# pulled or made on this machine. DOCKER and COMPOSE name the programs ("docker compose"
# or "docker-compose").
set -euo pipefail
cd "$(dirname "$0")/.."
fail() { echo "e2e-compose: $*" >&2; exit 1; }
scripts/install-parts.sh docker
export DOCKER=${DOCKER:-docker}
if [ -z "${COMPOSE:-}" ]; then
  if "$DOCKER" compose version >/dev/null 2>&1; then COMPOSE="$DOCKER compose"; else COMPOSE=docker-compose; fi
fi
export COMPOSE

own=
stop_engine() {
  [ -n "$own" ] || return 0
  kill "$(cat "$own/pid")" 2>/dev/null || true
  wait "$engine" 2>/dev/null || true
  ip link delete docker0 2>/dev/null || true
  for table in filter nat; do iptables-restore -T $table <"$own/$table"; done
  sysctl -q -w "net.ipv4.ip_forward=$(cat "$own/ip_forward")" || true
  find /sys/fs/cgroup/docker /sys/fs/cgroup/*/docker -depth -type d -exec rmdir {} + 2>/dev/null || true
  rm -rf --one-file-system "$own"
}
if ! "$DOCKER" version >/dev/null 2>&1; then
  [ -z "${DOCKER_HOST:-}" ] || fail "no Docker Engine answers at DOCKER_HOST"
  [ "$(id -u)" -eq 0 ] || fail "no Docker Engine answers, and only root can start one: start it, or run this as root"
  own=$(mktemp -d)
  for table in filter nat; do iptables-save -t $table >"$own/$table"; done
  cat /proc/sys/net/ipv4/ip_forward >"$own/ip_forward"
  dockerd --data-root "$own/data" --exec-root "$own/exec" --pidfile "$own/pid" -H "unix://$own/engine.sock" >"$own/log" 2>&1 &
  engine=$!
  trap stop_engine EXIT
  trap 'exit 130' INT
  trap 'exit 143' TERM
  export DOCKER_HOST=unix://$own/engine.sock
  for _ in $(seq 300); do
    if "$DOCKER" version >/dev/null 2>&1; then break; fi
    kill -0 "$engine" 2>/dev/null || break
    sleep 0.2
  done
  "$DOCKER" version >/dev/null 2>&1 || { tail -n 20 "$own/log" >&2; fail "the Docker Engine did not start"; }
  echo "e2e-compose: no engine answered: started one"
fi
echo "e2e-compose: engine $("$DOCKER" version -f '{{.Server.Version}}'), $($COMPOSE version --short 2>/dev/null | head -n 1) as $COMPOSE"
scripts/image.sh
scripts/stand-ins.sh redis postgres envoy ratelimit prometheus
if scripts/stand-ins.sh grafana 2>/dev/null; then
  export WITH_GRAFANA=yes
else
  echo "e2e-compose: Grafana can't be had here: its dashboard's queries run in Prometheus, without it"
fi
go test -tags compose -count=1 -timeout 20m -v ./e2e/compose
