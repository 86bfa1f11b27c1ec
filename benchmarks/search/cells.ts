import type { Random } from '../kubernetes/random.ts'
import type { Corpus } from './corpus.ts'
import { metadataOf } from './load.ts'
import type { Oracle } from './oracle.ts'
import type { Asked } from './ways/way.ts'
import { topK } from './ways/way.ts'
import type { Asker, World } from './worlds/world.ts'

/** How a question lies to what its person may read. */
export const topics = ['independent', 'inside', 'outside'] as const
export type Topic = (typeof topics)[number]

/** Questions of one kind, with what the oracle says of each. */
export interface Cell {
  readonly policy: World['policy']
  readonly topic: Topic
  readonly level: number
  /** One document of so many has the value of a field that is asked for. */
  readonly filter: 1 | 10 | 100
  /** What the people see in truth, on average. */
  readonly share: number
  /** Of a question's ten nearest passages, how many its person may read, on average. */
  readonly near: number
  readonly questions: readonly Known[]
}

export interface Known extends Omit<Asked, 'sent'> {
  /** 1 for each document that may be released. */
  readonly visible: Uint8Array
  /** Passages that may be. */
  readonly passages: number
  /** What the tenth of the best scores; infinite where there is none. */
  readonly least: number
  /** The same of all passages, whoever may read them. */
  readonly leastOfAll: number
}

export const cellName = ({
  policy,
  topic,
  level,
  filter,
}: Pick<Cell, 'policy' | 'topic' | 'level' | 'filter'>): string =>
  `${policy}, ${topic}, ${100 * level} %${filter === 1 ? '' : `, one of ${filter}`}`

/** A question and the documents of its ten nearest passages. */
export interface Pooled {
  readonly vector: Float32Array
  readonly nearest: readonly number[]
  readonly least: number
}

export function poolOf(corpus: Corpus, oracle: Oracle, count: number): readonly Pooled[] {
  const everything = new Uint8Array(corpus.documents.length).fill(1)
  return corpus.questions.slice(0, count).map((vector) => {
    const { passages, least } = oracle.best(vector, everything, topK)
    return { vector, nearest: passages.map((passage) => corpus.documentOf[passage] ?? 0), least }
  })
}

export interface CellsOptions {
  readonly corpus: Corpus
  readonly world: World
  readonly oracle: Oracle
  readonly pool: readonly Pooled[]
  readonly levels: readonly number[]
  readonly topics: readonly Topic[]
  readonly filters: readonly Cell['filter'][]
  readonly questions: number
  readonly people: number
  readonly random: Random
  readonly at: number
  /** Told of every cell that there is nobody to ask in. */
  readonly leaveOut: (cell: string) => void
}

export function cellsOf(options: CellsOptions): readonly Cell[] {
  const { world, levels, topics, filters, random, leaveOut } = options
  const people = seen(options)
  return levels.flatMap((level) => {
    const askers = random.pick(
      people.filter((one) => one.level === level),
      options.people,
    )
    if (askers.length === 0) {
      const named = topics.map((topic) => cellName({ policy: world.policy, topic, level, filter: 1 }))
      leaveOut(`${named.join('; ')}: nobody reads about so much of these passages`)
      return []
    }
    return topics
      .filter((topic) => topic !== 'outside' || level < 1)
      .flatMap((topic) => filters.map((filter) => cellOf({ ...options, level, topic, filter, askers })))
  })
}

interface Seeing extends Asker {
  readonly visible: Uint8Array
  readonly share: number
}

/** What each of some people sees. Whoever has no level of their own gets the one that they are nearest to. */
function seen({ corpus, world, oracle, levels, people, random, at }: CellsOptions): readonly Seeing[] {
  const drawn =
    world.policy === 'kubernetes'
      ? random.pick(world.askers, 60 * people)
      : levels.flatMap((level) =>
          random.pick(
            world.askers.filter((one) => one.level === level),
            people,
          ),
        )
  return drawn.flatMap(({ person, level }) => {
    const visible = oracle.visibleTo(person, at)
    const share = countOf(corpus, visible) / corpus.count
    const own = Number.isNaN(level) ? levels.find((one) => share > one / 1.6 && share < one * 1.6) : level
    return own === undefined || share === 0 ? [] : [{ person, level: own, visible, share }]
  })
}

interface CellOptions extends CellsOptions {
  readonly level: number
  readonly topic: Topic
  readonly filter: Cell['filter']
  readonly askers: readonly Seeing[]
}

function cellOf({ corpus, world, oracle, pool, questions, random, ...cell }: CellOptions): Cell {
  const { level, topic, filter, askers } = cell
  const each = Math.ceil(questions / askers.length)
  const asked = askers.flatMap((asker) => {
    const wanted = choose(pool, asker.visible, topic, each, random)
    return wanted.map(({ pooled, near }) => {
      const field = filter === 10 ? 'tenth' : 'hundredth'
      const value = Math.floor(random.next() * filter)
      const visible =
        filter === 1
          ? asker.visible
          : asker.visible.map((one, at) => (metadataOf(at)[field] === value ? one : 0))
      const { least, visible: passages } = oracle.best(pooled.vector, visible, topK)
      const known: Known = {
        person: asker.person,
        vector: pooled.vector,
        ...(filter !== 1 && { filter: [field, value] }),
        visible,
        passages,
        least,
        leastOfAll: pooled.least,
      }
      return { known, near }
    })
  })
  const drawn = random.pick(asked, questions)
  return {
    policy: world.policy,
    topic,
    level,
    filter,
    share: mean(askers.map(({ share }) => share)),
    near: mean(drawn.map(({ near }) => near)),
    questions: drawn.map(({ known }) => known),
  }
}

/**
 * Inside: at least 8 of the ten nearest may be read; outside: none; as near to that as there are questions.
 */
function choose(
  pool: readonly Pooled[],
  visible: Uint8Array,
  topic: Topic,
  count: number,
  random: Random,
): readonly { readonly pooled: Pooled; readonly near: number }[] {
  const placed = random.pick(pool, pool.length).map((pooled) => ({
    pooled,
    near: pooled.nearest.filter((document) => visible[document] === 1).length / topK,
  }))
  if (topic === 'independent') return placed.slice(0, count)
  const fit = placed.filter(({ near }) => (topic === 'inside' ? near >= 0.8 : near === 0))
  if (fit.length >= count) return fit.slice(0, count)
  return placed.toSorted((a, b) => (topic === 'inside' ? b.near - a.near : a.near - b.near)).slice(0, count)
}

function countOf({ documentOf }: Corpus, visible: Uint8Array): number {
  let count = 0
  for (const document of documentOf) count += visible[document] as number
  return count
}

const mean = (values: readonly number[]): number =>
  values.reduce((sum, value) => sum + value, 0) / values.length
