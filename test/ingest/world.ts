import { randomBytes } from 'node:crypto'
import { readFile } from 'node:fs/promises'
import { Readable } from 'node:stream'
import { operator } from '../../src/audit/record.ts'
import { type AllowList, compileAllowList } from '../../src/authz/allow-list/allow-list.ts'
import { embeddedUrl, openEmbedded } from '../../src/authz/embedded.ts'
import type { Fga, Tuple } from '../../src/authz/fga.ts'
import type { FgaApi } from '../../src/authz/fga-api.ts'
import { deployModel } from '../../src/authz/model/deploy.ts'
import { createFga, createFgaApi } from '../../src/authz/openfga.ts'
import { effectsOf } from '../../src/directory/memberships.ts'
import type { Prepared, Step, Writer } from '../../src/ingest/context.ts'
import { createIngest, type Ingest } from '../../src/ingest/ingest.ts'
import type { JobView } from '../../src/ingest/job-store.ts'
import { createParser } from '../../src/ingest/parse/parser.ts'
import { type DocumentInput, documentSchema } from '../../src/ingest/wire.ts'
import { createPgBossQueue } from '../../src/jobs/pgboss.ts'
import { AppError } from '../../src/kernel/errors.ts'
import { documentObject, type FgaObject } from '../../src/kernel/ids.ts'
import { createOpensearchIndex } from '../../src/retrieval/chunk-index/opensearch/opensearch-index.ts'
import type { ChunkIndex } from '../../src/retrieval/chunk-index/port.ts'
import { createPostgresIndex } from '../../src/retrieval/chunk-index/postgres/postgres-index.ts'
import type { Database, Sql } from '../../src/store/sql.ts'
import type { Backend } from '../support/backends.ts'
import { openTestDatabase } from '../support/database.ts'
import { createWordEmbedder } from '../support/embedder.ts'
import { native } from '../support/native.ts'
import { openTestEngine, testEngine } from '../support/opensearch.ts'

export type StepHook = (step: Step, documentId: string) => Promise<void>

export interface IngestWorld extends AsyncDisposable {
  readonly database: Database
  readonly fga: Fga
  readonly allowList: AllowList
  readonly ingest: Ingest
  readonly logged: { readonly event: string; readonly fields?: object }[]
  /** Called at every step; set it to look or to crash. */
  onStep: StepHook
  /** Called before the parser is, with the signal that it gets; a throw there is its own. */
  onRead: (signal: AbortSignal) => Promise<void>
  /** Told what came of a document's content; ingestion gets what it returns, if anything. */
  onPrepared: (prepared: Prepared) => Prepared | undefined
  /** Told of each call of the model before it is made; a throw there is the model's. */
  onEmbed: (texts: readonly string[]) => void
  /** Whether somebody waits for answers. */
  isBeingAsked: boolean
  isOverloaded: boolean
  /** Whether ingestion finds the database away at this statement; `transaction` where one begins. */
  isAway: (statement: string) => boolean
  /** Called before each Write to OpenFGA. */
  onWrite: () => void
  /** Called before the tuples of an object are read, and waited for. */
  onTuples: (object: string | undefined) => unknown
  /** Asked whether the database and OpenFGA are of one age; a throw says that they are not. */
  onSound: () => void
  /** Called before OpenFGA is asked whether a service may. */
  onAsk: () => Promise<void>
  /** Called before each call of Write, of which a change may take several, and waited for. */
  onPart: () => unknown
  /** Ends the process's ingestion and begins a new one on the same database. */
  restart(): Promise<void>
  /**
   * Ends it as `kill -9` does, whatever it is at, and begins a new one. What it was at is free at once, not
   * after 30 s.
   */
  kill(): Promise<void>
  /** The first half of {@link kill}, at this very moment: nothing that it says from now on arrives. */
  die(): void
  put(sketch: Sketch, writer?: Writer): Promise<string>
  /** Puts and waits until the job has ended. */
  putDone(sketch: Sketch, writer?: Writer): Promise<JobView>
  importLines(lines: readonly (object | string)[], options?: ImportOptions): Promise<JobView>
  done(jobId: string, writer?: Writer): Promise<JobView>
  /** What a person could get of a document now: its live text, if OpenFGA says that they may read it. */
  sees(user: string, id: string): Promise<string | undefined>
  check(user: string, relation: string, object: FgaObject): Promise<boolean>
  tuples(object: FgaObject): Promise<string[]>
}

