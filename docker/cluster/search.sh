#!/bin/bash
# Makes what the search engine of docker-compose.cluster.yml and Remit know each other by, once: a certificate for its three
# nodes, Remit's password, and the one user that there is. In the engine's own image, which brings keytool and its hash.
set -euo pipefail

nodes=/secrets/nodes
security=/secrets/security
remit=/secrets/remit
engine=/usr/share/opensearch
keytool=$engine/jdk/bin/keytool

if [ -e $remit/password ]; then
  echo 'The secrets exist already.'
  exit 0
fi
rm -rf ${nodes:?}/* ${security:?}/* ${remit:?}/*
umask 022
password=$(od -An -N32 -tx1 /dev/urandom | tr -d ' \n')
# Whoever has the file has the key: its password is the one that the engine takes where none is said.
$keytool -genkeypair -alias node -keyalg EC -groupname secp256r1 -dname CN=remit-search -validity 3650 \
  -ext SAN=dns:search-1,dns:search-2,dns:search-3 -ext BC=ca:true \
  -storetype PKCS12 -keystore $nodes/keystore.p12 -storepass changeit
$keytool -exportcert -rfc -alias node -keystore $nodes/keystore.p12 -storepass changeit >$remit/ca.pem
$keytool -importcert -noprompt -alias node -file $remit/ca.pem -storetype PKCS12 -keystore $nodes/truststore.p12 \
  -storepass changeit
# Its own settings but for who there is and what they may do.
cp $engine/config/opensearch-security/* $security/
cp /cluster/roles.yml /cluster/roles_mapping.yml $security/
hashed=$(PASSWORD=$password bash $engine/plugins/opensearch-security/tools/hash.sh -env PASSWORD | tail -n 1)
cat >$security/internal_users.yml <<USERS
_meta: { type: internalusers, config_version: 2 }
remit: { hash: '$hashed', reserved: false }
USERS
# Last, since it says that all is there.
printf %s "$password" >$remit/password.part && mv $remit/password.part $remit/password
echo 'The secrets are made.'
