import { randomBytes } from 'node:crypto'
import { mkdtemp, rm } from 'node:fs/promises'
import { tmpdir } from 'node:os'
import { join } from 'node:path'
import { operator } from '../../src/audit/record.ts'
import { createFgaApi } from '../../src/authz/openfga.ts'
import { compose, type Service } from '../../src/compose/compose.ts'
import { loadConfig } from '../../src/config/config.ts'
import type { FgaObject } from '../../src/kernel/ids.ts'
import { createSystemFetch } from '../../src/outbound/guarded-fetch.ts'
import { takeIn } from '../../src/sample/seed.ts'
import { listen } from '../../src/start.ts'
import { migrate } from '../../src/store/migrate.ts'
import { openPostgres } from '../../src/store/postgres.ts'
import { administer } from '../../test/support/administer.ts'
import { createWordEmbedder } from '../../test/support/embedder.ts'
import { freePort } from '../../test/support/port.ts'
import { createTestTokens } from '../../test/support/tokens.ts'

/** `asking`: an agent that may ask for approval. */
export type Who = 'person' | 'narrowed' | 'agent' | 'asking' | 'mcp'

/**
 * The service on native Postgres and a real OpenFGA server, on loopback, with what is hidden from anne and
 * her agent.
 */
export interface TimingWorld extends AsyncDisposable {
  readonly url: string
  token(who: Who): Promise<string>
  /** Of bob's, for `GET /approvals/{id}`. */
  readonly approvalOfBob: string
}

const ended = '2020-01-01T00:00:00Z'
const levels = [0, 1, 2, 3, 4].map((level): FgaObject => `folder:level-${level}`)
const groups = ['one', 'two', 'three'].map((name): FgaObject => `group:${name}`)

/** What each id is, the same for everybody. */
export const ids = {
  'never was': 'never/was',
  'never was, another': 'never/more',
  'hidden flat': 'hidden/flat',
  'hidden in folders and groups': 'hidden/nested',
  ended: 'hidden/ended',
  blocked: 'hidden/blocked',
  'sensitive, not to be told of': 'own/sensitive',
  'filed elsewhere': 'own/elsewhere',
} as const

const documents: Readonly<Record<string, { readonly collection?: string; readonly access: object }>> = {
  'hidden/flat': { access: { viewers: ['user:bob'] } },
  'hidden/nested': {
    access: {
      viewers: groups.map((group) => `${group}#member`),
      blocked: ['group:out#member', 'group:outer#member'],
      parents: ['folder:level-4'],
    },
  },
  'hidden/ended': { access: { viewers: [{ user: 'user:anne', expires_at: ended }] } },
  'hidden/blocked': {
    access: { viewers: ['user:anne', 'group:one#member'], blocked: ['user:anne', 'group:out#member'] },
  },
  'own/sensitive': { access: { viewers: ['user:anne'], sensitive: true } },
  'own/elsewhere': { collection: 'finance', access: { viewers: ['user:anne'] } },
}

