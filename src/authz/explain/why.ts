import { explain, type Reason } from '@remit/engine'
import { documentObject } from '../../kernel/ids.ts'
import type { Principal } from '../../kernel/principal.ts'
import { contextAt, tupleId } from '../fga.ts'
import { questionFor } from '../gate.ts'
import type { LocalReplica } from '../permission-index.ts'

/**
 * The stored tuples that each release rests on, `user:anne member group:eng`, as the replica had them in that
 * moment.
 */
export type Why = (
  principal: Principal,
  releaseContext: {
    readonly grants: readonly string[]
    readonly modelId: string
    readonly documentIds: readonly string[]
    /** The yes that was said again; undefined: it is OpenFGA's of just now. */
    readonly heldYes: (documentId: string) => object | undefined
  },
) => ReadonlyMap<string, readonly string[]>

// Of one answer, and of one document: a record is no dump of the graph.
const documentsMax = 20
const tuplesMax = 20

/**
 * Kept at evaluation time, since tomorrow's tuples explain nothing of today. OpenFGA has decided; this only
 * says by what the replica says so too. A document is left out where it cannot: it is not built, follows
 * another model or says no.
 *
 * A yes that is said again rests on what it rested on: it would not be said, had any of that been taken away.
 */
export function createWhy({
  index,
  now,
}: {
  readonly index: Pick<LocalReplica, 'view'>
  readonly now: () => number
}): Why {
  const cachedPaths = new WeakMap<object, Known>()
  return (principal, { grants, modelId, documentIds, heldYes }) => {
    const found = new Map<string, readonly string[]>()
    const view = index.view()
    if (view?.modelId !== modelId) return found
    const { user, relation, contextual } = questionFor(principal, grants)
    const context = contextAt(now())
    for (const id of documentIds.slice(0, documentsMax)) {
      const verdictKey = heldYes(id)
      const cachedPath = verdictKey && cachedPaths.get(verdictKey)
      if (cachedPath !== undefined && now() < cachedPath.until) {
        found.set(id, cachedPath.tuples)
        continue
      }
      const question = { user, relation, object: documentObject(id), contextualTuples: contextual, context }
      try {
        const { allowed, reason } = explain(view.model, view.tuples, question, { exclusionMax: 0 })
        if (!allowed) continue
        const tuples = [...tuplesIn(reason)].slice(0, tuplesMax)
        found.set(id, tuples)
        if (verdictKey !== undefined) cachedPaths.set(verdictKey, { tuples, until: endOf(reason) - second })
      } catch {
        // It knows no such relation or object; why stays untold.
      }
    }
    return found
  }
}

/** What came with the request is in the record already. */
function tuplesIn(reason: Reason, found = new Set<string>()): ReadonlySet<string> {
  if (reason.holds !== 'yes' || reason.kind === 'not') return found
  if (reason.kind === 'tuple' && !reason.contextual) {
    const expiry = reason.condition?.parameters['expires_at']
    found.add(
      `${tupleId({ ...reason.tuple, object: reason.tuple.object as `${string}:${string}` })}${typeof expiry === 'string' ? ` until ${expiry}` : ''}`,
    )
  }
  if ('because' in reason) for (const inner of reason.because) tuplesIn(inner, found)
  return found
}

interface Known {
  readonly tuples: readonly string[]
  /** Milliseconds since the epoch. */
  readonly until: number
}

// OpenFGA is asked with the time rounded up.
const second = 1_000

/** The earliest end that it rests on; what ends by anything but its time is over at once. */
function endOf(reason: Reason): number {
  const inner = 'because' in reason ? Math.min(...reason.because.map(endOf)) : Number.POSITIVE_INFINITY
  if (reason.kind !== 'tuple' || reason.condition === undefined) return inner
  const expiry = reason.condition.parameters['expires_at']
  return Math.min(inner, typeof expiry === 'string' ? Date.parse(expiry) : Number.NEGATIVE_INFINITY)
}
