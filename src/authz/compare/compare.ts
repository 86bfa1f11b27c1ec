import {
  ConditionError,
  check,
  createMemo,
  FgaError,
  type Model,
  type TupleStore,
  type TupleView,
} from '@remit/engine'
import { documentObject } from '../../kernel/ids.ts'
import type { Asker, Compared, LiveDelegation } from './askers.ts'

/** A model and the tuples that it is asked on. */
export interface ComparedSide {
  readonly model: Model
  readonly tuples: TupleView
}

/** The tuples, and the times, of a comparison. */
export interface ComparisonInput {
  /** Changes in place while this runs: what comes in meanwhile may be in the result or not. */
  readonly tuples: TupleStore
  readonly delegations: readonly LiveDelegation[]
  /** Context of every question. */
  readonly context: { readonly current_time: string }
  /** Milliseconds, for slices. */
  readonly now: () => number
  /** Lets everything else in the process have a turn. */
  readonly pause: () => Promise<void>
}

/** What is compared: two sides, and the groups of questions that both are asked. */
export interface ComparePairs extends Pick<ComparisonInput, 'context'> {
  /** Asked for at the start and after each pause: the tuples may have changed meanwhile. */
  readonly sides: () => { readonly before: ComparedSide; readonly after: ComparedSide }
  readonly groups: Iterable<Group>
  readonly slices: Slices
  readonly limits: PairLimits
  /** Takes one answer; false: enough. */
  readonly take: (asker: Asker, document: string, verdicts: Verdicts) => boolean
}

/** One who asks, and the ids of the documents that are asked about. */
export interface Group {
  readonly asker: Asker
  readonly documents: Iterable<string>
}

/** After how many questions or milliseconds a comparison stops. */
export interface PairLimits {
  /** Questions, each asked on both sides. */
  readonly questions: number
  /** Milliseconds. */
  readonly duration: number
}

/** undefined: it cannot be evaluated, which is no yes. */
export interface Verdicts {
  readonly before: boolean | undefined
  readonly after: boolean | undefined
  /** Another question about the same document, on the side after. */
  readonly askAfter: (question: Asked) => boolean | undefined
}

type Asked = Pick<Asker, 'user' | 'relation' | 'contextual'>

/** How far a comparison came. */
export interface ComparisonEnd {
  readonly asked: number
  /** What stopped it before its end. */
  readonly stopped: 'questions' | 'time' | 'enough' | undefined
}

/** Work in slices of 10 ms, between which everything else in the process has a turn. */
export interface Slices {
  /** Milliseconds since it began, as of the last slice. */
  readonly elapsed: number
  /** undefined: the slice is not over. Else it has to be awaited. */
  readonly pauseWhenOver: () => Promise<void> | undefined
}

const sliceMs = 10

/** Time slices: work pauses after each, so that the process answers others meanwhile. */
export function createSlices(now: () => number, pause: () => Promise<void>): Slices {
  const began = now()
  let slice = began
  return {
    get elapsed() {
      return slice - began
    },
    pauseWhenOver() {
      if (now() - slice <= sliceMs) return undefined
      return pause().then(() => {
        slice = now()
      })
    },
  }
}

/** Asks each question on both sides, as the gate would. In slices, so that the process goes on answering. */
export async function comparePairs(input: ComparePairs): Promise<ComparisonEnd> {
  const { groups, slices, limits, take } = input
  let bothSides = input.sides()
  let checkCount = 0
  for (const { asker, documents } of groups) {
    // To find a group takes its time as well.
    const pausing = slices.pauseWhenOver()
    if (pausing !== undefined) {
      await pausing
      if (slices.elapsed > limits.duration) return { asked: checkCount, stopped: 'time' }
      bothSides = input.sides()
    }
    let ask = questionsOf(bothSides, asker, input.context)
    for (const document of documents) {
      if (checkCount >= limits.questions) return { asked: checkCount, stopped: 'questions' }
      checkCount += 1
      const pause = checkCount % 16 === 0 ? slices.pauseWhenOver() : undefined
      if (pause !== undefined) {
        await pause
        if (slices.elapsed > limits.duration) return { asked: checkCount, stopped: 'time' }
        bothSides = input.sides()
        // A memo holds for one state of the tuples.
        ask = questionsOf(bothSides, asker, input.context)
      }
      if (!take(asker, document, ask(document))) return { asked: checkCount, stopped: 'enough' }
    }
  }
  return { asked: checkCount, stopped: undefined }
}