export async function openTimingWorld(): Promise<TimingWorld> {
  const { TEST_DATABASE_URL, OPENFGA_TEST_URL, OPENFGA_TEST_TOKEN } = process.env
  if (TEST_DATABASE_URL === undefined || OPENFGA_TEST_URL === undefined || OPENFGA_TEST_TOKEN === undefined)
    throw new Error('Set TEST_DATABASE_URL, OPENFGA_TEST_URL and OPENFGA_TEST_TOKEN.')
  await using stack = new AsyncDisposableStack()
  const home = await mkdtemp(join(tmpdir(), 'remit-bench-'))
  stack.defer(() => rm(home, { recursive: true, force: true }))
  const name = `remit_bench_${randomBytes(6).toString('hex')}`
  await administer(TEST_DATABASE_URL, `create database ${name}`)
  stack.defer(() => administer(TEST_DATABASE_URL, `drop database if exists ${name} with (force)`))
  const url = new URL(TEST_DATABASE_URL)
  url.pathname = `/${name}`
  const database = stack.use(await openPostgres({ url: url.href }))
  const embedder = createWordEmbedder()
  const { dimensions } = embedder
  await migrate(database, { dir: new URL('../../migrations/', import.meta.url), dimensions })
  const clock = { now: Date.now }
  const config = loadConfig({
    REMIT_HOME: home,
    RATE_PER_MINUTE: '10000000',
    REQUEST_DEADLINE_MS: '60000',
    PORT: String(await freePort()),
  })
  const service = stack.use(
    await compose({
      config,
      infrastructure: {
        database,
        openfga: createFgaApi({ apiUrl: OPENFGA_TEST_URL, apiToken: OPENFGA_TEST_TOKEN, timeoutMs: 4_000 }),
        embeddings: { available: true, embedder },
        [Symbol.asyncDispose]: async () => undefined,
      },
      clock,
      log: () => undefined,
      fetch,
      outboundTo: createSystemFetch,
    }),
  )
  stack.use(await listen({ fetch: service.app.fetch, host: config.host, port: config.port, drainMs: 1_000 }))
  const delegation = await fill(service)
  const { id } = await service.approvals.ask(
    { subject: 'user:bob', agent: 'other-bot', client: 'bench', delegation, txn: 't_bench' },
    { kind: 'documents', scopes: [], offer: 'o_bench', documentIds: ['hidden/flat'], queryHmac: 'q' },
    { seconds: 3_000, front: 'rest' },
  )
  const tokens = createTestTokens({ ...service, publicUrl: config.publicUrl, clock, randomBytes })
  const agent = { user: 'anne', agent: 'research-bot' }
  const mute = { ...agent, scopes: ['docs.search', 'docs.read'] }
  const owned = stack.move()
  return {
    url: config.publicUrl,
    approvalOfBob: id,
    token: (who) =>
      tokens.mint(
        {
          person: { user: 'anne' },
          narrowed: { user: 'anne', collections: ['handbook'] },
          agent: mute,
          asking: agent,
          mcp: { ...mute, resource: 'mcp' as const },
        }[who],
      ),
    [Symbol.asyncDispose]: () => owned.disposeAsync(),
  }
}

/** Gives the id of what bob lent to the other agent. */
async function fill(service: Service): Promise<string> {
  for (const id of ['handbook', 'finance'])
    await service.ingest.saveCollection(operator('bench'), { id, title: id })
  for (const key of ['anne', 'bob', 'carol']) await service.people.save({ key, name: key })
  for (const id of ['research-bot', 'other-bot'])
    await service.agents.save({
      id,
      owner: 'user:anne',
      purpose: 'bench',
      issuer: service.ownIssuer,
      sub: id,
    })
  await service.services.save({ name: 'loader', collections: ['handbook', 'finance'], prefixes: [] })
  await takeIn(
    service.ingest,
    'loader',
    Object.entries(documents).map(([id, { collection = 'handbook', access }]) => ({
      id,
      collection,
      title: id,
      text: `All about ${id}.`,
      mime_type: 'text/markdown',
      access,
    })),
  )
  const tuple = (user: string, relation: string, object: FgaObject) => ({ user, relation, object })
  await service.fga.write({
    writes: [
      ...levels.flatMap((folder, level) => [
        ...levels.slice(level + 1, level + 2).map((below) => tuple(folder, 'parent', below)),
        ...groups.map((group) => tuple(`${group}#member`, 'viewer', folder)),
      ]),
      ...groups.slice(1).map((group, index) => tuple(`${group}#member`, 'member', groups[index] ?? group)),
      tuple('user:bob', 'member', 'group:three'),
      tuple('user:carol', 'member', 'group:out'),
      tuple('group:out#member', 'member', 'group:outer'),
    ],
  })
  const lend = async (subject: FgaObject, agent: string): Promise<string> => {
    const scope: FgaObject[] = ['collection:handbook']
    const expiresAt = new Date(Date.now() + 6 * 3_600_000)
    return (await service.delegations.lend({ subject, agent, scope, purpose: 'bench', expiresAt })).id
  }
  await lend('user:anne', 'research-bot')
  return lend('user:bob', 'other-bot')
}
