import { setImmediate } from 'node:timers/promises'
import { AppError } from '../kernel/errors.ts'
import { documentObject } from '../kernel/ids.ts'
import { memoize } from '../kernel/memoize.ts'
import { callerOf, outermostActor, type Principal } from '../kernel/principal.ts'
import type { Check, Fga, Verdict } from './fga.ts'
import { checkDecomposed } from './gate/decompose-check.ts'
import { coveringGrants, type ShownGrant } from './gate/granted.ts'
import type { Limiter } from './gate/limiter.ts'
import type { AskNamed } from './gate/named.ts'
import { createPrecheck, type PrecheckDeps } from './gate/precheck.ts'
import type { Consistency, Question } from './gate/question.ts'
import { overdue, until } from './gate/until.ts'
import { presentedTuples } from './presented.ts'

declare const cleared: unique symbol

/** Something the gate let through for one principal. Only this module can make one. */
export type Cleared<T> = T & { readonly [cleared]: true }

/** Anything that belongs to one document. */
export interface Guarded {
  readonly documentId: string
}

export interface GateOptions {
  /** `strict` takes OpenFGA's yes only as it is now; `fast` also from its caches, or held for `VERDICT_TTL`. */
  readonly consistency: Consistency
  /** Grants of approvals that are presented beside the delegation. Their documents are never left out unasked. */
  readonly grants?: readonly ShownGrant[]
  /** At its end only what is proven by then is cleared. */
  readonly signal?: AbortSignal
}

/** How OpenFGA's yes was had: past its caches, perhaps from them, or this long before the question. */
export type Proof =
  | { readonly kind: 'asked' | 'asked_fast' }
  | { readonly kind: 'held'; readonly ageMs: number }

export interface Clearance<T> {
  /** In the order given. */
  readonly cleared: readonly Cleared<T>[]
  /** Why the rest was not gone through: the deadline, or OpenFGA as a whole not answering. */
  readonly stopped: AppError | undefined
}

/** Distinct documents. A document that was not answered is not released, and is no denial either. */
export interface GateCounts {
  readonly considered: number
  readonly denied: number
  /** Denied by the replica, and not asked about. */
  readonly passedOver: number
  readonly errors: number
  /** Questions put to OpenFGA, one a document, whole or in parts; in how many calls. */
  readonly checks: number
  readonly calls: number
}

/** One request's way through the gate. What it was told about a document it does not ask again. */
export interface Clearing {
  /**
   * Goes through the items in their order, in waves, until `enough` of them are cleared (all, where left out), and
   * returns those, at most `enough`. Whatever is not OpenFGA's yes, an error, a time-out or a missing answer, is a
   * no for that item. `telling`: documents of which OpenFGA is asked in the first call, too, whether the agent may at
   * least be told of them; that it says nothing about these is no reason to stop.
   */
  clear<T extends Guarded>(
    items: readonly T[],
    enough?: number,
    telling?: readonly string[],
  ): Promise<Clearance<T>>
  proofOf(documentId: string): Proof | undefined
  /** Whether this was gone through and not cleared: it is as if it were not there. */
  isRefused(documentId: string): boolean
  /** The yes that was said again, where it was: the same object every time. */
  cachedAllow(documentId: string): object | undefined
  /** In the order given: documents that were not cleared, and of which OpenFGA said that the agent may be told. */
  readonly tellable: readonly string[]
  /** By which of the grants presented each of these documents goes: see gate/granted.ts. Throws as that does. */
  grantsOf(documentIds: readonly string[]): Promise<ReadonlyMap<string, readonly string[]>>
  /** The model that all of it was decided under. */
  readonly modelId: string
  readonly counts: GateCounts
  /** OpenFGA's, of each call. */
  readonly requestIds: readonly string[]
}

/** Documents that the caller names. */
export interface NamedOptions {
  readonly documentIds: readonly string[]
  /** Grants of approvals that are presented: their documents are asked about although the replica refuses them. */
  readonly grants?: readonly ShownGrant[]
  /** Also asks of each which an agent is kept from whether it may be told of it. */
  readonly tell?: boolean
  readonly signal?: AbortSignal
}

