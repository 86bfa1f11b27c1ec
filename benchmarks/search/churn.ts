import { setTimeout as sleep } from 'node:timers/promises'
import type { Fga, Tuple } from '../../src/authz/fga.ts'
import { AppError } from '../../src/kernel/errors.ts'
import type { Random } from '../kubernetes/random.ts'
import type { Known } from './cells.ts'
import { type Corpus, dot, vectorAt } from './corpus.ts'
import { quantile } from './statistics.ts'
import type { Asked, Way } from './ways/way.ts'

/** What came of asking while access is given and taken away by another client of OpenFGA. */
export interface Churned {
  readonly seconds: number
  readonly answers: number
  readonly released: number
  /** Answers that were an error: the search engine did not answer. */
  readonly refused: number
  /** Released later than a removal's commit and the bound, or never given at all. */
  readonly leaks: number
  readonly boundMs: number
  readonly grants: number
  readonly removals: number
  /** From OpenFGA's answer to the write until an answer has the passage, or lacks it. */
  readonly grantVisible: Delay
  readonly removalInForce: Delay
}

export interface Delay {
  readonly count: number
  readonly p50: number
  readonly p99: number
  readonly most: number
}

interface TurnOptions {
  readonly corpus: Corpus
  /** OpenFGA, reached past the service. */
  readonly fga: Fga
  readonly way: Way
  readonly questions: readonly Known[]
  readonly sent: (vector: Float32Array) => Asked['sent']
  readonly random: Random
  /** Milliseconds. Default: a minute. */
  readonly patienceMs?: number
}

export interface ChurnOptions extends TurnOptions {
  readonly clients: number
  /** Ends when so many passages were released, and not before so many seconds. */
  readonly releases: number
  readonly seconds: number
  /** Goes on meanwhile, until it is told to end. */
  readonly disturb: (signal: AbortSignal) => Promise<void>
}

/** The bound that is stated for `fast`: a removal by whomever is in force within it. */
const boundMs = 1_000
const pollMs = 2
const turns = 5

/** How long a way takes to follow a change that nobody tells it of. */
export interface Turned {
  readonly way: string
  readonly grantVisible: Delay
  readonly removalInForce: Delay
  /** What did not come within the patience: the way was asked no more. */
  readonly missed?: string
}

/** A few documents given and taken away, one after the other, with nobody else asking; one at least. */
export async function turn(options: TurnOptions & { readonly seconds: number }): Promise<Turned> {
  const delays = { grant: [] as number[], removal: [] as number[] }
  let missed: string | undefined
  const until = performance.now() + options.seconds * 1_000
  try {
    do {
      await comeAndGo({ patienceMs: 60_000, ...options }, createLent(), delays)
    } while (delays.removal.length < turns && performance.now() < until)
  } catch (error) {
    if (!(error instanceof TooLate)) throw error
    missed = error.message
  }
  return {
    way: options.way.name,
    grantVisible: delayOf(delays.grant),
    removalInForce: delayOf(delays.removal),
    ...(missed !== undefined && { missed }),
  }
}

class TooLate extends Error {}

/**
 * Clients ask without a pause while, one after the other, documents that a person could not read are given to
 * that person, looked for until they are found, taken away, and looked for until they are gone.
 */
