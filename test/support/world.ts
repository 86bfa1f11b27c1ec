import { randomBytes } from 'node:crypto'
import { mkdtemp, rm } from 'node:fs/promises'
import { tmpdir } from 'node:os'
import { join } from 'node:path'
import { operator } from '../../src/audit/record.ts'
import { embeddedUrl, openEmbedded } from '../../src/authz/embedded.ts'
import type { Tuple } from '../../src/authz/fga.ts'
import type { FgaApi } from '../../src/authz/fga-api.ts'
import { createFgaApi } from '../../src/authz/openfga.ts'
import { compose, type Service } from '../../src/compose/compose.ts'
import type { Infrastructure } from '../../src/compose/infrastructure.ts'
import { type Config, loadConfig } from '../../src/config/config.ts'
import type { Embedder } from '../../src/embed/embedder.ts'
import { createElapsed } from '../../src/kernel/elapsed.ts'
import { AppError } from '../../src/kernel/errors.ts'
import type { FgaObject } from '../../src/kernel/ids.ts'
import type { GuardedFetch } from '../../src/outbound/guarded-fetch.ts'
import { createSystemFetch } from '../../src/outbound/guarded-fetch.ts'
import { takeIn } from '../../src/sample/seed.ts'
import type { SourceKind } from '../../src/sources/kind.ts'
import type { Database } from '../../src/store/sql.ts'
import { alone, type Backend } from './backends.ts'
import { openTestDatabase } from './database.ts'
import { createWordEmbedder } from './embedder.ts'
import { native } from './native.ts'
import { dropIndices, opensearchSettings } from './opensearch.ts'
import { createTestTokens, type MintRequest } from './tokens.ts'

export interface WorldOptions {
  readonly backend?: Pick<Backend, 'database' | 'openfga'>
  /** More settings, as the environment would hold them. */
  readonly env?: Readonly<Record<string, string>>
  /** null: keyword mode. */
  readonly embedder?: Embedder | null
  /** Stands before OpenFGA: a test's way to make it fail. */
  readonly openfga?: (real: FgaApi) => FgaApi
  readonly database?: (real: Database) => Database
  readonly now?: () => number
  /** What settings name is asked by it. Default: the real one. */
  readonly fetch?: typeof fetch
  /** Stands for the internet. Default: the real fetcher. */
  readonly outbound?: GuardedFetch
  /** Default: those that are built in. */
  readonly sourceKinds?: readonly SourceKind[]
}

export interface DocumentSketch {
  readonly collection?: string
  readonly title?: string
  readonly text?: string
  readonly access?: object
  readonly metadata?: object
  readonly updated_at?: string
}

/** The whole service on real parts, with shorthands to say who may read what. */
export interface World extends AsyncDisposable {
  readonly service: Service
  readonly config: Config
  readonly database: Database
  readonly logged: { readonly event: string; readonly fields?: object }[]
  write(...tuples: readonly string[]): Promise<void>
  remove(...tuples: readonly string[]): Promise<void>
  /** Takes documents in by the real way and waits until they are published. */
  put(documents: Readonly<Record<string, DocumentSketch>>): Promise<void>
  /** Lends everything in these objects to the agent; gives the delegation's id. */
  lend(user: string, agent: string, ...scope: readonly FgaObject[]): Promise<string>
  token(who: MintRequest): Promise<string>
  /** One request as the holder of a token. */
  call(method: string, path: string, options?: CallOptions): Promise<Response>
  retrieve(token: string, body: object): Promise<RetrieveBody>
}

export interface CallOptions {
  readonly token?: string
  readonly body?: unknown
  readonly headers?: Readonly<Record<string, string>>
}

export interface RetrieveBody {
  readonly results: readonly {
    readonly document_id: string
    readonly chunk_id: string
    readonly text: string
    readonly rank: number
  }[]
  readonly complete: boolean
  readonly mode_used: string
  readonly txn: string
}

const collections = ['handbook', 'finance']
export const people = ['anne', 'bob', 'carol', 'dan']

/**
 * Opens a world with the collections `handbook` and `finance`, four people, two agents and the service
 * `loader`.
 */