export interface NamedClearing
  extends Pick<Clearing, 'proofOf' | 'tellable' | 'grantsOf' | 'modelId' | 'requestIds'> {
  /**
   * `there`: those of the named documents that are there within what the caller's token is for, found out by the same
   * statements for all. Throws where OpenFGA as a whole does not answer, whatever is there. To be called once.
   */
  clear<T extends Guarded>(there: readonly T[]): Promise<readonly Cleared<T>[]>
}

export interface Gate {
  /**
   * Begins to clear for the person and for what was lent: one check a document. Throws for a principal who cannot
   * read at all. Does NOT check token scopes: the face does.
   */
  open(principal: Principal, options: GateOptions): Clearing
  /**
   * The same for documents that the caller names: past all caches, and in a time that does not tell what is hidden from what
   * never was (gate/named.ts). A check of OpenFGA begins with this call: find out meanwhile what is there.
   */
  named(principal: Principal, options: NamedOptions): NamedClearing
}

export interface GateDeps extends PrecheckDeps {
  readonly fga: Fga
  readonly limiter: Limiter
  readonly askNamed: AskNamed
}

/**
 * The person stays the subject. An agent adds what it may be told: one item asks both.
 * Throws when an agent comes without its delegation: what is absent never decides.
 */
export const questionFor = (principal: Principal, grants: readonly string[] = []): Question =>
  grants.length === 0 ? questionOf(callerOf(principal)) : questionWith(principal, grants)

const questionOf = memoize((principal: Principal) => questionWith(principal, []))

function questionWith(principal: Principal, grants: readonly string[]): Question {
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
    contextual: presentedTuples({ user, agent, delegation: principal.delegation, grants }),
  }
}

export function createGate(deps: GateDeps): Gate {
  return {
    open: (principal, options) =>
      createClearing(
        deps,
        questionFor(
          principal,
          options.grants?.map(({ id }) => id),
        ),
        options,
      ),
    named: (principal, options) =>
      createNamedClearing(
        deps,
        questionFor(
          principal,
          options.grants?.map(({ id }) => id),
        ),
        options,
      ),
  }
}

// As many checks as OpenFGA takes in one call.
const batchMax = 50
// The replica is asked about so many at a time, so that no request holds the process.
const lookMax = 200

type Told = Proof | 'denied' | 'passed_over' | 'error'

/** One check of a call: whether a document may be read, or whether the agent may be told of it. */
interface Item {
  readonly id: string
  readonly telling: boolean
}

