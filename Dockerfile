# What the package holds: no TypeScript is in the image, and nothing that makes it.
FROM node:24-slim AS build
WORKDIR /app
COPY package.json package-lock.json .npmrc ./
COPY packages packages
RUN npm ci --ignore-scripts
COPY tsconfig.json tsconfig.build.json model.fga model.fga.yaml model.allow-list.yaml LICENSE .env.example ./
COPY scripts/build.ts scripts/licences.ts scripts/
COPY docker/record-owner.sql docker/record-owner.sql
COPY docs/errors docs/errors
COPY docs/*.md docs/
COPY docs/flows docs/flows
COPY migrations migrations
COPY sample sample
COPY src src
RUN npm run build

# What it needs, from the lock, without our own packages: dist has them. No install script runs: the image has its own
# Node, and the embedding runtime's script only fetches GPU libraries. That runtime brings five platforms; one stays.
FROM node:24-slim AS dependencies
WORKDIR /app
COPY package.json package-lock.json .npmrc ./
COPY packages packages
RUN npm ci --omit=dev --ignore-scripts && rm -r node_modules/@remit \
  && find node_modules/onnxruntime-node/bin/napi-v6 -mindepth 2 -maxdepth 2 \
    ! -path "*/linux/$(node --print process.arch)" -exec rm -r {} +

# The command line with pg_dump and its like, for docker-compose.backup.yml. On the database's own image: so they are never
# older than the server.
FROM pgvector/pgvector:0.8.5-pg18 AS backup
WORKDIR /app
ENV NODE_ENV=production
COPY --from=dependencies /usr/local/bin/node /usr/local/bin/node
COPY --from=dependencies /app/node_modules node_modules
COPY --from=build /app/dist ./
# As `node` in the image of the service: the same keys are read.
USER 1000:1000

FROM node:24-slim

WORKDIR /app
ENV NODE_ENV=production

# Before the service, so that a change of code leaves this layer as it is.
COPY --from=dependencies /app/node_modules node_modules
COPY --from=build /app/dist ./

# Keys, the sample's database and fetched model weights; nothing else is written.
ENV REMIT_HOME=/var/lib/remit EMBEDDINGS_CACHE=/var/lib/remit/models HOST=0.0.0.0 PORT=8787
RUN install -d -o node -g node -m 0700 /var/lib/remit && ln -s ../../src/bin.js node_modules/.bin/remit
VOLUME /var/lib/remit

USER node
EXPOSE 8787

# The operators' listener answers on loopback whatever PUBLIC_URL is.
HEALTHCHECK --interval=10s --timeout=3s --start-period=60s --retries=3 \
  CMD ["node", "-e", "const file = process.env.OPS_BEARER_FILE; const headers = file ? { authorization: 'Bearer ' + require('node:fs').readFileSync(file, 'utf8').trim() } : {}; fetch('http://127.0.0.1:8788/readyz', { headers }).then((r) => process.exit(r.ok ? 0 : 1), () => process.exit(1))"]

CMD ["node", "src/main.js"]
