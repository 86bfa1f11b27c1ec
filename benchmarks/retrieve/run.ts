import { type ChildProcess, fork } from 'node:child_process'
import { randomBytes } from 'node:crypto'
import { once } from 'node:events'
import { mkdtemp, rm } from 'node:fs/promises'
import { tmpdir } from 'node:os'
import { join } from 'node:path'
import { parseArgs } from 'node:util'
import pg from 'pg'
import { toSql } from 'pgvector'
import { createFgaApi } from '../../src/authz/openfga.ts'
import { compose } from '../../src/compose/compose.ts'
import type { Infrastructure } from '../../src/compose/infrastructure.ts'
import { loadConfig } from '../../src/config/config.ts'
import { openRevocationFeed } from '../../src/delegation/revocation/revocation-feed.ts'
import { createCachedVerifier } from '../../src/delegation/tokens/cached-verifier.ts'
import { createProofs } from '../../src/delegation/tokens/dpop.ts'
import { ownIssuer } from '../../src/delegation/tokens/issuers.ts'
import { createRegistryLookup } from '../../src/delegation/tokens/registry-lookup.ts'
import { createTokenJudge } from '../../src/delegation/tokens/verify.ts'
import { createApp } from '../../src/http/app.ts'
import { createRouter } from '../../src/http/env.ts'
import { createRequireBearer } from '../../src/http/middleware/bearer.ts'
import { hostsOf } from '../../src/http/middleware/frame.ts'
import { createSystemFetch } from '../../src/outbound/guarded-fetch.ts'
import { listen } from '../../src/start.ts'
import { migrate } from '../../src/store/migrate.ts'
import { openPostgres } from '../../src/store/postgres.ts'
import { createWordEmbedder } from '../../test/support/embedder.ts'
import { createTestTokens } from '../../test/support/tokens.ts'
import type { Asked, Took } from './asking.ts'
import { agent, createVectors, dimensions, fillCorpus } from './corpus.ts'
import { profiled, spentSoFar } from './processor.ts'

/**
 * Whole `POST /retrieve`, hot: its verdicts held, its record committed. Beside it, by turns over the same
 * HTTP server, database and pool, a route of the same frame that verifies the same token, searches HNSW as it
 * is (`ef_search` 40, nobody asked), inserts one row and answers with ids. Another process asks. Both routes
 * are asked `--warm` times before anything is measured: what is not compiled yet takes three times as long.
 * The last columns are milliseconds of processor an answer by `--clients` takes, here and in Postgres;
 * `--profile FOLDER` writes a profile of each. Native Postgres and a real OpenFGA server: TEST_DATABASE_URL
 * (a database is made there), OPENFGA_TEST_URL, OPENFGA_TEST_TOKEN.
 */
const { values } = parseArgs({
  options: {
    passages: { type: 'string', default: '20000' },
    rounds: { type: 'string', default: '300' },
    warm: { type: 'string', default: '2000' },
    clients: { type: 'string', default: '16' },
    who: { type: 'string', default: 'all,tenth,hundredth' },
    profile: { type: 'string' },
  },
})
const { TEST_DATABASE_URL, OPENFGA_TEST_URL, OPENFGA_TEST_TOKEN } = process.env
if (TEST_DATABASE_URL === undefined || OPENFGA_TEST_URL === undefined || OPENFGA_TEST_TOKEN === undefined)
  throw new Error('Set TEST_DATABASE_URL, OPENFGA_TEST_URL and OPENFGA_TEST_TOKEN.')
const passages = Number(values.passages)
const rounds = Number(values.rounds)
const warm = Number(values.warm)
const clients = Number(values.clients)
const shares = new Map([
  ['all', 1],
  ['tenth', 0.1],
  ['hundredth', 0.01],
])
const questionsCount = 20
const who = new Set(values.who.split(','))

