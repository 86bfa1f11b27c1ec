#!/usr/bin/env bash
# Builds the image of this folder, or of another checkout, by its Dockerfile on the stand-ins of bases.sh. Prints its layers:
# those of the base apart from our own. An empty STAGE is the last one.
#
#   scripts/images/build.sh [TAG [STAGE [FOLDER]]]
set -euo pipefail
here=$(cd "$(dirname "${BASH_SOURCE[0]}")" && pwd)
# shellcheck source=scripts/images/env.sh
. "$here/env.sh"
tag=${1:-localhost/remit_remit:latest}
work=$(mktemp -d)
trap 'rm -rf "$work"' EXIT

arguments=()
if [ -n "${2:-}" ]; then arguments+=(--target "$2"); fi
# Where a machine trusts an authority of its own, npm in the build has to as well.
if [ -n "${NODE_EXTRA_CA_CERTS:-}" ]; then
  echo 'cafile=/run/ca.pem' >"$work/npmrc"
  arguments+=(--volume "$NODE_EXTRA_CA_CERTS:/run/ca.pem:ro" --volume "$work/npmrc:/usr/local/etc/npmrc:ro")
fi
buildah bud --isolation chroot --layers --pull-never --format docker "${arguments[@]}" --tag "$tag" "${3:-$here/../..}" >"$work/log" 2>&1 ||
  { cat "$work/log" >&2; exit 1; }

"$here/sizes.sh" "$tag"