function questionsOf(
  { before, after }: ReturnType<ComparePairs['sides']>,
  asker: Asker,
  context: ComparePairs['context'],
) {
  const questionOn = ({ model, tuples }: ComparedSide) => {
    const memo = createMemo()
    return ({ user, relation, contextual }: Asked, object: string): boolean | undefined =>
      unlessUnknown(() =>
        check(model, tuples, { user, relation, object, contextualTuples: contextual, context }, memo),
      )
  }
  const askBefore = questionOn(before)
  const askAfter = questionOn(after)
  return (document: string): Verdicts => {
    const object = documentObject(document)
    return {
      before: askBefore(asker, object),
      after: askAfter(asker, object),
      askAfter: (question) => askAfter(question, object),
    }
  }
}

/** undefined: it cannot be evaluated. */
export function unlessUnknown<T>(evaluate: () => T): T | undefined {
  try {
    return evaluate()
  } catch (error) {
    if (error instanceof ConditionError || error instanceof FgaError) return undefined
    throw error
  }
}

/** Those who gain, or those who lose. */
export interface Counted {
  /** Pairs of somebody and a document. */
  readonly count: number
  /** Different `who`. */
  readonly people: number
  readonly documents: number
  readonly samples: readonly Sample[]
}

/** One difference, as an example. */
interface Sample {
  readonly asker: Asker
  readonly document: string
}

type Side = 'gained' | 'lost'

/** Of people by themselves, and of agents for people: what is gained and what is lost. */
export type Changes<T> = Readonly<Record<Compared, Readonly<Record<Side, T>>>>

/** Makes both sides of either relation. */
export function changesOf<T>(make: (relation: Compared, side: Side) => T): Changes<T> {
  const sides = (relation: Compared) => ({ gained: make(relation, 'gained'), lost: make(relation, 'lost') })
  return { can_read: sides('can_read'), can_read_delegated: sides('can_read_delegated') }
}

/** undefined: it is as before. What cannot be evaluated is no yes. */
export function sideOf({ before, after }: Pick<Verdicts, 'before' | 'after'>): Side | undefined {
  if ((before === true) === (after === true)) return undefined
  return after === true ? 'gained' : 'lost'
}

/** Counts differences, and keeps some as examples. */
export interface Tally {
  add(asker: Asker, document: string): void
  result(): Counted
}

/**
 * Counts, and keeps some: one a person first, since twenty documents of one and the same say less than twenty
 * people; as long as there is room then a second of each, and so on.
 */
export function createTally({ samplesMax }: { samplesMax: number }): Tally {
  const people = new Set<string>()
  const documents = new Set<string>()
  const rounds = new Map<string, Sample[]>()
  let count = 0
  return {
    add(asker, document) {
      count += 1
      people.add(asker.who)
      documents.add(document)
      const rowsOfAsker = rounds.get(asker.who)
      if (rowsOfAsker === undefined && rounds.size < samplesMax) rounds.set(asker.who, [{ asker, document }])
      if (rowsOfAsker !== undefined && rowsOfAsker.length < samplesMax) rowsOfAsker.push({ asker, document })
    },
    result: () => ({
      count,
      people: people.size,
      documents: documents.size,
      samples: Array.from({ length: samplesMax }, (_, round) =>
        [...rounds.values()].flatMap((rowsOfRound) => rowsOfRound[round] ?? []),
      )
        .flat()
        .slice(0, samplesMax),
    }),
  }
}
