import { createHmac } from 'node:crypto'
import { z } from 'zod'
import type { IndexedChunk, LexemeCount } from '../port.ts'
import { type Engine, EngineRefused } from './engine.ts'
import type { Generation } from './generations.ts'
import { lengthEnd, putAlias } from './mapping.ts'
import { indexOf, rangeOf } from './ranges.ts'

/** A chunk as the engine gets it: numbers, digests of lexemes, a vector. */
export interface Passage extends Pick<IndexedChunk, 'ordinal' | 'vector' | 'lexemes'> {
  /** Of its publication. */
  readonly number: number
  /** Of the publication's content: the engine takes none in the place of a newer one. */
  readonly version: number
}

/** Chunks of one publication that are to go. */
export interface Removal {
  readonly number: number
  /** It had this many at most. */
  readonly chunks: number
  /** Later than that of anything that was put. */
  readonly version: number
}

// Some 8 kB each, and so many requests at a time: each waits for the next refresh.
const passagesAtOnce = 500
const requestsAtOnce = 4
const removalsAtOnce = 5_000
const timeoutMs = 60_000
// What a tsvector keeps of one lexeme.
const timesMax = 256

/**
 * Puts passages into the index. Resolves when every copy that may be asked finds them. Throws
 * {@link EngineRefused}, also where the engine has a newer version of one.
 */
export async function putPassages(
  engine: Engine,
  generation: Generation,
  passages: readonly Passage[],
): Promise<void> {
  const put = (page: readonly Passage[]): Promise<void> => {
    const lines = page.flatMap((passage) => [
      { index: placeOf(generation, passage.number, passage) },
      documentOf(generation, passage),
    ])
    return write(engine, lines, page.length, (status) => status === 200 || status === 201)
  }
  const pages = pagesOf(passages, passagesAtOnce)
  for (const several of pagesOf(pages, requestsAtOnce)) await Promise.all(several.map(put))
}

const pagesOf = <T>(all: readonly T[], size: number): readonly (readonly T[])[] =>
  Array.from({ length: Math.ceil(all.length / size) }, (_, nth) => all.slice(nth * size, (nth + 1) * size))

/** Takes passages out of the index, those that are not there too. Throws {@link EngineRefused}. */
export async function removePassages(
  engine: Engine,
  generation: Generation,
  removals: readonly Removal[],
): Promise<void> {
  const lines = removals.flatMap(({ number, chunks, version }) =>
    Array.from({ length: chunks }, (_, ordinal) => ({
      delete: placeOf(generation, number, { ordinal, version }),
    })),
  )
  for (const page of pagesOf(lines, removalsAtOnce))
    await write(engine, page, page.length, (status) => status === 200 || status === 404)
}

const placeOf = (
  generation: Generation,
  number: number,
  { ordinal, version }: { readonly ordinal: number; readonly version: number },
): object => ({
  // An alias, so that an index that is gone is not made anew with a mapping of the engine's own.
  _index: putAlias(indexOf(generation, rangeOf(generation, number))),
  _id: `${number}-${ordinal}`,
  routing: String(number),
  version,
  version_type: 'external_gte',
})

function documentOf(generation: Generation, { number, ordinal, lexemes, vector }: Passage): object {
  const words = Math.min(
    lexemes.reduce((sum, lexeme) => sum + timesOf(lexeme), 0),
    lengthEnd - 1,
  )
  return {
    n: number,
    ordinal,
    lexemes: lexemes
      .map((one) => `${digestOf(generation, one.lexeme)}|${timesOf(one) * lengthEnd + words}`)
      .join(' '),
    ...(vector !== undefined && { vector: [...vector] }),
  }
}

const timesOf = ({ count }: LexemeCount): number => Math.min(count, timesMax)

/**
 * A lexeme as the engine knows it: a digest under the generation's key, so that what the engine stores says
 * no word. How often each one stands where still shows.
 */
export const digestOf = ({ lexemeKey }: Generation, lexeme: string): string =>
  createHmac('sha256', lexemeKey).update(lexeme).digest('base64url').slice(0, 22)

const itemAnswer = z.object({
  status: z.number(),
  _shards: z.object({ failed: z.number() }).optional(),
})
const bulkAnswer = z.object({ items: z.array(z.record(z.string(), itemAnswer)) })

async function write(
  engine: Engine,
  lines: readonly object[],
  count: number,
  isDone: (status: number) => boolean,
): Promise<void> {
  await engine.ask(
    // `wait_for` with DOCUMENT replication: each copy has refreshed when it answers.
    {
      method: 'POST',
      path: '/_bulk?refresh=wait_for&require_alias=true',
      body: lines,
      timeoutMs,
    },
    (answer) => {
      const { items } = bulkAnswer.parse(answer)
      const done = items
        .flatMap((item) => Object.values(item))
        .filter(({ status, _shards: copies }) => isDone(status) && (copies?.failed ?? 0) === 0)
      if (done.length !== count) throw new EngineRefused(`${count - done.length} of ${count} not taken`)
    },
  )
}

const numbersAnswer = z.object({
  timed_out: z.literal(false),
  _shards: z.object({ failed: z.literal(0) }),
  aggregations: z.object({
    numbers: z.object({
      buckets: z.array(z.object({ key: z.object({ n: z.int() }), doc_count: z.int() })),
    }),
  }),
})

/** Numbers that the index holds passages of, ascending, above `after`, with how many. */
export async function listPassages(
  engine: Engine,
  { name }: Generation,
  after: number,
  limit: number,
): Promise<readonly { readonly number: number; readonly chunks: number }[]> {
  const body = {
    size: 0,
    track_total_hits: false,
    query: { range: { n: { gt: after } } },
    aggs: { numbers: { composite: { size: limit, sources: [{ n: { terms: { field: 'n' } } }] } } },
  }
  return engine.ask(
    { method: 'POST', path: `/${name}-*/_search?allow_partial_search_results=false`, body, timeoutMs },
    (answer) =>
      numbersAnswer
        .parse(answer)
        .aggregations.numbers.buckets.map(({ key, doc_count }) => ({ number: key.n, chunks: doc_count })),
  )
}
