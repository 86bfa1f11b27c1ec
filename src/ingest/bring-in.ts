import { setTimeout as pause } from 'node:timers/promises'
import { documentObject } from '../kernel/ids.ts'
import { NotFound } from '../retrieval/chunk-index/port.ts'
import type { IngestContext, Prepared } from './context.ts'
import { ParseError } from './parse/parsed.ts'
import { type Published, publish } from './publish.ts'
import type { Revision, RevisionTask } from './revision.ts'
import { type ReadRevision, stage, stageAnew } from './stage.ts'

/** How a batch of revisions goes in, and who is told what came of each. */
export interface Attempt {
  /** Nothing else is under way in this process: one of them ended one. */
  readonly isAlone: boolean
  readonly signal: AbortSignal
  readonly onPublished: (published: Published) => Promise<void>
  /** Its content cannot be read. */
  readonly onRefused: (revision: Revision, error: ParseError) => Promise<void>
  /** Overtaken while it was prepared: nothing was published. */
  readonly onSuperseded: (revision: Revision) => Promise<void>
}

// Bounds of what goes on together. Passages: a local model takes seconds for so many. Bytes: what is read at
// once is held in memory.
const textsMax = 128
const bytesMax = 4_000_000
/** So long those that are read wait for the rest of their batch. */
const lingerMs = 100
/** So long a batch waits for documents that others hold: then each waits for its own. */
const batchWaitMsMax = 500

/**
 * Reads, embeds, stages and publishes revisions of different documents, small ones first, as many together as
 * the bounds let. One that cannot be read, or that is slow, keeps no other from going in. Throws what kept
 * some of them out once all the others are in.
 */
export async function bringIn(
  context: IngestContext,
  revisions: readonly Revision[],
  attempt: Attempt,
): Promise<void> {
  const failures: unknown[] = []
  const keep = (error: unknown): void => void failures.push(error)
  const staged = revisions.filter(({ isStaged }) => isStaged)
  await publishStaged(context, staged, attempt).catch(keep)
  const unread = revisions.filter(({ isStaged }) => !isStaged).sort((a, b) => a.bytes - b.bytes)
  for (const some of parted(unread, ({ bytes }) => bytes, bytesMax)) {
    attempt.signal.throwIfAborted()
    await readAndBringIn(context, some, attempt, keep).catch(keep)
  }
  if (failures.length > 0) throw failures[0]
}

/** In their order, each part as long as the bound lets; one that is larger is a part of its own. */
function parted<T>(items: readonly T[], sizeOf: (item: T) => number, sizeMax: number): T[][] {
  const parts: T[][] = []
  let size = 0
  for (const item of items) {
    const last = parts.at(-1)
    if (last === undefined || size + sizeOf(item) > sizeMax) {
      parts.push([item])
      size = 0
    } else last.push(item)
    size += sizeOf(item)
  }
  return parts
}

interface ReadWell {
  readonly revision: Revision
  readonly prepared: Prepared
}
/** What came of reading one. */
type Read =
  | ReadWell
  | { readonly revision: Revision; readonly error: unknown }
  /** Superseded meanwhile. */
  | { readonly revision: Revision }

async function readAndBringIn(
  context: IngestContext,
  revisions: readonly Revision[],
  attempt: Attempt,
  keep: (error: unknown) => void,
): Promise<void> {
  const { crashCounts } = context
  const { isAlone } = attempt
  await crashCounts.begin(revisions, isAlone)
  const open = new Set(revisions)
  // Where its end cannot be written the next look at it knows that this process lives.
  const end = async (some: readonly Revision[], isThrough: boolean): Promise<void> => {
    for (const revision of some) open.delete(revision)
    await crashCounts.end(some, { isAlone, isThrough }).catch(keep)
  }
  try {
    for await (const some of readEach(context, revisions, attempt.signal)) {
      const { read, refused, failed, gone } = sorted(some)
      await end(
        [...gone, ...refused.map(({ revision }) => revision)],
        // Content that cannot be read was read to its end all the same.
        true,
      )
      await end(
        failed.map(({ revision }) => revision),
        false,
      )
      for (const { error } of failed) keep(error)
      for (const { revision, error } of refused) await attempt.onRefused(revision, error).catch(keep)
      for (const revision of gone) await attempt.onSuperseded(revision).catch(keep)
      for (const part of parted(read, ({ prepared }) => prepared.chunks.length, textsMax))
        await stageAndPublish(context, part, attempt, end).catch(keep)
    }
  } finally {
    await end([...open], false)
  }
}

