import { createHash, type Hash } from 'node:crypto'
import { isId } from '@remit/contract/id'
import { z } from 'zod'
import { AppError } from '../kernel/errors.ts'
import { firstIssue } from '../kernel/validation-message.ts'
import { acceptDocuments, type Item } from './accept.ts'
import type { IngestContext, Writer } from './context.ts'
import { countFailed, findJob, insertItem, insertJob, toldMax } from './job-store.ts'
import { readNdjson } from './ndjson.ts'
import { breakOff, createRests, keepReceiving, stillReceiving } from './receiving.ts'
import { askRights, mayNotWrite } from './rights.ts'
import { documentSchema } from './wire.ts'
import { applySnapshot, type ReceivedBody, type Snapshot } from './withdraw.ts'

/** An import as it comes in. */
export interface ImportRequest {
  /** Newline-delimited JSON, read once and never held as a whole. */
  readonly body: AsyncIterable<Uint8Array>
  /**
   * Withdraws what is no longer listed, under the rules of the contract. Left out: only adds and replaces.
   */
  readonly snapshot?: Snapshot
  readonly idempotencyKey?: string
  /** Fires when whoever sends it is gone: what has not begun then does not begin. */
  readonly signal?: AbortSignal | undefined
  /**
   * Throws where whoever sends it may write no more. Asked with each piece of the body, and before each
   * batch. Left out: nobody may take that back.
   */
  readonly assertStands?: (() => Promise<void>) | undefined
}

// A batch is one round of checks and one transaction.
const batchItemsMax = 50
const batchBytesMax = 8_000_000
// Refused lines that are counted alone, between two updates of the count.
const countedAtOnce = 1_000

const endLine = z.strictObject({ end: z.int().min(0) })

/**
 * Accepts an import line by line: a bad line is noted and the others go in; past a thousand they are only
 * counted. Returns the job's id once the whole body was read; by then everything that it takes away is out of
 * force. A body that breaks off leaves a failed job whose good lines went in, and frees its idempotency key;
 * so does, two minutes later, a process that died. Throws `idempotency_mismatch`, `conflict`, and 503 when
 * rights cannot be asked.
 */
export async function importDocuments(
  context: IngestContext,
  writer: Writer,
  request: ImportRequest,
): Promise<string> {
  const { database, newId } = context
  const hash = createHash('sha256').update(`${JSON.stringify(request.snapshot ?? null)}\n`)
  const body = hashed(request, hash)
  if (request.snapshot !== undefined) await assertWriter(context, writer, request.snapshot.collection)
  const jobId = newId()
  const { idempotencyKey } = request
  const isNew = await insertJob(database, {
    id: jobId,
    owner: writer.subject,
    kind: 'import',
    state: 'receiving',
    ...(idempotencyKey !== undefined && { idempotencyKey }),
  })
  if (!isNew && idempotencyKey !== undefined) return repeated(context, writer, body, hash, idempotencyKey)
  using _ = keepReceiving(context, jobId)
  try {
    const received = await receive(context, writer, jobId, body, request)
    if (request.snapshot !== undefined)
      await applySnapshot(context, writer, jobId, request.snapshot, received, request)
    await database.transaction(async (sql) => {
      await stillReceiving(sql, jobId)
      await sql.query(`update jobs set state = 'open', digest = $2 where id = $1`, [
        jobId,
        hash.digest('hex'),
      ])
    })
  } catch (error) {
    // Where the database went, too, its silence ends the job.
    await breakOff(context, jobId)
    throw error
  }
  context.jobChanged(jobId)
  return jobId
}

async function* hashed({ body, assertStands }: ImportRequest, hash: Hash): AsyncGenerator<Uint8Array> {
  for await (const chunk of body) {
    await assertStands?.()
    hash.update(chunk)
    yield chunk
  }
  await assertStands?.()
}

/** The key is known: the body is read only to see that it is the same. */
async function repeated(
  { database }: IngestContext,
  writer: Writer,
  body: AsyncIterable<Uint8Array>,
  hash: Hash,
  key: string,
): Promise<string> {
  let bytes = 0
  for await (const chunk of body) bytes += chunk.length
  const knownJob = await findJob(database, writer.subject, { key, digest: hash.digest('hex') })
  if (knownJob === undefined) {
    throw new AppError('conflict', {
      public: 'The first request with this key broke off; send it again.',
      internal: `${bytes} bytes`,
    })
  }
  return knownJob
}

