#!/usr/bin/env bash
# Whether another version of OpenFGA answers as the embedded engine does and takes the model:
#
#   npm run openfga:next -- v1.23.0 [TEST FILES]
#
# Builds that version into the cache, starts it with a Postgres of its own, runs the engine's published matrices, its
# differential fuzz and the model's truth table against it, prints the tests' summary and stops both. Exits as the
# tests do. Say OPENFGA_EXPERIMENTALS=weighted_graph_check to try an engine that is not on by default.
set -euo pipefail
cd "$(dirname "${BASH_SOURCE[0]}")/.."

version=${1:-}
# It becomes part of a folder's name and of a module's path.
if ! [[ $version =~ ^v[0-9]+\.[0-9]+\.[0-9]+(-[0-9A-Za-z.-]+)?$ ]]; then
  echo 'usage: npm run openfga:next -- vMAJOR.MINOR.PATCH [TEST FILES]' >&2
  exit 2
fi
shift
[ $# -gt 0 ] || set -- packages/engine test/model

export REMIT_CI_OPENFGA=$version
trap '.ci/services stop' EXIT
settings=$(.ci/services)
eval "$settings"
echo "OpenFGA $version at $OPENFGA_TEST_URL"
npx vitest run "$@"