/** What came of each. */
function sorted(some: readonly Read[]) {
  const read: ReadWell[] = []
  const refused: { readonly revision: Revision; readonly error: ParseError }[] = []
  const failed: { readonly revision: Revision; readonly error: unknown }[] = []
  const gone: Revision[] = []
  for (const one of some) {
    const { revision } = one
    if ('prepared' in one) read.push(one)
    else if (!('error' in one)) gone.push(revision)
    else if (one.error instanceof ParseError) refused.push({ revision, error: one.error })
    else failed.push({ revision, error: one.error })
  }
  return { read, refused, failed, gone }
}

/** Those that are read so far, again and again until all are: for who is slow the others wait a moment. */
async function* readEach(
  context: IngestContext,
  revisions: readonly Revision[],
  signal: AbortSignal,
): AsyncGenerator<readonly Read[]> {
  const contents = await readContents(context, revisions)
  let read: Read[] = []
  const reading = new Set(
    revisions.map((revision) => {
      const one = readOne(context, revision, contents.get(revision.docNo), signal).then((result) => {
        read.push(result)
        reading.delete(one)
      })
      return one
    }),
  )
  contents.clear()
  while (reading.size > 0 || read.length > 0) {
    if (read.length === 0) await Promise.race(reading)
    if (reading.size > 0) {
      const over = new AbortController()
      const rest = pause(lingerMs, undefined, { signal: over.signal }).catch(() => undefined)
      await Promise.race([Promise.all(reading), rest])
      over.abort()
    }
    const some = read
    read = []
    yield some
  }
}

async function readContents(
  { database }: IngestContext,
  revisions: readonly Revision[],
): Promise<Map<number, Uint8Array>> {
  const rows = await database.query<{ doc_no: number; content: Uint8Array }>(
    `select r.doc_no, r.content from unnest($1::int[], $2::bigint[]) as w (doc_no, revision)
     join revisions r using (doc_no, revision)`,
    [revisions.map(({ docNo }) => docNo), revisions.map(({ revision }) => revision)],
  )
  return new Map(rows.map(({ doc_no, content }) => [doc_no, content]))
}

async function readOne(
  { prepare, step }: IngestContext,
  revision: Revision,
  bytes: Uint8Array | undefined,
  signal: AbortSignal,
): Promise<Read> {
  if (bytes === undefined) return { revision }
  try {
    const { title, mimeType, source } = revision
    const prepared = await prepare({ mimeType, title, source, bytes }, signal)
    await step('prepared', revision.id)
    return { revision, prepared }
  } catch (error) {
    return { revision, error }
  }
}

async function stageAndPublish(
  context: IngestContext,
  read: readonly ReadWell[],
  attempt: Attempt,
  end: (some: readonly Revision[], isThrough: boolean) => Promise<void>,
): Promise<void> {
  const { step } = context
  const revisions = read.map(({ revision }) => revision)
  let isThrough = false
  try {
    attempt.signal.throwIfAborted()
    const embedded = await embedAll(context, read, attempt.signal)
    for (const { id } of revisions) await step('embedded', id)
    await context.fewAtATime(() => stage(context, embedded))
    for (const { id } of revisions) await step('staged', id)
    isThrough = true
  } finally {
    await end(revisions, isThrough)
  }
  await publishStaged(context, revisions, attempt)
}

/** All texts in one call. */
async function embedAll(
  { embed }: IngestContext,
  read: readonly ReadWell[],
  signal: AbortSignal,
): Promise<ReadRevision[]> {
  const chunks = read.flatMap(({ prepared }) => prepared.chunks)
  if (embed === undefined || chunks.length === 0) return read.map((one) => ({ ...one, vectors: embed && [] }))
  const tokens = new Map(chunks.map((chunk) => [chunk.embedText, chunk.tokens]))
  const vectors = await embed(
    chunks.map(({ embedText }) => embedText),
    { signal, countTokens: (text) => tokens.get(text) ?? Number.POSITIVE_INFINITY },
  )
  let offset = 0
  return read.map((one) => {
    const from = offset
    offset += one.prepared.chunks.length
    return { ...one, vectors: vectors.slice(from, offset) }
  })
}

async function publishStaged(
  context: IngestContext,
  revisions: readonly Revision[],
  { signal, onPublished, onSuperseded }: Attempt,
): Promise<void> {
  if (revisions.length === 0) return
  signal.throwIfAborted()
  const tasks = revisions.map(({ id, revision }): RevisionTask => ({ document: id, revision }))
  const published = await context.documentLocks
    .hold(
      revisions.map(({ id }) => documentObject(id)),
      (hold) => publish(context, hold, tasks),
      undefined,
      revisions.length > 1 ? batchWaitMsMax : undefined,
    )
    .catch(async (error: unknown) => {
      // The index has lost one since: another try would find it staged, and no nearer to being found.
      if (error instanceof NotFound) await stageAnew(context.database, revisions)
      throw error
    })
  await onPublished(published)
  const ids = new Set(published.tasks.map(({ document }) => document))
  for (const revision of revisions) if (!ids.has(revision.id)) await onSuperseded(revision)
}
