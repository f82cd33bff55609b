#!/bin/sh
# Does what compose.yaml needs of the published image's entrypoint: sets the database up
# once, with the password from a file, then runs the server.
set -eu
if [ ! -s "$PGDATA/PG_VERSION" ]; then
  # shellcheck disable=SC2086 # the variable holds several options
  initdb -D "$PGDATA" -U "$POSTGRES_USER" --pwfile "$POSTGRES_PASSWORD_FILE" --auth-local=trust -E UTF8 --locale=C --no-sync $POSTGRES_INITDB_ARGS
  pg_ctl -D "$PGDATA" -w -o "-c listen_addresses= -k /tmp" start
  psql -h /tmp -U "$POSTGRES_USER" -d postgres -c "CREATE DATABASE \"$POSTGRES_DB\""
  pg_ctl -D "$PGDATA" -w -m fast stop
  echo 'host all all all scram-sha-256' >>"$PGDATA/pg_hba.conf"
fi
exec postgres -D "$PGDATA" -c 'listen_addresses=*' -k /var/run/postgresql