function createClearing(deps: GateDeps, question: Question, options: GateOptions): Clearing {
  const { fga, held, limiter, now } = deps
  const { consistency, signal, grants = [] } = options
  const granted = new Set(grants.flatMap(({ documentIds }) => documentIds))
  const { modelId } = fga
  const asker = createPrecheck(deps, question, consistency)
  const told = new Map<string, Told>()
  const repeated = new Map<string, object>()
  let beTold: readonly string[] = []
  const mayTell = new Set<string>()
  const requestIds: string[] = []
  let checks = 0
  let calls = 0

  /** Settles what needs no question, and gives what has to be asked. */
  function sift(documentIds: readonly string[]): Pending {
    const { generation } = held
    const at = now()
    const look = asker.check(documentIds)
    const asked = documentIds.filter((id) => {
      const yes = look.held.get(id)
      if (look.refused.has(id) && !granted.has(id)) told.set(id, 'passed_over')
      else if (yes !== undefined) {
        told.set(id, { kind: 'held', ageMs: at - yes.askedAt })
        repeated.set(id, yes)
      } else return true
      return false
    })
    return { asked: asked.map(toItem), generation, cacheable: look.cacheable, holdable: look.holdable }
  }

  /** Undefined when at least one call answered; documents of a call that did not count as errors. */
  async function ask(pending: Pending): Promise<AppError | undefined> {
    const { asked, cacheable } = pending
    const kind = consistency === 'fast' && asked.every(({ id }) => cacheable.has(id)) ? 'asked_fast' : 'asked'
    const answers = await Promise.all(pages(asked).map((page) => askPage(page, kind, pending)))
    return answers.every((answer) => answer !== undefined) ? answers[0] : undefined
  }

  async function askPage(
    page: readonly Item[],
    kind: 'asked' | 'asked_fast',
    { generation, holdable }: Pending,
  ): Promise<AppError | undefined> {
    const askedAt = now()
    // Of the first call: where the second is told more freshly, that is more than is said.
    let sent: typeof kind | undefined
    const send = async (questions: readonly Check[]): Promise<readonly Verdict[]> => {
      const { verdicts, requestIds: ids } = await until(signal, () =>
        limiter.run(questions.length, signal, () => {
          calls += Math.ceil(questions.length / batchMax)
          // Something was taken away while it waited, or while parts were answered: no cache may answer.
          const how = sent === undefined && held.generation === generation ? kind : 'asked'
          sent ??= how
          return fga.batchCheck(questions, {
            now: now(),
            consistency: how === 'asked' ? 'fresh' : 'cached',
            ...(signal && { signal }),
          })
        }),
      )
      requestIds.push(...ids)
      return verdicts
    }
    try {
      const apart = asker.decompose(page.flatMap((one) => (one.telling ? [] : [one.id])))
      checks += page.length
      const verdicts = await checkDecomposed(
        page.map((one) => ({
          check: toCheck(one),
          parts: one.telling ? undefined : apart.parts.get(one.id),
        })),
        send,
        (documents) => apart.moved(documents, signal),
      )
      // Another model came into force: one answer under two would be neither's.
      if (fga.modelId !== modelId)
        throw new AppError('authorization_unavailable', { internal: 'model changed' })
      for (const [index, { id, telling: isTelling }] of page.entries()) {
        const verdict = verdicts[index]
        if (isTelling) {
          if (verdict === 'allowed') mayTell.add(id)
          continue
        }
        told.set(
          id,
          verdict === 'allowed' ? { kind: sent ?? kind } : verdict === 'denied' ? 'denied' : 'error',
        )
        if (verdict === 'allowed' && holdable.has(id)) {
          const end = holdable.get(id)
          asker.hold(id, { askedAt, generation, ...(end !== undefined && { until: end }) })
        }
      }
      return undefined
    } catch (error) {
      for (const { id, telling: isTelling } of page) if (!isTelling) told.set(id, 'error')
      if (error instanceof AppError) return error
      throw error
    }
  }

  const toItem = (id: string): Item => ({ id, telling: false })
  const toCheck = ({ id, telling: isTelling }: Item): Check => ({
    ...question,
    ...(isTelling && { relation: 'can_be_told' }),
    object: documentObject(id),
  })
  const toTell = (ids: readonly string[]): Pending => ({
    asked: ids.map((id) => ({ id, telling: true })),
    generation: held.generation,
    cacheable: asker.untouched(ids),
    holdable: new Map(),
  })
  const proofOf = (id: string): Proof | undefined => {
    const found = told.get(id)
    return typeof found === 'object' ? found : undefined
  }
  const countOf = (what: Told): number => [...told.values()].filter((one) => one === what).length

  async function clearInWaves<T extends Guarded>(
    items: readonly T[],
    enough: number,
    telling: readonly string[],
  ): Promise<Clearance<T>> {
    const isCleared = (item: T): item is Cleared<T> => proofOf(item.documentId) !== undefined
    // Also what an earlier round proved, and this one did not come to.
    const proven = () => items.filter(isCleared).slice(0, enough)
    const cleared: Cleared<T>[] = []
    let beside = telling.length === 0 ? [] : [toTell(telling)]
    let next = 0
    // Where OpenFGA refuses what the replica would have let through, each wave is twice the one before.
    for (let size = enough; next < items.length && cleared.length < enough; size *= 2) {
      const wave: T[] = []
      const pending: Pending[] = []
      while (next < items.length && wave.length < size) {
        if (signal?.aborted) return { cleared: proven(), stopped: overdue() }
        if (pending.length > 0) await setImmediate()
        const slice = items.slice(next, next + Math.min(lookMax, size - wave.length))
        next += slice.length
        pending.push(sift(distinct(slice).filter((id) => !told.has(id))))
        wave.push(...slice.filter((item) => !isRefused(told.get(item.documentId))))
      }
      const isIdle = pending.every(({ asked }) => asked.length === 0)
      const stopped = await ask(join([...pending, ...beside]))
      beside = []
      if (stopped !== undefined && !isIdle) return { cleared: proven(), stopped }
      cleared.push(...wave.filter(isCleared).slice(0, enough - cleared.length))
    }
    if (beside.length > 0) await ask(join(beside))
    return { cleared, stopped: undefined }
  }

  return {
    modelId,
    proofOf,
    cachedAllow: (documentId) => repeated.get(documentId),
    grantsOf: (documentIds) =>
      coveringGrants(deps, {
        question,
        grants,
        documentIds,
        sensitive: asker.maybeSensitive,
        ...(signal && { signal }),
      }),
    requestIds,
    isRefused: (documentId) => isRefused(told.get(documentId)),
    get tellable() {
      return beTold.filter((id) => mayTell.has(id) && proofOf(id) === undefined && told.get(id) !== 'error')
    },
    get counts() {
      const [denied, passedOver, errors] = [countOf('denied'), countOf('passed_over'), countOf('error')]
      return { considered: told.size, denied, passedOver, errors, checks, calls }
    },
    clear(items, enough = items.length, telling = []) {
      if (telling.length > 0) beTold = telling
      return clearInWaves(items, enough, telling)
    },
  }
}