export interface Sketch {
  readonly id: string
  readonly collection?: string
  readonly text?: string
  readonly access?: object
  readonly version?: number
  readonly [member: string]: unknown
}

export interface ImportOptions {
  readonly snapshot?: {
    readonly collection: string
    readonly allowEmpty?: boolean
    readonly allowWithdraw?: number
  }
  readonly key?: string
  readonly writer?: Writer
}

export const loader: Writer = { subject: 'service:loader', actors: [], client: 'loader', txn: 't_test' }
export const stranger: Writer = { subject: 'service:stranger', actors: [], client: 'stranger', txn: 't_test' }
export const machine: Writer = operator('t_test')

interface WorldOptions {
  readonly retryPauseSecondsMax?: number
  readonly mendEveryMs?: number
  readonly lineBytesMax?: number
  /** Default: what ingestion takes. */
  readonly calmMsMax?: number
  /** Another chunk index around the real one. */
  readonly index?: (real: ChunkIndex) => ChunkIndex
  /** What stands between ingestion and the OpenSearch of the tests; then the chunk index is there. */
  readonly opensearch?: typeof fetch
  /** Of the texts of model.fga and model.allow-list.yaml, others. */
  readonly edit?: {
    readonly model?: (text: string) => string
    readonly allowList?: (text: string) => string
  }
}

