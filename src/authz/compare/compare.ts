import {
  ConditionError,
  check,
  createMemo,
  FgaError,
  type Memo,
  type Model,
  type TupleView,
} from '@remit/engine'
import { documentObject } from '../../kernel/ids.ts'
import type { TupleKey } from '../fga.ts'
import type { Asker } from './askers.ts'

/** A model and the tuples that it is asked on. */
export interface ComparedSide {
  readonly model: Model
  readonly tuples: TupleView
}

/** What is compared: two sides, and the groups of questions that both are asked. */
export interface ComparePairs {
  /** Asked for at the start and after each pause: the tuples may have changed meanwhile. */
  readonly sides: () => { readonly before: ComparedSide; readonly after: ComparedSide }
  readonly groups: Iterable<Group>
  /** Context of every question. */
  readonly context: { readonly current_time: string }
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
  readonly askAfter: (question: Pick<Asker, 'user' | 'relation' | 'contextual'>) => boolean | undefined
}

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
  { before: oldSide, after: newSide }: { readonly before: ComparedSide; readonly after: ComparedSide },
  asker: Asker,
  context: ComparePairs['context'],
) {
  const askBefore = questionOn(oldSide, context)
  const askAfter = questionOn(newSide, context)
  return (document: string): Verdicts => {
    const object = documentObject(document)
    return {
      before: askBefore(asker, object),
      after: askAfter(asker, object),
      askAfter: (question) => askAfter(question, object),
    }
  }
}

function questionOn({ model, tuples }: ComparedSide, context: ComparePairs['context']) {
  const memo: Memo = createMemo()
  return (
    { user, relation, contextual }: { user: string; relation: string; contextual: readonly TupleKey[] },
    object: string,
  ): boolean | undefined => {
    try {
      return check(model, tuples, { user, relation, object, contextualTuples: contextual, context }, memo)
    } catch (error) {
      if (error instanceof ConditionError || error instanceof FgaError) return undefined
      throw error
    }
  }
}
