#!/bin/sh
# Run once by the Postgres image in an empty data folder: one database and one plain role for each of its two users.
set -eu

psql --set ON_ERROR_STOP=1 --username postgres \
  --set remit="$(cat /run/secrets/remit)" --set openfga="$(cat /run/secrets/openfga)" <<'SQL'
create role remit login password :'remit';
create role openfga login password :'openfga';
create database remit owner remit;
create database openfga owner openfga;
revoke connect on database remit, openfga from public;
\connect remit
create extension vector;
SQL

# The record belongs to a role of its own: the service adds to it, and cannot change it.
psql --username postgres --dbname remit --set service=remit --file /record-owner.sql
