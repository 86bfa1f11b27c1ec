import { check, createMemo, type Model, type TupleView } from '@remit/engine'
import { documentObject } from '../../kernel/ids.ts'
import { contextAt } from '../fga.ts'
import type { Question } from '../gate/question.ts'
import type { Decided } from '../gate.ts'
import type { ShadowCounts, ShadowDifference, ShadowVerdict } from './shadow-store.ts'

/** Two models, and the tuples of this moment. */
export interface ShadowSides {
  readonly active: Model
  readonly candidate: Model
  readonly tuples: TupleView
  /** Documents that nobody considered, since an exclusion keeps them from who asked. */
  readonly takenAway: (question: Question, max: number) => readonly string[]
}

export interface ShadowQueue {
  /** Takes a question, or counts it as dropped where there is no room. Does no work of its own. */
  offer(decided: Decided): void
  /** Asks the oldest question under both models. False: there is none. */
  work(sides: ShadowSides): boolean
  /** What was seen since the last time. */
  take(): { readonly counts: ShadowCounts; readonly differences: readonly ShadowDifference[] } | undefined
  clear(): void
}

// Questions that wait, and different differences between two savings: as much memory as nobody notices.
const waitingMax = 1_000
const keptMax = 5_000
const takenAwayMax = 100

export function createShadowQueue(): ShadowQueue {
  let waiting: Decided[] = []
  let counts = zero()
  let differences = new Map<string, { -readonly [K in keyof ShadowDifference]: ShadowDifference[K] }>()

  function note(who: string, document: string, active: ShadowVerdict, candidate: ShadowVerdict): void {
    counts.asked += 1
    if (candidate === 'error') counts.errors += 1
    if (active === candidate) return
    if (candidate === 'allowed') counts.gained += 1
    else if (active === 'allowed') counts.lost += 1
    const key = `${who} ${document} ${active} ${candidate}`
    const known = differences.get(key)
    if (known !== undefined) known.count += 1
    else if (differences.size < keptMax) differences.set(key, { who, document, active, candidate, count: 1 })
  }

  return {
    offer(decided) {
      if (waiting.length >= waitingMax) counts.dropped += 1
      else waiting.push(decided)
    },
    work({ active, candidate, tuples, takenAway }) {
      const next = waiting.shift()
      if (next === undefined) return false
      const who = whoOf(next.question)
      const askActive = asking(active, tuples, next)
      const askCandidate = asking(candidate, tuples, next)
      const documentIds = new Set([...next.documentIds, ...takenAway(next.question, takenAwayMax)])
      for (const id of documentIds) note(who, id, askActive(id), askCandidate(id))
      return true
    },
    take() {
      if (Object.values(counts).every((count) => count === 0)) return undefined
      const seen = { counts, differences: [...differences.values()] }
      counts = zero()
      differences = new Map()
      return seen
    },
    clear() {
      waiting = []
      counts = zero()
      differences = new Map()
    },
  }
}

const zero = (): { -readonly [K in keyof ShadowCounts]: ShadowCounts[K] } => ({
  asked: 0,
  gained: 0,
  lost: 0,
  errors: 0,
  dropped: 0,
})

/** As the gate asked: the same contextual tuples, by the clock of then. */
function asking(model: Model, tuples: TupleView, { question, at }: Decided): (id: string) => ShadowVerdict {
  const { user, relation, contextual } = question
  const memo = createMemo()
  const context = contextAt(at)
  return (id) => {
    try {
      const request = { user, relation, object: documentObject(id), contextualTuples: contextual, context }
      return check(model, tuples, request, memo) ? 'allowed' : 'denied'
    } catch {
      // Too deep, a condition without what it needs, a relation that is not there: the gate would give nothing.
      return 'error'
    }
  }
}

function whoOf({ user, contextual }: Question): string {
  const agent = contextual.find(({ relation }) => relation === 'acting_for')?.object
  return agent === undefined ? user : `${user} by ${agent}`
}
