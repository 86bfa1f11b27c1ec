import { setImmediate } from 'node:timers/promises'
import { AppError } from '../kernel/errors.ts'
import { documentObject } from '../kernel/ids.ts'
import { memoize } from '../kernel/memoize.ts'
import { callerOf, outermostActor, type Principal } from '../kernel/principal.ts'
import { batchMax, type Check, type Fga, pages, type Verdict } from './fga.ts'
import { checkDecomposed } from './gate/decompose-check.ts'
import { coveringGrants, type ShownGrant } from './gate/granted.ts'
import type { Limiter } from './gate/limiter.ts'
import type { AskNamed } from './gate/named.ts'
import { createPrecheck, type PrecheckDeps } from './gate/precheck.ts'
import type { Consistency, Question } from './gate/question.ts'
import { overdue, runUntilAborted } from './gate/until.ts'
import { presentedTuples } from './presented.ts'

declare const cleared: unique symbol

/** Something the gate let through for one principal. Only this module can make one. */
export type Cleared<T> = T & { readonly [cleared]: true }

/** Anything that belongs to one document. */
export interface Guarded {
  readonly documentId: string
  /**
   * The number of what the document had in force, for what is read of its text. A yes counts for that alone:
   * somebody may have been taken off before the next was published. Left out: no text is read of it.
   */
  readonly publication?: number
  /** That came into force so lately that OpenFGA's caches may not know of a change before it. Default: no. */
  readonly isNew?: boolean
}

/** How fresh the verdicts must be, the grants that were shown, and a signal that ends the wait. */
export interface GateOptions {
  /**
   * `strict` takes only a yes that OpenFGA gives past its caches, during the request; `fast` also one from
   * its caches, or cached for `VERDICT_TTL`. Either counts for {@link Guarded.publication} alone.
   */
  readonly consistency: Consistency
  /**
   * Grants of approvals that are presented beside the delegation. Their documents are never left out unasked.
   */
  readonly grants?: readonly ShownGrant[]
  /** At its end only what is proven by then is cleared. */
  readonly signal?: AbortSignal
}

/** How OpenFGA's yes was had: past its caches, perhaps from them, or this long before the question. */
export type Proof =
  | { readonly kind: 'asked' | 'asked_fast' }
  | { readonly kind: 'held'; readonly ageMs: number }

/** What the gate let through, in order. */
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

/** One request's way through the gate. What it was told about a publication it does not ask again. */
export interface Clearing {
  /**
   * Goes through the items in their order, in waves, until `enough` of them are cleared (all, where left
   * out), and returns those, at most `enough`. Whatever is not OpenFGA's yes, an error, a time-out or a
   * missing answer, is a no for that item. `telling`: documents of which OpenFGA is asked in the first call,
   * too, whether the agent may at least be told of them; that it says nothing about these is no reason to
   * stop.
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
  /**
   * In the order given: documents that were not cleared, and of which OpenFGA said that the agent may be
   * told.
   */
  readonly tellable: readonly string[]
  /**
   * By which of the grants presented each of these documents goes: see gate/granted.ts. Throws as that does.
   */
  grantsOf(documentIds: readonly string[]): Promise<ReadonlyMap<string, readonly string[]> | undefined>
  /** The model that all of it was decided under. */
  readonly modelId: string
  readonly counts: GateCounts
  /** OpenFGA's, of each call. */
  readonly requestIds: readonly string[]
}

/** Documents that the caller names. */
export interface NamedOptions {
  readonly documentIds: readonly string[]
  /**
   * Grants of approvals that are presented: their documents are asked about although the replica refuses
   * them.
   */
  readonly grants?: readonly ShownGrant[]
  /** Also asks of each which an agent is kept from whether it may be told of it. */
  readonly tell?: boolean
  readonly signal?: AbortSignal
}

/** Clears documents that the caller names, so that a refusal tells nothing of what is there. */
export interface NamedClearing
  extends Pick<Clearing, 'proofOf' | 'tellable' | 'grantsOf' | 'modelId' | 'requestIds'> {
  /**
   * `there`: those of the named documents that are there within what the caller's token is for, found out by
   * the same statements for all. Throws where OpenFGA as a whole does not answer, whatever is there. To be
   * called once.
   */
  clear<T extends Guarded>(there: readonly T[]): Promise<readonly Cleared<T>[]>
}

