import { z } from 'zod'
import { memoize } from '../../../kernel/memoize.ts'
import type { WeightedLexeme } from '../port.ts'
import { toRoaring } from './bitmap.ts'
import { type Engine, EngineRefused } from './engine.ts'
import type { Generation } from './generations.ts'
import { digestOf } from './passages.ts'

/** A place that the engine names. The score is its own, and nothing rests on it but where to stop. */
export interface Hit {
  /** Of a publication. */
  readonly number: number
  readonly ordinal: number
  readonly score: number
}

/** The publications that are searched, how many places to name, and until when. */
export interface Among {
  /** Ascending. */
  readonly numbers: Int32Array
  readonly size: number
  readonly signal?: AbortSignal | undefined
}

/**
 * How many places the walk through the graph keeps at a time, at least: recall 1.000 in every cell measured.
 */
const walkMin = 800

/** The nearest passages of those publications. Approximate. Throws {@link EngineRefused}. */
export const nominateNearest = (
  engine: Engine,
  generation: Generation,
  among: Among,
  vector: Float32Array,
): Promise<readonly Hit[]> =>
  search(engine, generation, among, {
    track_total_hits: false,
    query: {
      knn: {
        vector: {
          vector: [...vector],
          k: among.size,
          filter: filterOf(among),
          method_parameters: { ef_search: Math.max(walkMin, among.size) },
        },
      },
    },
  })

/** What to look words up by. */
export interface Words {
  readonly lexemes: readonly WeightedLexeme[]
  /** How many of them, from the first, a passage must have one of. */
  readonly needed: number
  /** Which of the weights count. */
  readonly weight: number
  readonly repetitionMax: number
}

/** The best passages by words, as the index itself dampens length. Throws {@link EngineRefused}. */
export function nominateWords(
  engine: Engine,
  generation: Generation,
  among: Among,
  { lexemes, needed, weight, repetitionMax }: Words,
): Promise<readonly Hit[]> {
  const terms = lexemes.map((one) => ({
    value: digestOf(generation, one.lexeme),
    boost: (one.weights[weight] ?? 0) * repetitionMax,
  }))
  const has = terms.slice(0, needed).map(({ value }) => ({ term: { lexemes: { value } } }))
  return search(engine, generation, among, {
    // The engine could pass over passages by bounds of its own, which our frequencies would mislead.
    track_total_hits: true,
    query: {
      bool: {
        filter: [filterOf(among), { bool: { should: has } }],
        should: terms.map((term) => ({ term: { lexemes: term } })),
      },
    },
  })
}

const filterOf = ({ numbers }: Among): object => ({
  terms: { n: [bitmapOf(numbers)], value_type: 'bitmap' },
})

// A question is searched a few times, and whoever asks again mostly sees the same.
const bitmapOf = memoize((numbers: Int32Array) => toRoaring(numbers).toString('base64'))

// Of an answer in part not one hit is used: what lacks would be silence about what is there.
const hitsAnswer = z.object({
  timed_out: z.literal(false),
  terminated_early: z.literal(false).optional(),
  _shards: z
    .object({ total: z.int(), successful: z.int(), failed: z.literal(0) })
    .refine(({ total, successful }) => total === successful),
  hits: z.object({
    hits: z.array(
      z.object({
        _score: z.number(),
        fields: z.object({ n: z.tuple([z.int()]), ordinal: z.tuple([z.int()]) }),
      }),
    ),
  }),
})

// Two tries, and then Postgres, within the time that a request has by default.
const timeoutMs = 2_000

function search(engine: Engine, { index }: Generation, among: Among, body: object): Promise<readonly Hit[]> {
  const shape = {
    size: among.size,
    _source: false,
    stored_fields: '_none_',
    docvalue_fields: ['n', 'ordinal'],
  }
  return engine.ask(
    {
      method: 'POST',
      path: `/${index}/_search?allow_partial_search_results=false`,
      body: { ...shape, ...body },
      timeoutMs,
      signal: among.signal,
    },
    (answer) => {
      const hits = hitsAnswer.parse(answer).hits.hits.map(({ _score, fields }) => ({
        number: fields.n[0],
        ordinal: fields.ordinal[0],
        score: _score,
      }))
      assertAmong(hits, among)
      return hits
    },
  )
}

/** Nothing that an engine says is believed once it names what it was not asked for. */
function assertAmong(hits: readonly Hit[], { numbers, size }: Among): void {
  const places = new Set(hits.map(({ number, ordinal }) => `${number}-${ordinal}`))
  if (hits.length > size || places.size < hits.length || !hits.every(({ number }) => has(numbers, number)))
    throw new EngineRefused('passages that it was not asked for')
}

function has(numbers: Int32Array, number: number): boolean {
  let low = 0
  for (let high = numbers.length; low < high; ) {
    const middle = (low + high) >>> 1
    if ((numbers[middle] ?? 0) < number) low = middle + 1
    else high = middle
  }
  return numbers[low] === number
}