/** Ingestion on real parts: the database, OpenFGA or the embedded engine, the real parser, the queue. */
export async function openIngestWorld(
  backend: Pick<Backend, 'database' | 'openfga'> = { database: 'pglite', openfga: 'engine' },
  {
    retryPauseSecondsMax = 30,
    mendEveryMs = 60_000,
    lineBytesMax = 100_000,
    calmMsMax,
    edit = {},
    index = asItIs,
    opensearch = native.isOnOpensearch ? fetch : undefined,
  }: WorldOptions = {},
): Promise<IngestWorld> {
  const database = await openTestDatabase(backend.database)
  const searchEngine = opensearch && (await openTestEngine(database))
  const engine = testEngine(opensearch)
  const indexOn = (own: Database): ChunkIndex =>
    searchEngine ? createOpensearchIndex({ database: own, engine }) : createPostgresIndex({ database: own })
  const logged: IngestWorld['logged'] = []
  const api = telling(await openfgaOf(backend, database), async () => void (await world.onPart()))
  const deployed = await deployModel({
    api,
    database,
    dsl: (edit.model ?? asItIs)(await fileOf('model.fga')),
    allowList: (edit.allowList ?? asItIs)(await fileOf('model.allow-list.yaml')),
    redeploy: false,
    newTxn: () => 't_test',
    now: Date.now,
  })
  const real = createFga(api, deployed.storeId, () => deployed.model.id)
  const list = compileAllowList(deployed.model)
  const fga: Fga = {
    ...real,
    batchCheck: async (checks, options) => {
      await world.onAsk()
      return real.batchCheck(checks, options)
    },
    async *read(filter, ...options) {
      await world.onTuples(filter.object)
      yield* real.read(filter, ...options)
    },
    write: async (change, nextTurn) => {
      world.onWrite()
      await real.write(change, nextTurn)
    },
    writeEach: async (changes, nextTurn) => {
      world.onWrite()
      await real.writeEach(changes, nextTurn)
    },
  }
  const embedder = createWordEmbedder()
  const parser = createParser({ cutting: { counting: embedder.counting, tokensMax: 64 } })
  let die = async (): Promise<void> => undefined
  const dead: Promise<void>[] = []
  const open = (): Ingest => {
    const process = mortal(database, (statement) => world.isAway(statement))
    die = process.die
    return createIngest({
      database: process.database,
      index: index(indexOn(process.database)),
      fga,
      allowList: () => list,
      effectsOf: (usersets, sql = process.database) => effectsOf(sql, list, usersets),
      epoch: { isSound: true, assertSoundNow: async () => world.onSound() },
      isApart: backend.openfga === 'server',
      leaseSeconds: 2,
      mendEveryMs,
      queue: createPgBossQueue({
        database: process.database,
        name: 'documents',
        retryPauseSecondsMax,
        onError: () => undefined,
      }),
      embed: async (texts, options) => {
        world.onEmbed(texts)
        return embedder.embedPassages(texts, options)
      },
      prepare: async (content, signal = new AbortController().signal) => {
        await world.onRead(signal)
        const prepared = await parser.prepare(content, signal)
        return world.onPrepared(prepared) ?? prepared
      },
      isBeingAsked: () => world.isBeingAsked,
      isOverloaded: () => world.isOverloaded,
      ...(calmMsMax !== undefined && { calmMsMax }),
      clock: { now: Date.now },
      newId: () => `j_${randomBytes(8).toString('hex')}`,
      limits: { lineBytesMax, linesMax: 3_000 },
      log: (event, fields) => logged.push({ event, ...(fields && { fields }) }),
      step: (step, id) => world.onStep(step, id),
    })
  }

  const world = {
    database,
    fga,
    allowList: list,
    ingest: open(),
    logged,
    onStep: (async () => undefined) as StepHook,
    onRead: async (_signal: AbortSignal): Promise<void> => undefined,
    onPrepared: (_prepared: Prepared): Prepared | undefined => undefined,
    onEmbed: (_texts: readonly string[]): void => undefined,
    isBeingAsked: false,
    isOverloaded: false,
    isAway: (_statement: string): boolean => false,
    onWrite: (): void => undefined,
    onTuples: (_object: string | undefined): unknown => undefined,
    onSound: (): void => undefined,
    onPart: (): unknown => undefined,
    onAsk: async (): Promise<void> => undefined,
    async restart() {
      await world.ingest.close()
      world.onStep = async () => undefined
      world.onWrite = () => undefined
      world.onPart = () => undefined
      world.onRead = async () => undefined
      world.ingest = open()
      await world.ingest.start()
    },
    die: () => void die(),
    async kill() {
      const last = die()
      dead.push(world.ingest.close().catch(() => undefined))
      // A look at the queue that was under way may still make tasks its own.
      await last
      await database.query(
        `update pgboss.job set state = 'retry', start_after = now() where state = 'active'`,
      )
      // As one that takes no request before it has begun: what is sent inside a transaction would wait for
      // the queue to begin, and that for the one session of PGlite.
      const next = open()
      await next.start()
      world.ingest = next
    },
    put: (sketch: Sketch, writer: Writer = loader) => world.ingest.put(writer, documentOf(sketch)),
    putDone: async (sketch: Sketch, writer: Writer = loader) =>
      world.done(await world.put(sketch, writer), writer),
    async importLines(
      lines: readonly (object | string)[],
      { snapshot, key, writer = loader }: ImportOptions = {},
    ) {
      const body = Readable.from(
        lines.map((line) => Buffer.from(`${typeof line === 'string' ? line : JSON.stringify(line)}\n`)),
      )
      const jobId = await world.ingest.importAll(writer, {
        body,
        ...(key !== undefined && { idempotencyKey: key }),
        ...(snapshot && {
          snapshot: {
            collection: snapshot.collection,
            allowEmpty: snapshot.allowEmpty ?? false,
            allowWithdraw: snapshot.allowWithdraw,
          },
        }),
      })
      return world.done(jobId, writer)
    },
    async done(jobId: string, writer: Writer = loader) {
      const job = await world.ingest.waitForJob(jobId, writer.subject, AbortSignal.timeout(15_000))
      if (job === undefined) throw new Error(`There is no job ${jobId}.`)
      return job
    },
    async sees(user: string, id: string) {
      if (!(await world.check(user, 'can_read', documentObject(id)))) return undefined
      const rows = await database.query<{ text: string }>(
        `select t.text from chunks c join chunk_texts t using (chunk_id) join documents d on d.doc_no = t.doc_no
         where d.id = $1 and d.live_revision is not null order by c.ordinal`,
        [id],
      )
      return rows.length === 0 ? undefined : rows.map(({ text }) => text).join('\n')
    },
    async check(user: string, relation: string, object: FgaObject) {
      const { verdicts } = await real.batchCheck([{ user, relation, object }], {
        now: Date.now(),
      })
      return verdicts[0] === 'allowed'
    },
    async tuples(object: FgaObject) {
      const found: string[] = []
      for await (const { user, relation } of real.read({ object })) found.push(`${user} ${relation}`)
      return found.sort()
    },
    async [Symbol.asyncDispose]() {
      await world.ingest.close()
      await Promise.all(dead)
      await parser[Symbol.asyncDispose]()
      await searchEngine?.[Symbol.asyncDispose]()
      await database.close()
    },
  }
  await world.ingest.start()
  await furnish(world.ingest)
  return world
}

