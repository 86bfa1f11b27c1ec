import { setTimeout as pause } from 'node:timers/promises'
import type { IngestContext, Prepared } from './context.ts'
import type { Share } from './read-budget.ts'
import type { Revision } from './revision.ts'

// Bytes of content that are fetched together: they are held until they are read.
const fetchedBytesMax = 1_000_000
// What a document may turn out to hold, until that is known. The text, its passages and what is embedded of
// them are three times its size; a compressed one is larger.
const sizeLeast = 4_000_000
/** From here on a document has a place of its own: its bytes alone would fill what others share. */
export const largeFrom = 12_000_000
/** Characters that all batches of a process read and have not stored yet, large documents aside. */
export const readSizeMax = 2 * largeFrom
/** So long those that are read wait for the rest of their batch. */
const lingerMs = 100

/** One that was read. Its text is kept apart, so that nothing holds it once it is stored. */
export interface ReadWell {
  readonly revision: Revision
  readonly passages: number
}
/** What came of reading one. */
export type Read =
  | ReadWell
  | { readonly revision: Revision; readonly error: unknown }
  /** Superseded meanwhile. */
  | { readonly revision: Revision }

/** What was read, and holds its share of the memory until it is deleted here and that is given back. */
export type Texts = Map<Revision, { readonly prepared: Prepared; readonly share: Share }>

/** How revisions are read. */
export interface Reading {
  readonly signal: AbortSignal
  readonly texts: Texts
  /** Told of what failed for several. */
  readonly keep: (error: unknown) => void
  /** Before any of them is read. */
  readonly begin: (revisions: readonly Revision[]) => Promise<void>
}

/** Those that are read so far, again and again until all are: for who is slow the others wait a moment. */
export async function* readEach(
  context: IngestContext,
  revisions: readonly Revision[],
  run: Reading,
): AsyncGenerator<readonly Read[]> {
  let read: Read[] = []
  let arrival = Promise.withResolvers<void>()
  let isOver = false
  const all = readAll(context, revisions, run, (one) => {
    read.push(one)
    arrival.resolve()
  }).finally(() => {
    isOver = true
  })
  for (;;) {
    await Promise.race([arrival.promise, all])
    const lingered = new AbortController()
    if (!isOver)
      await Promise.race([
        all,
        pause(lingerMs, undefined, { signal: lingered.signal }).catch(() => undefined),
      ]).finally(() => lingered.abort())
    const some = read
    read = []
    arrival = Promise.withResolvers()
    if (some.length > 0) yield some
    if (isOver && read.length === 0) return
  }
}

/** Begins the next as soon as the budget lets it, whatever those before it are at. Never rejects. */
async function readAll(
  context: IngestContext,
  revisions: readonly Revision[],
  run: Reading,
  onRead: (read: Read) => void,
): Promise<void> {
  const { keep, begin, signal } = run
  const budget = context.readBudget(revisions[0]?.source ?? '')
  const reading: Promise<void>[] = []
  for (const some of parted(revisions, ({ bytes }) => bytes, fetchedBytesMax)) {
    try {
      let contents: Map<number, Uint8Array> | undefined
      for (const revision of some) {
        const share = await budget.take(sizeThought(revision), signal)
        try {
          if (contents === undefined) {
            await begin(some)
            contents = await readContents(context, some)
          }
        } catch (error) {
          share.giveBack()
          throw error
        }
        const bytes = contents.get(revision.docNo)
        contents.delete(revision.docNo)
        reading.push(readOne(context, { revision, bytes, share }, run).then(onRead))
      }
    } catch (error) {
      keep(error)
    }
  }
  await Promise.all(reading)
}

const sizeThought = ({ bytes }: Revision): number => Math.max(sizeLeast, 3 * bytes)

/** Characters. */
const sizeOf = ({ text, chunks }: Prepared): number =>
  chunks.reduce((sum, chunk) => sum + chunk.text.length + chunk.embedText.length, text.length)

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
  { revision, bytes, share }: { revision: Revision; bytes: Uint8Array | undefined; share: Share },
  { texts, signal }: Reading,
): Promise<Read> {
  try {
    if (bytes === undefined) {
      share.giveBack()
      return { revision }
    }
    const { title, mimeType, source } = revision
    const prepared = await prepare({ mimeType, title, source, bytes }, signal)
    share.resize(sizeOf(prepared))
    texts.set(revision, { prepared, share })
    await step('prepared', revision.id)
    return { revision, passages: prepared.chunks.length }
  } catch (error) {
    texts.delete(revision)
    share.giveBack()
    return { revision, error }
  }
}

/** In their order, each part as long as the bound lets; one that is larger is a part of its own. */
export function parted<T>(items: readonly T[], sizeOf: (item: T) => number, sizeMax: number): T[][] {
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