export async function churn(options: ChurnOptions): Promise<Churned> {
  const { corpus, questions, sent, clients, releases, seconds } = options
  const lent = createLent()
  let refused = 0
  /** None where it is refused. */
  const way: Way = {
    ...options.way,
    async ask(asked) {
      try {
        return await options.way.ask(asked)
      } catch (error) {
        if (!(error instanceof AppError && error.code === 'search_unavailable')) throw error
        refused += 1
        return { passages: [], checks: 0 }
      }
    },
  }
  const began = performance.now()
  let [answers, released, leaks] = [0, 0, 0]
  let isOver = false
  const client = async (first: number): Promise<void> => {
    for (let turn = first; !isOver; turn++) {
      const known = questions[turn % questions.length]
      if (known === undefined) return
      const { passages } = await way.ask({ ...known, sent: sent(known.vector) })
      const at = performance.now()
      answers += 1
      released += passages.length
      for (const passage of passages) {
        const document = corpus.documentOf[passage] ?? 0
        if (known.visible[document] !== 1 && !lent.mayStill(known.person, document, at)) leaks += 1
      }
      isOver ||= released >= releases && at - began >= seconds * 1_000
    }
  }
  const delays = { grant: [] as number[], removal: [] as number[] }
  const changing = async (): Promise<void> => {
    while (!isOver) await comeAndGo({ ...options, way }, lent, delays)
  }
  const disturbing = new AbortController()
  const asking = Promise.all([changing(), ...Array.from({ length: clients }, (_, at) => client(at * 7))])
  await Promise.all([asking.finally(() => disturbing.abort()), options.disturb(disturbing.signal)])
  return {
    seconds: (performance.now() - began) / 1_000,
    answers,
    released,
    refused,
    leaks,
    boundMs,
    grants: delays.grant.length,
    removals: delays.removal.length,
    grantVisible: delayOf(delays.grant),
    removalInForce: delayOf(delays.removal),
  }
}

/** Documents given for a while: by person, and when they were taken away again. */
function createLent() {
  const endOf = new Map<string, number>()
  const key = (person: string, document: number): string => `${person} ${document}`
  return {
    give: (person: string, document: number) => endOf.set(key(person, document), Number.POSITIVE_INFINITY),
    taken: (person: string, document: number, at: number) => endOf.set(key(person, document), at),
    mayStill: (person: string, document: number, at: number): boolean =>
      at <= (endOf.get(key(person, document)) ?? Number.NEGATIVE_INFINITY) + boundMs,
  }
}

async function comeAndGo(
  { corpus, fga, way, questions, sent, random, patienceMs = 60_000 }: TurnOptions,
  lent: ReturnType<typeof createLent>,
  delays: { readonly grant: number[]; readonly removal: number[] },
): Promise<void> {
  const known = questions[Math.floor(random.next() * questions.length)]
  const hidden = known === undefined ? undefined : hiddenPassage(corpus, known, random)
  if (known === undefined || hidden === undefined) return void (await sleep(10))
  const document = corpus.documentOf[hidden] ?? 0
  const tuple: Tuple = {
    user: known.person,
    relation: 'viewer',
    object: `document:${corpus.documents[document]?.id}`,
  }
  // The passage itself is the question: whoever may read it finds it first.
  const vector = corpus.vectors.slice(hidden * known.vector.length, (hidden + 1) * known.vector.length)
  const ask = async (): Promise<readonly number[]> =>
    (await way.ask({ person: known.person, vector, sent: sent(vector) })).passages
  const isFound = async (): Promise<boolean> =>
    (await ask()).some((passage) => corpus.documentOf[passage] === document)
  const until = async (wanted: boolean): Promise<number> => {
    const started = performance.now()
    while ((await isFound()) !== wanted) {
      if (performance.now() - started > patienceMs)
        throw new TooLate(
          `${tuple.object} is ${wanted ? 'not found' : 'still found'} after ${patienceMs} ms.`,
        )
      await sleep(pollMs)
    }
    return performance.now() - started
  }
  // Texts that stand in many documents: ten others that say the same would hide it for good.
  const last = (await ask()).at(-1)
  if (last !== undefined && dot(vector, vectorAt(corpus, last)) > 0.99) return
  const change = (isGiven: boolean) =>
    way.change?.({ person: known.person, document, isGiven }) ??
    fga.write(isGiven ? { writes: [tuple] } : { deletes: [tuple] })
  lent.give(known.person, document)
  try {
    await change(true)
    delays.grant.push(await until(true))
  } finally {
    await change(false)
    lent.taken(known.person, document, performance.now())
  }
  delays.removal.push(await until(false))
}

function hiddenPassage(corpus: Corpus, known: Known, random: Random): number | undefined {
  for (let tries = 0; tries < 50; tries++) {
    const passage = Math.floor(random.next() * corpus.count)
    if (known.visible[corpus.documentOf[passage] ?? 0] !== 1) return passage
  }
  return undefined
}

const delayOf = (delays: readonly number[]): Delay => ({
  count: delays.length,
  p50: quantile(delays, 0.5),
  p99: quantile(delays, 0.99),
  most: quantile(delays, 1),
})
