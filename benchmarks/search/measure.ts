import { createRandom } from '../kubernetes/random.ts'
import type { Cell, Known } from './cells.ts'
import { type Corpus, dot, vectorAt } from './corpus.ts'
import type { ProcessorTime } from './processor.ts'
import { interval, mean, quantile } from './statistics.ts'
import { type Answered, type Asked, topK, type Way } from './ways/way.ts'

/** What one way did in one cell. Times in milliseconds. */
export interface Measured {
  readonly policy: string
  readonly topic: string
  readonly level: number
  readonly filter: number
  readonly share: number
  readonly near: number
  readonly way: string
  readonly asked: number
  /** Each of them, in the order asked. */
  readonly times: readonly number[]
  /** Beside other work, nearer to what a quiet machine takes. */
  readonly p10: number
  readonly p50: number
  readonly p95: number
  readonly p99: number
  /** Processor time in the middle: this process and the database, without OpenFGA. */
  readonly processor: number
  /** On average: of nodes of a search engine the machine tells hundredths of a second. */
  readonly processorMean: number
  /** Of the ten best that the person may read; of the ten best of all for a way that leaves nothing out. */
  readonly recall: number
  readonly recallInterval: readonly [number, number]
  /** Answers with fewer than ten, or than there are. */
  readonly short: number
  /** Of these, how many said that they were not complete; NaN where the way says nothing of that. */
  readonly owned: number
  readonly released: number
  readonly leaks: number
  /** Documents that OpenFGA was asked about, a document released. */
  readonly checksEach: number
  /** Checks that were sent for it, a document released. */
  readonly partsEach: number
  /** p50 of each of its parts, where it tells them. */
  readonly steps: Readonly<Record<string, number>>
}

interface Sample {
  readonly ms: number
  readonly processor: number
  readonly recall: number
  readonly short: boolean
  readonly complete: Answered['complete']
  readonly released: number
  readonly documents: number
  readonly leaks: number
  readonly checks: number
  readonly parts: number
  readonly steps: Answered['steps']
}

export interface MeasureOptions {
  readonly corpus: Corpus
  readonly cell: Cell
  readonly ways: readonly Way[]
  readonly sent: (vector: Float32Array) => Asked['sent']
  /** After so many milliseconds a way is asked no more in this cell; once at least. */
  readonly budgetMs: number
  /** How often the raw search and ours are asked all of it: of 20 answers one in twenty is a single one. */
  readonly rounds: number
  readonly processorTime: ProcessorTime
}

/**
 * Asks every question by every way in turn, each time beginning with another, so that all meet the same
 * machine.
 */
export async function measure(options: MeasureOptions): Promise<Measured[]> {
  const { corpus, cell, ways, sent, budgetMs, rounds, processorTime } = options
  const samples = new Map(ways.map((way) => [way, [] as Sample[]]))
  const spent = new Map(ways.map((way) => [way, 0]))
  for (let turn = 0; turn < rounds * cell.questions.length; turn++) {
    const known = cell.questions[turn % cell.questions.length]
    if (known === undefined) break
    const isAgain = turn >= cell.questions.length
    const asked: Asked = { ...known, sent: sent(known.vector) }
    for (const way of rotated(ways, turn)) {
      if ((spent.get(way) ?? 0) > budgetMs || (isAgain && !isOften(way.name))) continue
      await way.prepare?.(asked)
      const before = processorTime()
      const started = performance.now()
      const answered = await way.ask(asked)
      const ms = performance.now() - started
      const processor = processorTime() - before
      spent.set(way, (spent.get(way) ?? 0) + ms)
      samples.get(way)?.push({ ...judge(corpus, known, way, answered), ms, processor })
    }
  }
  return ways.map((way) => summary(cell, way, samples.get(way) ?? []))
}

/** Whether what is asked of the way is asked again and again: the raw search, ours, an engine's own. */
export const isOften = (name: string): boolean => /^(raw|ours|engine)/.test(name)

// Sums of rounded numbers in another order differ a little.
const tolerance = 1e-5

function judge(
  corpus: Corpus,
  known: Known,
  way: Way,
  { passages, checks, parts = checks, complete, steps }: Answered,
): Omit<Sample, 'ms' | 'processor'> {
  const isRaw = way.kind === 'raw'
  const wanted = isRaw ? topK : Math.min(topK, known.passages)
  const least = isRaw ? known.leastOfAll : known.least
  const mayLeave = passages.filter((passage) => known.visible[corpus.documentOf[passage] ?? 0] === 1)
  // OpenFGA takes the first that it allows.
  const counted = isRaw ? passages : [...new Set(mayLeave)].slice(0, topK)
  const found = counted.filter((passage) => dot(known.vector, vectorAt(corpus, passage)) >= least - tolerance)
  const released = way.kind === 'release' ? passages : []
  return {
    recall: wanted === 0 ? 1 : Math.min(1, found.length / wanted),
    short: counted.length < wanted,
    complete,
    released: released.length,
    documents: new Set(released.map((passage) => corpus.documentOf[passage])).size,
    leaks: way.kind === 'release' ? passages.length - mayLeave.length : 0,
    checks,
    parts,
    steps,
  }
}

function summary(cell: Cell, way: Way, samples: readonly Sample[]): Measured {
  const { policy, topic, level, filter, share, near } = cell
  const of = (pick: (sample: Sample) => number): number[] => samples.map(pick)
  const sum = (pick: (sample: Sample) => number): number => of(pick).reduce((all, one) => all + one, 0)
  const times = of(({ ms }) => ms)
  // Asked again, a question says nothing new of it.
  const recalls = of(({ recall }) => recall).slice(0, cell.questions.length)
  const documents = sum(({ documents }) => documents)
  return {
    policy,
    topic,
    level,
    filter,
    share,
    near,
    way: way.name,
    asked: samples.length,
    times,
    p10: quantile(times, 0.1),
    p50: quantile(times, 0.5),
    p95: quantile(times, 0.95),
    p99: quantile(times, 0.99),
    processor: quantile(
      of(({ processor }) => processor),
      0.5,
    ),
    processorMean: mean(of(({ processor }) => processor)),
    recall: mean(recalls),
    recallInterval: interval(recalls, createRandom(1)),
    short: samples.filter(({ short }) => short).length,
    owned: samples.some(({ complete }) => complete !== undefined)
      ? samples.filter(({ short, complete }) => short && complete === false).length
      : Number.NaN,
    released: sum(({ released }) => released),
    leaks: sum(({ leaks }) => leaks),
    checksEach: sum(({ checks }) => checks) / Math.max(1, documents),
    partsEach: sum(({ parts }) => parts) / Math.max(1, documents),
    steps: Object.fromEntries(
      Object.keys(samples[0]?.steps ?? {}).map((name) => [
        name,
        quantile(
          of(({ steps }) => steps?.[name] ?? 0),
          0.5,
        ),
      ]),
    ),
  }
}

const rotated = <T>(items: readonly T[], by: number): T[] => [
  ...items.slice(by % items.length),
  ...items.slice(0, by % items.length),
]