/** The only maker of `Cleared<T>`: nothing is read without one. */
export interface Gate {
  /**
   * Begins to clear for the person and for what was lent: one check a document. Throws for a principal who
   * cannot read at all. Does NOT check token scopes: the face does.
   */
  open(principal: Principal, options: GateOptions): Clearing
  /**
   * The same for documents that the caller names: past all caches, and in a time that does not tell what is
   * hidden from what never was (gate/named.ts). A check of OpenFGA begins with this call: find out meanwhile
   * what is there.
   */
  named(principal: Principal, options: NamedOptions): NamedClearing
}

/** OpenFGA decides; the replica and the verdict cache spare calls. */
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

/** Makes the gate. It fails closed: a check without an answer is a no. */
export function createGate(dependencies: GateDeps): Gate {
  const asked = (principal: Principal, grants: readonly ShownGrant[] | undefined): Question =>
    questionFor(
      principal,
      grants?.map(({ id }) => id),
    )
  return {
    open: (principal, options) => createClearing(dependencies, asked(principal, options.grants), options),
    named: (principal, options) =>
      createNamedClearing(dependencies, asked(principal, options.grants), options),
  }
}

// The replica is asked about so many at a time, so that no request holds the process.
const lookMax = 200

type Told = Proof | 'denied' | 'too_deep' | 'passed_over' | 'error'

/** One check of a call: whether a document may be read, or whether the agent may be told of it. */
interface Item {
  readonly document: Guarded
  readonly telling: boolean
}

