import { randomUUID } from 'node:crypto'
import { createServer } from 'node:http'
import type { AddressInfo } from 'node:net'
import { json } from 'node:stream/consumers'
import { compileAllowList } from '../../src/authz/allow-list/allow-list.ts'
import { readVersion } from '../../src/authz/model/pin.ts'
import { createFga, createFgaApi } from '../../src/authz/openfga.ts'
import { effectsOf } from '../../src/directory/memberships.ts'
import type { AccessChange } from '../../src/ingest/access.ts'
import { isOutage } from '../../src/ingest/failures.ts'
import { createIngest } from '../../src/ingest/ingest.ts'
import type { Access, DocumentInput } from '../../src/ingest/wire.ts'
import type { BatchHandler } from '../../src/jobs/queue.ts'
import { AppError } from '../../src/kernel/errors.ts'
import { createOpensearchIndex } from '../../src/retrieval/chunk-index/opensearch/opensearch-index.ts'
import { createPostgresIndex } from '../../src/retrieval/chunk-index/postgres/postgres-index.ts'
import { openPostgres } from '../../src/store/postgres.ts'
import { native } from '../support/native.ts'
import { testEngine } from '../support/opensearch.ts'
import { loader } from './world.ts'

// A process of its own: the real ingestion, whose jobs, mending and drift run only when they are asked for,
// behind one route. It answers with the status that the service would.
const {
  DATABASE_URL = '',
  FGA_URL = '',
  FGA_TOKEN = '',
  FGA_STORE = '',
  FGA_MODEL = '',
  LEASE = '1',
} = process.env
// One that stands still inside a transaction keeps the other waiting for as long as two leases, not for a
// minute.
const database = await openPostgres({ url: DATABASE_URL, poolSize: 4, idleMsMax: Number(LEASE) * 2_000 })
const api = createFgaApi({ apiUrl: FGA_URL, apiToken: FGA_TOKEN, timeoutMs: 1_500 })
const version = await readVersion(database, FGA_MODEL)
if (version === undefined) throw new Error('The model in force is not kept.')
const list = compileAllowList(version)
let work: BatchHandler = () => Promise.reject(new Error('The queue was not started.'))
const ingest = createIngest({
  database,
  index: native.isOnOpensearch
    ? createOpensearchIndex({ database, engine: testEngine() })
    : createPostgresIndex({ database }),
  fga: createFga(api, FGA_STORE, () => FGA_MODEL),
  allowList: () => list,
  effectsOf: (usersets, sql = database) => effectsOf(sql, list, usersets),
  isApart: true,
  leaseSeconds: Number(LEASE),
  queue: {
    prepare: async () => undefined,
    start: async () => undefined,
    startBatches: async (handler) => {
      work = handler
    },
    send: async () => undefined,
    wake: () => undefined,
    close: async () => undefined,
    [Symbol.asyncDispose]: async () => undefined,
  },
  embed: undefined,
  prepare: async ({ bytes }) => {
    const text = Buffer.from(bytes).toString()
    const whole = { ordinal: 0, headings: [], start: 0, end: text.length, tokens: 1 }
    return { text, chunks: [{ ...whole, text, embedText: text }] }
  },
  clock: { now: Date.now },
  newId: () => `j_${randomUUID()}`,
  limits: { lineBytesMax: 1, linesMax: 1 },
  log: () => undefined,
})
// Only to be given what works on a task: its timers end at once.
await ingest.start({ compares: false })
await ingest.close()

/** What the process can be asked to do. */
export type Asked =
  | { readonly does: 'retag'; readonly id: string; readonly access: Access }
  | { readonly does: 'put'; readonly input: DocumentInput }
  | ({ readonly does: 'change' } & AccessChange)
  | { readonly does: 'withdraw'; readonly id: string }
  | { readonly does: 'publish'; readonly id: string }
  | { readonly does: 'drift' }

async function answer(asked: Asked): Promise<unknown> {
  switch (asked.does) {
    case 'retag':
      return ingest.retag(loader, asked.id, asked.access)
    case 'put':
      return ingest.put(loader, asked.input)
    case 'change': {
      const scopes = new Set(['docs.write', 'directory.write'] as const)
      const { writes, deletes } = asked
      return ingest.changeAccess(
        { kind: 'service', writer: loader, scopes, prefixes: ['fence'] },
        { writes, deletes },
      )
    }
    case 'withdraw':
      return ingest.withdraw(loader, asked.id)
    case 'publish':
      return publishAll(asked.id)
    case 'drift':
      return ingest.drift()
  }
}

async function publishAll(id: string): Promise<void> {
  const rows = await database.query<{ revision: number }>(
    'select revision from revisions join documents using (doc_no) where id = $1 order by revision',
    [id],
  )
  for (const { revision } of rows)
    await work([{ document: id, revision }], {
      signal: new AbortController().signal,
      done: async () => undefined,
      traceOf: () => undefined,
    })
}

const server = createServer((request, response) => {
  void (async () => {
    const asked = (await json(request)) as Asked
    response.statusCode = await answer(asked).then(
      () => 200,
      (error: unknown) => {
        if (error instanceof AppError) return error.status
        // OpenFGA, or the database, did not answer a batch.
        if (isOutage(error)) return 503
        process.stderr.write(`${error instanceof Error ? error.stack : error}\n`)
        return 500
      },
    )
    response.end()
  })()
})
server.listen(0, '127.0.0.1', () => {
  process.stdout.write(`listening on ${(server.address() as AddressInfo).port}\n`)
})