const clock = { now: Date.now }
const log = () => undefined
await using stack = new AsyncDisposableStack()
const home = await mkdtemp(join(tmpdir(), 'remit-bench-'))
stack.defer(() => rm(home, { recursive: true, force: true }))
const name = `remit_bench_${randomBytes(6).toString('hex')}`
await administer(`create database ${name}`)
stack.defer(() => administer(`drop database if exists ${name} with (force)`))
const url = new URL(TEST_DATABASE_URL)
url.pathname = `/${name}`
const opened = stack.use(await openPostgres({ url: url.href }))
let sent = 0
const database: typeof opened = {
  ...opened,
  query: (text, parameters) => {
    sent += 1
    return opened.query(text, parameters)
  },
  queryFixedPlan: (statement, parameters) => {
    sent += 1
    return opened.queryFixedPlan(statement, parameters)
  },
}
await migrate(database, { dir: new URL('../../migrations/', import.meta.url), dimensions })
await database.query(
  'create table bench_rows (no bigint generated always as identity primary key, detail jsonb)',
)

const config = loadConfig({
  REMIT_HOME: home,
  // Nothing but hot answers: so long are verdicts held at most.
  VERDICT_TTL: '60',
  RATE_PER_MINUTE: '10000000',
  REQUEST_DEADLINE_MS: '60000',
  PORT: '8790',
})
const ground: Infrastructure = {
  database,
  openfga: createFgaApi({ apiUrl: OPENFGA_TEST_URL, apiToken: OPENFGA_TEST_TOKEN, timeoutMs: 4_000 }),
  embeddings: { available: true, embedder: createWordEmbedder() },
  [Symbol.asyncDispose]: async () => undefined,
}
const service = stack.use(
  await compose({ config, infrastructure: ground, clock, log, fetch, outboundTo: createSystemFetch }),
)
const draw = createVectors(1)
await fillCorpus({ service, database }, { passages, shares, draw })
const tokens = createTestTokens({ ...service, publicUrl: config.publicUrl, clock, randomBytes })
const raw = await createRaw()
const ours = stack.use(await listen({ fetch: service.app.fetch, host: '127.0.0.1', port: 0 }))
const bare = stack.use(await listen({ fetch: raw.fetch, host: '127.0.0.1', port: 0 }))
const asker = fork(new URL('./asking.ts', import.meta.url))
stack.defer(() => void asker.kill())

console.log(
  'who             visible   p50 bare   p50 /retrieve   ratio   p95 ratio   per s, of bare   statements   node, of bare   postgres, of bare',
)
for (const [user, share] of shares) {
  if (!who.has(user)) continue
  for (const by of [undefined, agent]) {
    const bodies = Array.from({ length: questionsCount }, () =>
      JSON.stringify({ embedding: [...draw()], mode: 'vector', top_k: 10 }),
    )
    const token = async () => tokens.mint({ user, ...(by !== undefined && { agent: by }) })
    // Of the order of an answer, so that both are asked beside the same noise.
    const few = 20
    const took = { ours: [] as number[], bare: [] as number[] }
    const rate = { ours: 0, bare: 0 }
    const ask = async (which: keyof typeof took, times: number, by: number): Promise<Took> =>
      askBy(asker, {
        port: which === 'ours' ? ours.port : bare.port,
        host: new URL(config.publicUrl).host,
        token: await token(),
        bodies,
        times,
        clients: by,
      })
    for (const which of ['bare', 'ours'] as const) await ask(which, warm, 4)
    const before = sent
    for (let round = 0; round < rounds; round += few) {
      for (const which of ['bare', 'ours'] as const) took[which].push(...(await ask(which, few, 1)).each)
    }
    const statements = (sent - before) / took.ours.length - 2
    const spent = { ours: { node: 0, postgres: 0 }, bare: { node: 0, postgres: 0 } }
    for (let turn = 0; turn < 6; turn += 1) {
      const which = turn % 2 === 0 ? 'bare' : 'ours'
      const before = await spentSoFar(opened)
      rate[which] += (await ask(which, rounds, clients)).all
      const after = await spentSoFar(opened)
      spent[which].node += (after.node - before.node) / rounds / 3
      spent[which].postgres += (after.postgres - before.postgres) / rounds / 3
    }
    for (const which of values.profile === undefined ? [] : (['bare', 'ours'] as const)) {
      const file = join(
        values.profile ?? '',
        `${user}${by === undefined ? '' : '-agent'}-${which}.cpuprofile`,
      )
      await profiled(file, () => ask(which, rounds * 3, clients))
    }
    console.log(
      [
        `${user}${by === undefined ? '' : ' by agent'}`.padEnd(16),
        `${100 * share} %`.padEnd(8),
        `${at(took.bare, 0.5).toFixed(2)} ms`.padStart(10),
        `${at(took.ours, 0.5).toFixed(2)} ms`.padStart(14),
        (at(took.ours, 0.5) / at(took.bare, 0.5)).toFixed(2).padStart(9),
        (at(took.ours, 0.95) / at(took.bare, 0.95)).toFixed(2).padStart(9),
        (rate.bare / rate.ours).toFixed(2).padStart(14),
        statements.toFixed(2).padStart(14),
        `${spent.ours.node.toFixed(2)} / ${spent.bare.node.toFixed(2)}`.padStart(14),
        `${spent.ours.postgres.toFixed(2)} / ${spent.bare.postgres.toFixed(2)}`.padStart(14),
      ].join(' '),
    )
  }
}