function createClearing(dependencies: GateDeps, question: Question, options: GateOptions): Clearing {
  const { fga, verdictCache, limiter, now } = dependencies
  const { consistency, signal, grants = [] } = options
  const granted = new Set(grants.flatMap(({ documentIds }) => documentIds))
  const { modelId } = fga
  const asker = createPrecheck(dependencies, question, consistency)
  const outcomes = new Map<string, Told>()
  /** What each of the outcomes is for. */
  const publications = new Map<string, number | undefined>()
  const repeated = new Map<string, object>()
  let beTold: readonly string[] = []
  const mayTell = new Set<string>()
  const requestIds: string[] = []
  let checks = 0
  let calls = 0

  /** Settles what needs no question, and gives what has to be asked. */
  function sift(documents: readonly Guarded[]): Pending {
    const { generation } = verdictCache
    const nowMs = now()
    const precheck = asker.check(documents)
    const toAsk = documents.filter(({ documentId: id, publication }) => {
      publications.set(id, publication)
      // A yes for what it had in force before.
      outcomes.delete(id)
      repeated.delete(id)
      const cachedAllow = precheck.cachedAllows.get(id)
      if (precheck.refused.has(id) && !granted.has(id)) outcomes.set(id, 'passed_over')
      else if (cachedAllow !== undefined) {
        outcomes.set(id, { kind: 'held', ageMs: nowMs - cachedAllow.askedAt })
        repeated.set(id, cachedAllow)
      } else return true
      return false
    })
    return {
      asked: toAsk.map((document) => ({ document, telling: false })),
      generation,
      cacheable: precheck.cacheable,
      holdable: precheck.holdable,
    }
  }

  /** Undefined when at least one call answered; documents of a call that did not count as errors. */
  async function ask(pending: Pending): Promise<AppError | undefined> {
    const { asked: idsToCheck, cacheable } = pending
    const kind =
      consistency === 'fast' && idsToCheck.every(({ document }) => cacheable.has(document.documentId))
        ? 'asked_fast'
        : 'asked'
    const answers = await Promise.all(pages(idsToCheck).map((page) => askPage(page, kind, pending)))
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
    const tooDeep = new Set<Check>()
    const send = async (questions: readonly Check[]): Promise<readonly Verdict[]> => {
      const answer = await runUntilAborted(signal, () =>
        limiter.run(questions.length, signal, () => {
          calls += Math.ceil(questions.length / batchMax)
          // Something was taken away while it waited, or while parts were answered: no cache may answer.
          const how = sent === undefined && verdictCache.generation === generation ? kind : 'asked'
          sent ??= how
          return fga.batchCheck(questions, {
            now: now(),
            consistency: how === 'asked' ? 'fresh' : 'cached',
            ...(signal && { signal }),
          })
        }),
      )
      const { verdicts, requestIds: ids } = answer
      for (const check of answer.tooDeep ?? []) tooDeep.add(check)
      // A page that would have taken long goes in several.
      calls += Math.max(0, ids.length - Math.ceil(questions.length / batchMax))
      requestIds.push(...ids)
      return verdicts
    }
    try {
      const apart = asker.decompose(
        page.flatMap((entry) => (entry.telling ? [] : [entry.document.documentId])),
      )
      checks += page.length
      const asked = page.map((entry) => ({ ...entry, check: toCheck(entry) }))
      const verdicts = await checkDecomposed(
        asked.map((entry) => ({
          check: entry.check,
          parts: entry.telling ? undefined : apart.parts.get(entry.document.documentId),
        })),
        send,
        (documents) => apart.moved(documents, signal),
      )
      // Another model came into force: one answer under two would be neither's.
      if (fga.modelId !== modelId)
        throw new AppError('authorization_unavailable', { internal: 'model changed' })
      for (const [index, { document, telling: isTelling, check }] of asked.entries()) {
        const verdict = verdicts[index]
        const { documentId: id } = document
        if (isTelling) {
          if (verdict === 'allowed') mayTell.add(id)
          continue
        }
        // An error makes an answer incomplete: of what is too deep that would tell what it says.
        const denied = tooDeep.has(check) ? 'too_deep' : verdict === 'denied' ? 'denied' : 'error'
        outcomes.set(id, verdict === 'allowed' ? { kind: sent ?? kind } : denied)
        if (verdict === 'allowed' && holdable.has(id)) {
          const cacheUntil = holdable.get(id)
          const until = cacheUntil !== undefined && { until: cacheUntil }
          asker.hold(document, { askedAt, generation, ...until })
        }
      }
      return undefined
    } catch (error) {
      for (const { document, telling: isTelling } of page)
        if (!isTelling) outcomes.set(document.documentId, 'error')
      if (error instanceof AppError) return error
      throw error
    }
  }

  const toCheck = ({ document, telling: isTelling }: Item): Check => ({
    ...question,
    ...(isTelling && { relation: 'can_be_told' }),
    object: documentObject(document.documentId),
  })
  const toTell = (ids: readonly string[]): Pending => ({
    asked: ids.map((documentId) => ({ document: { documentId }, telling: true })),
    generation: verdictCache.generation,
    cacheable: asker.untouched(ids),
    holdable: new Map(),
  })
  const isSettled = ({ documentId: id, publication }: Guarded): boolean =>
    outcomes.has(id) && publications.get(id) === publication
  const proofOf = (id: string): Proof | undefined => {
    const found = outcomes.get(id)
    return typeof found === 'object' ? found : undefined
  }
  const countOf = (outcomeKind: Told): number =>
    [...outcomes.values()].filter((outcome) => outcome === outcomeKind).length

  async function clearInWaves<T extends Guarded>(
    candidates: readonly T[],
    enough: number,
    telling: readonly string[],
  ): Promise<Clearance<T>> {
    const isCleared = (candidate: T): candidate is Cleared<T> =>
      isSettled(candidate) && proofOf(candidate.documentId) !== undefined
    // Also what an earlier round proved, and this one did not come to.
    const clearedItems = () => candidates.filter(isCleared).slice(0, enough)
    let cleared: readonly Cleared<T>[] = []
    let beside = telling.length === 0 ? [] : [toTell(telling)]
    let nextIndex = 0
    // Where OpenFGA refuses what the replica would have let through, each wave is twice the one before.
    for (let size = enough; nextIndex < candidates.length && cleared.length < enough; size *= 2) {
      let waveSize = 0
      const pending: Pending[] = []
      while (nextIndex < candidates.length && waveSize < size) {
        if (signal?.aborted) return { cleared: clearedItems(), stopped: overdue() }
        if (pending.length > 0) await setImmediate()
        const slice = candidates.slice(nextIndex, nextIndex + Math.min(lookMax, size - waveSize))
        nextIndex += slice.length
        pending.push(sift(distinct(slice).filter((candidate) => !isSettled(candidate))))
        waveSize += slice.filter((candidate) => !isRefused(outcomes.get(candidate.documentId))).length
      }
      const isIdle = pending.every(({ asked: idsToCheck }) => idsToCheck.length === 0)
      const stopped = await ask(join([...pending, ...beside]))
      beside = []
      if (stopped !== undefined && !isIdle) return { cleared: clearedItems(), stopped }
      // All anew: what a wave before proved may be refused since, for what its document has in force now.
      cleared = candidates.slice(0, nextIndex).filter(isCleared).slice(0, enough)
    }
    if (beside.length > 0) await ask(join(beside))
    return { cleared, stopped: undefined }
  }

  return {
    modelId,
    proofOf,
    cachedAllow: (documentId) => repeated.get(documentId),
    grantsOf: (documentIds) =>
      coveringGrants(dependencies, {
        question,
        grants,
        documentIds,
        sensitive: asker.maybeSensitive,
        ...(signal && { signal }),
      }),
    requestIds,
    isRefused: (documentId) => isRefused(outcomes.get(documentId)),
    get tellable() {
      // Without a verdict nobody knows whether the person has to agree.
      const noVerdict = new Set<Told | undefined>(['error', 'too_deep'])
      return beTold.filter(
        (id) => mayTell.has(id) && proofOf(id) === undefined && !noVerdict.has(outcomes.get(id)),
      )
    },
    get counts() {
      const denied = countOf('denied') + countOf('too_deep')
      const [passedOver, errors] = [countOf('passed_over'), countOf('error')]
      return { considered: outcomes.size, denied, passedOver, errors, checks, calls }
    },
    clear(candidates, enough = candidates.length, telling = []) {
      if (telling.length > 0) beTold = telling
      return clearInWaves(candidates, enough, telling)
    },
  }
}