async function receive(
  context: IngestContext,
  writer: Writer,
  jobId: string,
  body: AsyncIterable<Uint8Array>,
  { snapshot, signal, assertStands }: Omit<ImportRequest, 'body'>,
): Promise<ReceivedBody> {
  const rests = createRests(context.database, jobId)
  let batch: Item[] = []
  let bytes = 0
  let documents = 0
  let refusedCount = 0
  let uncounted = 0
  let expectedCount: number | undefined
  const flush = async (): Promise<void> => {
    if (uncounted > 0) await countFailed(context.database, jobId, uncounted)
    uncounted = 0
    if (batch.length > 0) {
      await rests.take(signal)
      await assertStands?.()
      const { refused: newlyRefused, queued } = await acceptDocuments(context, writer, {
        jobId,
        items: batch,
        onRefused: 'note',
        begin: (sql) => stillReceiving(sql, jobId),
        signal,
      })
      refusedCount += newlyRefused
      rests.added(queued)
    }
    batch = []
    bytes = 0
  }
  const refuse = async (line: number, error: Refusal): Promise<void> => {
    refusedCount += 1
    if (refusedCount <= toldMax) {
      await insertItem(context.database, { jobId, line, state: 'failed', ...error })
      return
    }
    uncounted += 1
    if (uncounted >= countedAtOnce) await flush()
  }
  for await (const entry of readNdjson(body, context.limits)) {
    const { line } = entry
    if (!entry.ok) {
      await refuse(line, { code: entry.code, detail: entry.detail })
      continue
    }
    const ending = endLine.safeParse(entry.value)
    if (expectedCount !== undefined) {
      await refuse(line, { code: 'invalid_request', detail: 'Nothing may follow the end line.' })
      continue
    }
    if (ending.success) {
      expectedCount = ending.data.end
      continue
    }
    documents += 1
    const read = readDocumentLine(entry.value, snapshot?.collection)
    if (!read.ok) {
      await refuse(line, read.error)
      continue
    }
    if (batch.some(({ input }) => input.id === read.input.id)) await flush()
    batch.push({ line, input: read.input })
    bytes += entry.bytes
    if (batch.length >= batchItemsMax || bytes >= batchBytesMax) await flush()
  }
  await flush()
  return { documents, refused: refusedCount, end: expectedCount }
}

interface Refusal {
  readonly code: string
  readonly field?: string
  readonly detail: string
  readonly documentId?: string
}

function readDocumentLine(
  value: unknown,
  collection: string | undefined,
): { readonly ok: true; readonly input: Item['input'] } | { readonly ok: false; readonly error: Refusal } {
  const parsed = documentSchema.safeParse(value)
  if (!parsed.success) {
    const { path, says } = firstIssue(parsed.error)
    return {
      ok: false,
      error: {
        code: 'invalid_request',
        field: path.join('.') || 'body',
        detail: says,
        ...idOf(value),
      },
    }
  }
  const input = parsed.data
  if (collection !== undefined && input.collection !== collection) {
    const detail = 'A snapshot lists documents of its own collection only.'
    return {
      ok: false,
      error: { code: 'invalid_request', field: 'collection', detail, documentId: input.id },
    }
  }
  return { ok: true, input }
}

/** The id of a line that is wrong elsewhere, so that its sender finds it. */
function idOf(value: unknown): { readonly documentId?: string } {
  if (typeof value !== 'object' || value === null || !('id' in value)) return {}
  return typeof value.id === 'string' && isId(value.id) ? { documentId: value.id } : {}
}

async function assertWriter(
  { fga, clock }: IngestContext,
  writer: Writer,
  collection: string,
): Promise<void> {
  const rights = await askRights(fga, writer.subject, [{ relation: 'writer', collection }], clock.now())
  if (!rights.has('writer', collection)) throw mayNotWrite()
}

/** Each holds lines of up to 28 MB (`imports.ts`): more at a time make none of them faster. */
const openMax = 8

/** Runs one more import for a service, unless so many of its are coming in to this process already. */
type OpenImports = <T>(service: string, receive: () => Promise<T>) => Promise<T>

/** What it makes throws `rate_limited` where a service has eight imports open. */
export function createOpenImports(): OpenImports {
  const openByService = new Map<string, number>()
  return async (service, receive) => {
    const openCount = openByService.get(service) ?? 0
    if (openCount >= openMax)
      throw new AppError('rate_limited', {
        public: `This service has ${openMax} imports coming in. One more is taken once one of them has ended.`,
        headers: { 'retry-after': '10' },
      })
    openByService.set(service, openCount + 1)
    try {
      return await receive()
    } finally {
      const remaining = (openByService.get(service) ?? 1) - 1
      if (remaining === 0) openByService.delete(service)
      else openByService.set(service, remaining)
    }
  }
}