/** The same frame and the same token, then nothing that has to do with permissions. */
async function createRaw() {
  const authority = stack.use(await openRevocationFeed({ database, clock, log }))
  const newTxn = () => `t_${randomBytes(16).toString('base64url')}`
  const proofs = createProofs({ sql: database, clock, secret: randomBytes(32) })
  const verifier = createCachedVerifier({
    authority,
    clock,
    newTxn,
    proofs,
    judge: createTokenJudge({
      issuers: [ownIssuer({ publicUrl: config.publicUrl, keys: service.keys.find })],
      lookUp: createRegistryLookup({ sql: database, authority }),
      clock,
      demo: config.demo,
      newTxn,
    }),
  })
  const requireBearer = createRequireBearer({
    async verify(token, presented) {
      const verified = await verifier.verify(token, 'api', presented)
      return verified.ok ? verified : { ok: false, reason: 'invalid_token' }
    },
    admit: () => undefined,
    publicUrl: config.publicUrl,
    nonce: () => proofs.nonce(),
  })
  const routes = createRouter()
  routes.post(
    '/retrieve',
    requireBearer({ kinds: ['person', 'agent'], scopes: ['docs.search'] }),
    async (c) => {
      const { embedding } = (await c.req.json()) as { embedding: number[] }
      const found = await database.query<{ chunk_id: string }>(
        'select chunk_id from chunks order by embedding <#> $1 limit 10',
        [toSql(embedding)],
      )
      await database.query('insert into bench_rows (detail) values ($1)', [{ found: found.length }])
      return c.json(found, 200)
    },
  )
  return createApp({
    publicUrl: config.publicUrl,
    hosts: hostsOf(config.publicUrl, config.host, config.port),
    trustedProxies: [],
    requestDeadlineMs: config.requestDeadlineMs,
    writeDeadlineMs: 120_000,
    now: Date.now,
    newTxn,
    log,
    limitAddress: async (_, next) => next(),
    observe: async (_, next) => next(),
    record: async () => undefined,
    isReady: async () => true,
    assertOpen: () => authority.assertHeard(),
    jwks: async () => ({}),
    routes: [routes],
  })
}

async function askBy(child: ChildProcess, asked: Asked): Promise<Took> {
  child.send(asked)
  const [took] = (await once(child, 'message')) as [Took]
  return took
}

async function administer(statement: string): Promise<void> {
  const client = new pg.Client({ connectionString: TEST_DATABASE_URL })
  await client.connect()
  await client.query(statement)
  await client.end()
}

function at(times: readonly number[], share: number): number {
  return times.toSorted((a, b) => a - b)[Math.floor(times.length * share)] ?? Number.NaN
}
