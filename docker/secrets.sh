#!/bin/sh
# Makes the secrets of docker-compose.yml once, each into the volume of the one container that reads it.
# There are no defaults: a deployment that was not given a password has a random one.
set -eu

secret() { od -An -N32 -tx1 /dev/urandom | tr -d ' \n'; }

if [ -e /secrets/remit/env ]; then
  echo 'The secrets exist already.'
  exit 0
fi

superuser=$(secret) remit=$(secret) openfga=$(secret) token=$(secret)

# The containers run as users of their own, so the files are readable; each volume is mounted only where it is needed.
umask 022
printf %s "$superuser" >/secrets/postgres/superuser
printf %s "$remit" >/secrets/postgres/remit
printf %s "$openfga" >/secrets/postgres/openfga

cat >/secrets/openfga/config.yaml <<YAML
datastore:
  engine: postgres
  uri: postgres://openfga:$openfga@postgres:5432/openfga?sslmode=disable
authn:
  method: preshared
  preshared:
    keys: [$token]
YAML

# Last, since it says that all is there.
cat >/secrets/remit/env.part <<ENV
export DATABASE_URL='postgres://remit:$remit@postgres:5432/remit'
export OPENFGA_API_TOKEN='$token'
ENV
mv /secrets/remit/env.part /secrets/remit/env
echo 'The secrets are made.'
