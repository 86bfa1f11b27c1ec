import { z } from 'zod'
import { memoize } from '../../../kernel/memoize.ts'
import type { WeightedLexeme } from '../port.ts'
import { toRoaring } from './bitmap.ts'
import { type Engine, EngineRefused } from './engine.ts'
import type { Generation } from './generations.ts'
import { digestOf } from './passages.ts'
import { indexOf } from './ranges.ts'

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
          filter: filterHere,
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
        filter: [filterHere, { bool: { should: has } }],
        should: terms.map((term) => ({ term: { lexemes: term } })),
      },
    },
  })
}

/** In a search: where each index gets its own part of the filter. No digest and no number is like it. */
const filterHere = '@filter'

/** The part of a filter that one index gets. */
interface Slice {
  readonly range: number
  readonly numbers: Int32Array
  /** JSON. */
  readonly filter: string
}

// A question is searched a few times, and whoever asks again mostly sees the same.
const lastSlices = memoize((_: Int32Array): { key: string; slices: readonly Slice[] } => ({
  key: '',
  slices: [],
}))

/**
 * One for each index, those of which nothing is in the filter too: how long a search takes would tell of it.
 * And for each that came since the generation was read.
 */
function slicesOf({ width, ranges }: Generation, numbers: Int32Array): readonly Slice[] {
  const last = lastSlices(numbers)
  const key = `${width} ${ranges.join()}`
  if (last.key === key) return last.slices
  const asked = new Set(ranges)
  for (let at = 0; at < numbers.length; ) {
    const range = Math.floor((numbers[at] ?? 0) / width)
    asked.add(range)
    at = placeOf(numbers, (range + 1) * width)
  }
  last.slices = [...asked]
    .sort((a, b) => a - b)
    .map((range) => {
      const slice = numbers.subarray(placeOf(numbers, range * width), placeOf(numbers, (range + 1) * width))
      const bitmap = toRoaring(slice).toString('base64')
      const filter = JSON.stringify({ terms: { n: [bitmap], value_type: 'bitmap' } })
      return { range, numbers: slice, filter }
    })
  last.key = key
  return last.slices
}

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

const answers = z.object({ responses: z.array(z.unknown()) })
const refusal = z.object({ status: z.int().min(400), error: z.object({ type: z.string() }).optional() })

/** Asks all indices at once, each with its slice, and gives the best of all. */
async function search(
  engine: Engine,
  generation: Generation,
  { numbers, size, signal }: Among,
  query: object,
): Promise<readonly Hit[]> {
  const slices = slicesOf(generation, numbers)
  const shape = { size, _source: false, stored_fields: '_none_', docvalue_fields: ['n', 'ordinal'] }
  // Once for all indices: a vector is long.
  const [before, after] = JSON.stringify({ ...shape, ...query }).split(JSON.stringify(filterHere))
  const body = slices.flatMap(({ range, filter }) => [
    { index: indexOf(generation, range), allow_partial_search_results: false },
    `${before}${filter}${after}`,
  ])
  if (body.length === 0) return []
  return engine.ask({ method: 'POST', path: '/_msearch', body, timeoutMs, signal }, (answer) => {
    const { responses } = answers.parse(answer)
    if (responses.length !== slices.length) throw new EngineRefused('another number of answers')
    return slices
      .flatMap((slice, nth) => hitsOf(responses[nth], slice.numbers, size))
      .sort((a, b) => b.score - a.score)
      .slice(0, size)
  })
}

function hitsOf(response: unknown, numbers: Int32Array, size: number): readonly Hit[] {
  const refused = refusal.safeParse(response)
  if (refused.success) {
    const { status, error } = refused.data
    const isNoIndex = error?.type === 'index_not_found_exception'
    throw new EngineRefused(`HTTP ${status}`, { status, isNoIndex })
  }
  const hits = hitsAnswer.parse(response).hits.hits.map(({ _score, fields }) => ({
    number: fields.n[0],
    ordinal: fields.ordinal[0],
    score: _score,
  }))
  assertAmong(hits, numbers, size)
  return hits
}

/** Nothing that an engine says is believed once it names what it was not asked for. */
function assertAmong(hits: readonly Hit[], numbers: Int32Array, size: number): void {
  const places = new Set(hits.map(({ number, ordinal }) => `${number}-${ordinal}`))
  const isAmong = ({ number }: Hit): boolean => numbers[placeOf(numbers, number)] === number
  if (hits.length > size || places.size < hits.length || !hits.every(isAmong))
    throw new EngineRefused('passages that it was not asked for')
}

/** Of the first that is not smaller. */
function placeOf(numbers: Int32Array, number: number): number {
  let low = 0
  for (let high = numbers.length; low < high; ) {
    const middle = (low + high) >>> 1
    if ((numbers[middle] ?? 0) < number) low = middle + 1
    else high = middle
  }
  return low
}