/**
 * The database as a process sees it that may die: nothing that it says afterwards arrives. A statement that
 * was under way is done all the same; `die` resolves then.
 */
function mortal(
  database: Database,
  isAway: (statement: string) => boolean,
): { readonly database: Database; readonly die: () => Promise<void> } {
  let isDead = false
  const underWay = new Set<Promise<unknown>>()
  const refuse = (statement: string): Error | undefined => {
    if (isDead) return new Error('This process is dead.')
    return isAway(statement) ? new AppError('storage_unavailable') : undefined
  }
  const asked = <T>(statement: string, ask: () => Promise<T>): Promise<T> => {
    const refusal = refuse(statement)
    return refusal ? Promise.reject(refusal) : ask()
  }
  const heard = <T>(answer: Promise<T>): Promise<T> => {
    const end = (): void => void underWay.delete(answer)
    underWay.add(answer)
    answer.then(end, end)
    return answer
  }
  const over = (sql: Sql): Sql => ({
    query: (text, values) => asked(text, () => heard(sql.query(text, values))),
  })
  return {
    database: {
      ...database,
      ...over(database),
      transaction: (work, ...options) =>
        asked('transaction', () => database.transaction((sql) => work({ ...sql, ...over(sql) }), ...options)),
    },
    die: async () => {
      isDead = true
      await Promise.allSettled(underWay)
    },
  }
}
const asItIs = <T>(it: T): T => it
const fileOf = (name: string): Promise<string> => readFile(new URL(`../../${name}`, import.meta.url), 'utf8')

const telling = (api: FgaApi, onPart: () => Promise<void>): FgaApi =>
  new Proxy(api, {
    get(target, name) {
      const value: unknown = Reflect.get(target, name)
      if (typeof value !== 'function') return value
      const called = value.bind(target)
      if (name !== 'write') return called
      return async (...args: readonly unknown[]) => {
        await onPart()
        return called(...args) as unknown
      }
    },
  })

async function openfgaOf({ openfga }: Pick<Backend, 'openfga'>, database: Database): Promise<FgaApi> {
  if (openfga === 'engine') {
    const { adapter } = await openEmbedded(database, Date.now, () => undefined)
    return createFgaApi({ apiUrl: embeddedUrl, timeoutMs: 4_000, adapter })
  }
  if (native.openfga === undefined)
    throw new Error('This test needs a real OpenFGA server (OPENFGA_TEST_URL).')
  return createFgaApi({ apiUrl: native.openfga.url, apiToken: native.openfga.token, timeoutMs: 4_000 })
}

/**
 * Collections `open` (public allowed) and `closed` with the service `loader`; `other`, where it may do
 * nothing.
 */
async function furnish(ingest: Ingest): Promise<void> {
  const mine = { writers: ['service:loader'], taggers: ['service:loader'] }
  await ingest.saveCollection(machine, { id: 'open', title: 'Open', publicAllowed: true, ...mine })
  await ingest.saveCollection(machine, { id: 'closed', title: 'Closed', ...mine })
  await ingest.saveCollection(machine, {
    id: 'other',
    title: 'Other',
    writers: ['service:stranger'],
    taggers: ['service:stranger'],
  })
  await ingest.saveCollection(machine, { id: 'untagged', title: 'Untagged', writers: ['service:loader'] })
  await ingest.applyTuples(machine, { writes: [tuple('user:eve member group:eng')], deletes: [] })
}

export const documentOf = ({
  id,
  collection = 'closed',
  text,
  access = {},
  ...rest
}: Sketch): DocumentInput =>
  documentSchema.parse({
    id,
    collection,
    title: `Title of ${id}`,
    ...(rest.content_base64 === undefined && { text: text ?? `All about ${id}.` }),
    access,
    ...rest,
  })

export const tuple = (line: string): Tuple => {
  const [user = '', relation = '', object = ''] = line.split(' ')
  return { user, relation, object: object as FgaObject }
}
