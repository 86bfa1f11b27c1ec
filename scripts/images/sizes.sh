#!/usr/bin/env bash
# Prints the layers of our image, those of its base added up.
set -euo pipefail
# What comes before the first line of the Dockerfile's last stage is the base's.
podman history --format json "$1" | node -e '
  const made = JSON.parse(require("node:fs").readFileSync(0, "utf8")).reverse()
  const base = made.findIndex(({ CreatedBy }) => CreatedBy.includes("WORKDIR /app"))
  const mb = (entries) => (entries.reduce((sum, { size }) => sum + size, 0) / 1e6).toFixed(1)
  for (const one of made.slice(base)) if (one.size > 0) console.log(`${mb([one]).padStart(7)} MB  ${one.CreatedBy.slice(0, 90)}`)
  console.log(`base: ${mb(made.slice(0, base))} MB; our layers: ${mb(made.slice(base))} MB`)'
