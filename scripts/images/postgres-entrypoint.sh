#!/usr/bin/env bash
# What the entrypoint of the official image does for the variables that docker-compose.yml uses: a cluster in an empty folder,
# with the superuser's password of a file; the scripts of /docker-entrypoint-initdb.d on a server that listens on its socket
# alone; then the server as a user of its own.
set -Eeuo pipefail

if [ "$1" != postgres ]; then exec "$@"; fi
if [ "$(id -u)" = 0 ]; then
  install -d -o postgres -g postgres -m 0700 "$PGDATA"
  chown postgres:postgres "$(dirname "$PGDATA")"
  exec setpriv --reuid postgres --regid postgres --init-groups -- bash "$0" "$@"
fi
if [ ! -s "$PGDATA/PG_VERSION" ]; then
  # shellcheck disable=SC2086 # Several arguments in one variable.
  eval 'initdb --pgdata "$PGDATA" --username postgres --pwfile "$POSTGRES_PASSWORD_FILE" '"${POSTGRES_INITDB_ARGS:-}"
  printf '\nhost all all all scram-sha-256\n' >>"$PGDATA/pg_hba.conf"
  echo "listen_addresses = '*'" >>"$PGDATA/postgresql.conf"
  pg_ctl --pgdata "$PGDATA" --options "-c listen_addresses=''" --wait start
  for script in /docker-entrypoint-initdb.d/*.sh; do
    [ -e "$script" ] || continue
    # shellcheck disable=SC1090
    if [ -x "$script" ]; then "$script"; else . "$script"; fi
  done
  pg_ctl --pgdata "$PGDATA" --mode fast --wait stop
fi
exec "$@"