function createNamedClearing(
  deps: GateDeps,
  question: Question,
  { documentIds, grants = [], tell = false, signal }: NamedOptions,
): NamedClearing {
  const { user, relation, contextual } = question
  const relations = tell ? [relation, 'can_be_told'] : [relation]
  const asked = documentIds.flatMap((id) =>
    relations.map((one) => ({ id, relation: one, object: documentObject(id) })),
  )
  const asking = deps.askNamed({
    user,
    contextual,
    asked,
    granted: new Set(grants.flatMap((grant) => grant.documentIds.map(documentObject))),
    ...(signal && { signal }),
  })
  const { modelId } = deps.fga
  const told = new Map<string, Verdict | undefined>()
  const verdictOf = (id: string, by: string): Verdict | undefined => told.get(`${by} ${id}`)
  const isAllowed = (id: string, by: string): boolean => verdictOf(id, by) === 'allowed'
  const requestIds: string[] = []
  return {
    modelId,
    requestIds,
    proofOf: (id) => (isAllowed(id, relation) ? { kind: 'asked' } : undefined),
    get tellable() {
      // Where OpenFGA has no verdict on it, nobody knows whether the person has to agree.
      return documentIds.filter((id) => isAllowed(id, 'can_be_told') && verdictOf(id, relation) === 'denied')
    },
    grantsOf: (ids) =>
      coveringGrants(deps, {
        question,
        grants,
        documentIds: ids,
        sensitive: createPrecheck(deps, question, 'strict').maybeSensitive,
        ...(signal && { signal }),
      }),
    async clear<T extends Guarded>(there: readonly T[]) {
      const objects = new Set(there.map(({ documentId }) => documentObject(documentId)))
      const answer = await asking.answer((object) => objects.has(object))
      requestIds.push(...answer.requestIds)
      for (const [index, one] of asked.entries())
        told.set(`${one.relation} ${one.id}`, answer.verdicts[index])
      return there.filter((item): item is Cleared<T> => isAllowed(item.documentId, relation))
    },
  }
}

/** What a wave leaves to ask OpenFGA. */
interface Pending {
  readonly asked: readonly Item[]
  /** Of the held verdicts, when the replica was looked at. */
  readonly generation: number
  readonly cacheable: ReadonlySet<string>
  readonly holdable: ReadonlyMap<string, number | undefined>
}

const join = (parts: readonly Pending[]): Pending => ({
  asked: parts.flatMap(({ asked }) => asked),
  // The earliest: whatever was dropped since any of the looks counts.
  generation: Math.min(...parts.map(({ generation }) => generation)),
  cacheable: new Set(parts.flatMap(({ cacheable }) => [...cacheable])),
  holdable: new Map(parts.flatMap(({ holdable }) => [...holdable])),
})

const distinct = (items: readonly Guarded[]): string[] => [
  ...new Set(items.map(({ documentId }) => documentId)),
]

const isRefused = (told: Told | undefined): boolean => typeof told === 'string'

function pages(items: readonly Item[]): Item[][] {
  const result: Item[][] = []
  for (let start = 0; start < items.length; start += batchMax)
    result.push(items.slice(start, start + batchMax))
  return result
}
