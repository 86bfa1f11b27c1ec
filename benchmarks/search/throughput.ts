import type { Known } from './cells.ts'
import type { Asked, Way } from './ways/way.ts'

export interface Throughput {
  readonly way: string
  readonly clients: number
  /** Answers a second. */
  readonly rate: number
  /** Of the rate of the raw search that ran just before. */
  readonly ofRaw: number
}

export interface ThroughputOptions {
  /** The first is the raw search. */
  readonly ways: readonly Way[]
  readonly questions: readonly Known[]
  readonly sent: (vector: Float32Array) => Asked['sent']
  readonly clients: number
  readonly seconds: number
  /** Each way so often, in turn; the middle one counts. */
  readonly rounds: number
}

/** So many clients, each asking its next question as soon as it has its answer. */
export async function throughput(options: ThroughputOptions): Promise<Throughput[]> {
  const { ways, clients, rounds } = options
  const rates = new Map(ways.map((way) => [way, [] as number[]]))
  const ratios = new Map(ways.map((way) => [way, [] as number[]]))
  for (let round = 0; round < rounds; round++) {
    let raw = Number.NaN
    for (const way of ways) {
      const rate = await rateOf(way, options)
      if (way === ways[0]) raw = rate
      rates.get(way)?.push(rate)
      ratios.get(way)?.push(rate / raw)
    }
  }
  const middle = (values: readonly number[] = []): number =>
    values.toSorted((a, b) => a - b)[Math.floor(values.length / 2)] ?? Number.NaN
  return ways.map((way) => ({
    way: way.name,
    clients,
    rate: middle(rates.get(way)),
    ofRaw: middle(ratios.get(way)),
  }))
}

async function rateOf(way: Way, { questions, sent, clients, seconds }: ThroughputOptions): Promise<number> {
  const asked = questions.map((known): Asked => ({ ...known, sent: sent(known.vector) }))
  // Once each: what is held, prepared or kept in memory is so from the first question that counts.
  for (const one of asked) await way.ask(one)
  const began = performance.now()
  const until = began + seconds * 1_000
  let answers = 0
  const client = async (first: number): Promise<void> => {
    for (let turn = first; performance.now() < until; turn++) {
      const next = asked[turn % asked.length]
      if (next === undefined) return
      await way.ask(next)
      answers += 1
    }
  }
  await Promise.all(Array.from({ length: clients }, (_, at) => client(at * 7)))
  return answers / ((performance.now() - began) / 1_000)
}