function createNamedClearing(
  dependencies: GateDeps,
  question: Question,
  { documentIds, grants = [], tell = false, signal }: NamedOptions,
): NamedClearing {
  const { user, relation, contextual } = question
  const relations = tell ? [relation, 'can_be_told'] : [relation]
  const checks = documentIds.flatMap((id) =>
    relations.map((objectRelation) => ({ id, relation: objectRelation, object: documentObject(id) })),
  )
  const asking = dependencies.askNamed({
    user,
    contextual,
    asked: checks,
    granted: new Set(grants.flatMap((grant) => grant.documentIds.map(documentObject))),
    ...(signal && { signal }),
  })
  const { modelId } = dependencies.fga
  const verdictByKey = new Map<string, Verdict | undefined>()
  const verdictOf = (id: string, viaRelation: string): Verdict | undefined =>
    verdictByKey.get(`${viaRelation} ${id}`)
  const isAllowed = (id: string, viaRelation: string): boolean => verdictOf(id, viaRelation) === 'allowed'
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
      coveringGrants(dependencies, {
        question,
        grants,
        documentIds: ids,
        sensitive: createPrecheck(dependencies, question, 'strict').maybeSensitive,
        ...(signal && { signal }),
      }),
    async clear<T extends Guarded>(candidates: readonly T[]) {
      const objects = new Set(candidates.map(({ documentId }) => documentObject(documentId)))
      const answer = await asking.answer((object) => objects.has(object))
      requestIds.push(...answer.requestIds)
      for (const [index, objectCheck] of checks.entries())
        verdictByKey.set(`${objectCheck.relation} ${objectCheck.id}`, answer.verdicts[index])
      return candidates.filter((candidate): candidate is Cleared<T> =>
        isAllowed(candidate.documentId, relation),
      )
    },
  }
}

/** What a wave leaves to ask OpenFGA. */
interface Pending {
  readonly asked: readonly Item[]
  /** Of the cached verdicts, when the replica was looked at. */
  readonly generation: number
  readonly cacheable: ReadonlySet<string>
  readonly holdable: ReadonlyMap<string, number | undefined>
}

const join = (pendingParts: readonly Pending[]): Pending => ({
  asked: pendingParts.flatMap(({ asked: ids }) => ids),
  // The earliest: whatever was dropped since any of the looks counts.
  generation: Math.min(...pendingParts.map(({ generation }) => generation)),
  cacheable: new Set(pendingParts.flatMap(({ cacheable }) => [...cacheable])),
  holdable: new Map(pendingParts.flatMap(({ holdable }) => [...holdable])),
})

const distinct = (candidates: readonly Guarded[]): Guarded[] => [
  ...new Map(candidates.map((candidate) => [candidate.documentId, candidate])).values(),
]

const isRefused = (outcome: Told | undefined): boolean => typeof outcome === 'string'