export async function openWorld(options: WorldOptions = {}): Promise<World> {
  const home = await mkdtemp(join(tmpdir(), 'remit-world-'))
  const config = loadConfig({
    REMIT_HOME: home,
    RATE_PER_MINUTE: '100000',
    BEGIN_PER_MINUTE: '100000',
    ...(native.isOnOpensearch && opensearchSettings()),
    ...options.env,
  })
  const logged: { event: string; fields?: object }[] = []
  const log = (event: string, fields?: object) => {
    logged.push({ event, ...(fields && { fields }) })
  }
  const now = options.now ?? Date.now
  const ofClock = options.now && alone.database
  const opened = await openTestDatabase(options.backend?.database ?? ofClock)
  const database = options.database?.(opened) ?? opened
  const real = await openfgaFor(options.backend?.openfga ?? 'engine', opened, now)
  const embedder = options.embedder === undefined ? createWordEmbedder() : options.embedder
  const infrastructure: Infrastructure = {
    database,
    openfga: options.openfga?.(real) ?? real,
    embeddings:
      embedder === null
        ? { available: false, reason: 'as the test wants it' }
        : { available: true, embedder },
    [Symbol.asyncDispose]: async () => undefined,
  }
  const { outbound } = options
  const service = await compose({
    config,
    infrastructure,
    clock: { now },
    ...(options.now && { elapsed: createElapsed(now) }),
    log,
    fetch: options.fetch ?? fetch,
    outboundTo: outbound === undefined ? createSystemFetch : () => outbound,
    ...(options.sourceKinds && { sourceKinds: options.sourceKinds }),
  })
  const { fga } = service
  const change = (tuples: readonly string[]): Tuple[] => tuples.map(toTuple)
  /** A real server of a machine that stands still for a moment ends a Write unanswered; again is the same. */
  const tries = options.backend?.openfga === 'server' && options.openfga === undefined ? 3 : 1
  async function write(changed: Parameters<typeof fga.write>[0], triesLeft = tries): Promise<void> {
    try {
      await fga.write(changed)
    } catch (error) {
      const isUnanswered = error instanceof AppError && error.code === 'authorization_unavailable'
      if (!isUnanswered || triesLeft <= 1) throw error
      await write(changed, triesLeft - 1)
    }
  }

  for (const id of collections) {
    await service.ingest.saveCollection(operator('test'), {
      id,
      title: `The ${id}`,
      publicAllowed: id === 'handbook',
    })
  }
  for (const key of people) await service.people.save({ key, name: key })
  for (const id of ['research-bot', 'other-bot']) {
    await service.agents.save({ id, owner: 'user:dan', purpose: 'tests', issuer: service.ownIssuer, sub: id })
  }
  await service.services.save({ name: 'loader', collections, prefixes: [] })

  const { publicUrl, demo } = config
  const tokens = createTestTokens({ ...service, publicUrl, demo, clock: { now }, randomBytes })

  const call: World['call'] = async (method, path, { token, body, headers = {} } = {}) =>
    service.app.request(`${config.publicUrl}${path}`, {
      method,
      headers: {
        ...(token !== undefined && { authorization: `Bearer ${token}` }),
        ...(body !== undefined && { 'content-type': 'application/json' }),
        ...headers,
      },
      ...(body !== undefined && { body: typeof body === 'string' ? body : JSON.stringify(body) }),
    })

  return {
    service,
    config,
    database,
    logged,
    call,
    write: (...tuples) => write({ writes: change(tuples) }),
    remove: (...tuples) => write({ deletes: change(tuples) }),
    put: (documents) =>
      takeIn(
        service.ingest,
        'loader',
        Object.entries(documents).map(([id, sketch]) => ({
          id,
          collection: sketch.collection ?? 'handbook',
          title: sketch.title ?? id,
          text: sketch.text ?? `All about ${id}.`,
          mime_type: 'text/markdown' as const,
          metadata: sketch.metadata ?? {},
          updated_at: sketch.updated_at ?? '2026-01-01T00:00:00Z',
          access: sketch.access ?? {},
        })),
      ),
    async lend(user, agent, ...scope) {
      const { id } = await service.delegations.lend({
        subject: `user:${user}`,
        agent,
        scope,
        purpose: 'tests',
        expiresAt: new Date(now() + 3_600_000),
      })
      return id
    },
    token: (who) => tokens.mint(who),
    async retrieve(token, body) {
      const response = await call('POST', '/retrieve', { token, body })
      if (response.status !== 200) throw new Error(`${response.status} ${await response.text()}`)
      return (await response.json()) as RetrieveBody
    },
    async [Symbol.asyncDispose]() {
      await service[Symbol.asyncDispose]()
      if (embedder !== null) await embedder[Symbol.asyncDispose]()
      if (config.searchEngine) await dropIndices(opened)
      await opened.close()
      await rm(home, { recursive: true, force: true })
    },
  }
}

async function openfgaFor(kind: Backend['openfga'], database: Database, now: () => number): Promise<FgaApi> {
  if (kind === 'engine') {
    const { adapter } = await openEmbedded(database, now, () => undefined)
    return createFgaApi({ apiUrl: embeddedUrl, timeoutMs: 4_000, adapter })
  }
  if (native.openfga === undefined)
    throw new Error('This test needs a real OpenFGA server (OPENFGA_TEST_URL).')
  return createFgaApi({ apiUrl: native.openfga.url, apiToken: native.openfga.token, timeoutMs: 4_000 })
}

/** `user:anne viewer document:x`, as one reads it aloud. */
function toTuple(line: string): Tuple {
  const [user, relation, object] = line.split(' ')
  if (user === undefined || relation === undefined || object === undefined)
    throw new Error(`Not a tuple: ${line}`)
  return { user, relation, object: object as FgaObject }
}
