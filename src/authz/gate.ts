import { AppError } from '../kernel/errors.ts'
import { documentObject, type FgaObject } from '../kernel/ids.ts'
import { outermostActor, type Principal } from '../kernel/principal.ts'
import type { Check, Fga, TupleKey } from './fga.ts'

declare const cleared: unique symbol

/** Something the gate let through for one principal. Only this module can make one. */
export type Cleared<T> = T & { readonly [cleared]: true }

/** Anything that belongs to one document. */
export interface Guarded {
  readonly documentId: string
}

export interface ClearOptions {
  readonly signal?: AbortSignal
}

export interface Clearance<T> {
  /** In the order given. */
  readonly cleared: readonly Cleared<T>[]
  readonly counts: GateCounts
  readonly requestIds: readonly string[]
}

/** Distinct documents asked about, refused, and not answered (which is refused too). */
export interface GateCounts {
  readonly considered: number
  readonly denied: number
  readonly errors: number
}

export interface Gate {
  readonly modelId: string
  /**
   * Asks OpenFGA about the document of every item, once a document, for the person and for what was lent,
   * and returns the items it said yes to. An error, a time-out or a missing answer is a no for that item.
   * Throws only when nothing could be asked at all. Does NOT check token scopes: the face does.
   */
  clear<T extends Guarded>(
    principal: Principal,
    items: readonly T[],
    options?: ClearOptions,
  ): Promise<Clearance<T>>
}

/** The question for one principal: relation and request-only tuples. See model.fga. */
export interface Question {
  readonly user: FgaObject
  readonly relation: 'can_read' | 'can_read_delegated'
  readonly contextual: readonly TupleKey[]
}

/**
 * The person stays the subject. An agent adds what it may be told: one item asks both.
 * Throws when an agent comes without its delegation: what is absent never decides.
 */
export function questionFor(principal: Principal): Question {
  if (principal.kind === 'service') throw new AppError('forbidden', { internal: 'a service asked to read' })
  const agent = outermostActor(principal)
  const user = principal.subject
  if (agent === undefined) {
    if (principal.kind !== 'person') throw new AppError('actor_unauthorized', { internal: 'no actor' })
    return { user, relation: 'can_read', contextual: [] }
  }
  if (principal.delegation === undefined)
    throw new AppError('actor_unauthorized', { internal: 'no delegation' })
  return {
    user,
    relation: 'can_read_delegated',
    contextual: [
      { user, relation: 'acting_for', object: agent },
      { user, relation: 'presented', object: `delegation:${principal.delegation}` },
    ],
  }
}

export function createGate({ fga, now }: { readonly fga: Fga; readonly now: () => number }): Gate {
  return {
    modelId: fga.modelId,
    async clear(principal, items, { signal } = {}) {
      const question = questionFor(principal)
      const documents = [...new Set(items.map(({ documentId }) => documentId))]
      const checks: Check[] = documents.map((id) => ({ ...question, object: documentObject(id) }))
      const { verdicts, requestIds } =
        checks.length === 0
          ? { verdicts: [], requestIds: [] }
          : await fga.batchCheck(checks, { now: now(), ...(signal && { signal }) })
      const allowed = new Set(documents.filter((_, index) => verdicts[index] === 'allowed'))
      const errors = documents.filter((_, index) => isUnanswered(verdicts[index])).length
      return {
        cleared: items.filter((item) => allowed.has(item.documentId)) as Cleared<(typeof items)[number]>[],
        counts: { considered: documents.length, denied: documents.length - allowed.size - errors, errors },
        requestIds,
      }
    },
  }
}

const isUnanswered = (verdict: string | undefined): boolean => verdict !== 'allowed' && verdict !== 'denied'
