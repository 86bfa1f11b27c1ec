#!/bin/sh
# Makes the secrets of docker-compose.yml once, each into the volume of the one container that reads it.
# There are no defaults: a deployment that was not given a password has a random one.
set -eu

secret() { od -An -N32 -tx1 /dev/urandom | tr -d ' \n'; }
# Whole or not there.
put() { printf %s "$2" >"$1.part" && mv "$1.part" "$1"; }

# The containers run as users of their own, so the files are readable; each volume is mounted only where it is needed.
umask 022
to=/secrets/remit

[ -e $to/ops_bearer ] || put $to/ops_bearer "$(secret)"
if [ -e $to/database_url ]; then
  echo 'The secrets exist already.'
  exit 0
fi
if [ -e $to/env ]; then
  # An older version kept both in one file.
  . $to/env
else
  superuser=$(secret) remit=$(secret) openfga=$(secret) OPENFGA_API_TOKEN=$(secret)
  put /secrets/postgres/superuser "$superuser"
  put /secrets/postgres/remit "$remit"
  put /secrets/postgres/openfga "$openfga"
  put /secrets/openfga/config.yaml "datastore:
  engine: postgres
  uri: postgres://openfga:$openfga@postgres:5432/openfga?sslmode=disable
authn:
  method: preshared
  preshared:
    keys: [$OPENFGA_API_TOKEN]
"
  DATABASE_URL=postgres://remit:$remit@postgres:5432/remit
fi
put $to/openfga_token "$OPENFGA_API_TOKEN"
# Last, since it says that all is there.
put $to/database_url "$DATABASE_URL"
echo 'The secrets are made.'
