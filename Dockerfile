# The console's files: what makes them is not in the image.
FROM node:24-slim AS console
WORKDIR /app
COPY package.json package-lock.json .npmrc ./
COPY tsconfig.json ./
COPY packages packages
RUN npm ci --ignore-scripts && npm run build --workspace @remit/console

FROM node:24-slim

WORKDIR /app
ENV NODE_ENV=production

# Before the sources, so that a change of code does not install again. No install script runs: the image has its
# own Node, and the embedding runtime's script only fetches GPU libraries.
COPY package.json package-lock.json .npmrc ./
COPY packages packages
RUN npm ci --omit=dev --ignore-scripts && npm cache clean --force

COPY model.fga model.fga.yaml model.allow-list.yaml ./
COPY migrations migrations
# Every refusal points to its page.
COPY docs/errors docs/errors
COPY src src
COPY --from=console /app/packages/console/dist packages/console/dist

# Keys, the sample's database and fetched model weights; nothing else is written.
ENV REMIT_HOME=/var/lib/remit EMBEDDINGS_CACHE=/var/lib/remit/models HOST=0.0.0.0 PORT=8787
RUN install -d -o node -g node -m 0700 /var/lib/remit
VOLUME /var/lib/remit

USER node
EXPOSE 8787

# The operators' listener answers on loopback whatever PUBLIC_URL is.
HEALTHCHECK --interval=10s --timeout=3s --start-period=60s --retries=3 \
  CMD ["node", "-e", "const file = process.env.OPS_BEARER_FILE; const headers = file ? { authorization: 'Bearer ' + require('node:fs').readFileSync(file, 'utf8').trim() } : {}; fetch('http://127.0.0.1:8788/readyz', { headers }).then((r) => process.exit(r.ok ? 0 : 1), () => process.exit(1))"]

CMD ["node", "src/main.ts"]
