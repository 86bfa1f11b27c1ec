import { randomUUID } from 'node:crypto'
import { createServer } from 'node:http'
import type { AddressInfo } from 'node:net'
import { json } from 'node:stream/consumers'
import { createFga, createFgaApi } from '../../src/authz/openfga.ts'
import { createIngest } from '../../src/ingest/ingest.ts'
import { AppError } from '../../src/kernel/errors.ts'
import { openPostgres } from '../../src/store/postgres.ts'
import { loader } from './world.ts'

// A process of its own: the real ingestion, whose jobs, mending and drift are never started, behind one route that sets who
// may read a document. It answers with the status that the service would.
const {
  DATABASE_URL = '',
  FGA_URL = '',
  FGA_TOKEN = '',
  FGA_STORE = '',
  FGA_MODEL = '',
  LEASE = '1',
} = process.env
const database = await openPostgres({ url: DATABASE_URL, poolSize: 4 })
const api = createFgaApi({ apiUrl: FGA_URL, apiToken: FGA_TOKEN, timeoutMs: 1_500 })
const ingest = createIngest({
  database,
  fga: createFga(api, FGA_STORE, () => FGA_MODEL),
  isApart: true,
  leaseSeconds: Number(LEASE),
  queue: {
    start: async () => undefined,
    send: async () => undefined,
    wake: () => undefined,
    close: async () => undefined,
    [Symbol.asyncDispose]: async () => undefined,
  },
  embed: undefined,
  prepare: () => Promise.reject(new Error('Nothing is read here.')),
  mimeTypes: new Set(),
  clock: { now: Date.now },
  newId: () => `j_${randomUUID()}`,
  limits: { lineBytesMax: 1, linesMax: 1 },
  log: () => undefined,
})

const server = createServer((request, response) => {
  void (async () => {
    const { id, access } = (await json(request)) as { id: string; access: object }
    response.statusCode = await ingest.retag(loader, id, access).then(
      () => 200,
      (error: unknown) => (error instanceof AppError ? error.status : 500),
    )
    response.end()
  })()
})
server.listen(0, '127.0.0.1', () => {
  process.stdout.write(`listening on ${(server.address() as AddressInfo).port}\n`)
})
