import { type FgaObject, splitObject } from '../../kernel/ids.ts'
import type { Fga } from '../fga.ts'
import type { Guarded } from '../gate.ts'
import { isOver } from '../index/local.ts'
import type { CheckPart, IndexStatus, LocalChecks, LocalReplica, RemovalWatch } from '../permission-index.ts'
import type { Consistency, Question } from './question.ts'
import { type CachedAllow, type VerdictCache, verdictKey } from './verdict-cache.ts'

/**
 * What the replica lets the gate leave unasked, or ask for less. It never lets anything through by itself.
 */
export interface PrecheckResult {
  /** The replica has the tail and says no, or cannot say: not worth asking about. */
  readonly refused: ReadonlySet<string>
  /** OpenFGA's own yes, which may be said again: nothing that the document leads to was taken away since. */
  readonly cachedAllows: ReadonlyMap<string, CachedAllow>
  /** OpenFGA's caches may answer: nothing that these lead to was taken away since those were filled. */
  readonly cacheable: ReadonlySet<string>
  /**
   * A yes about these may be cached; with the earliest end that the replica met, in milliseconds since the
   * epoch.
   */
  readonly holdable: ReadonlyMap<string, number | undefined>
}

/**
 * The replica and the verdict cache; `cacheTtlMs` is how long OpenFGA's own cache may lag, in milliseconds.
 */
export interface PrecheckDeps {
  readonly fga: Pick<Fga, 'storeId' | 'modelId'>
  readonly index: LocalReplica & LocalChecks & RemovalWatch
  readonly verdictCache: VerdictCache
  readonly now: () => number
  /** Milliseconds for which OpenFGA may answer from its caches; undefined: it may not, not even once. */
  readonly cacheTtlMs: number | undefined
}

/** Smaller checks for some documents, and the watch over changes meanwhile. */
export interface Decomposed {
  readonly parts: ReadonlyMap<string, readonly CheckPart[]>
  /**
   * What led to something that changed while the parts were answered: no yes of theirs counts. See
   * `RemovalWatch.watch`.
   */
  moved(documents: readonly FgaObject[], signal?: AbortSignal): Promise<ReadonlySet<string>>
}

/** The replica and the cached verdicts, for one question. */
export interface Precheck {
  /** For `strict` it only says what is refused. */
  check(documents: readonly Guarded[]): PrecheckResult
  /**
   * Those about which OpenFGA's caches may be asked, whatever is asked: nothing that they lead to was taken
   * away lately.
   */
  untouched(documentIds: readonly string[]): ReadonlySet<string>
  /**
   * Smaller questions for OpenFGA, by whose answers its yes to each document follows, where that spares work:
   * what documents share, folders and groups, is asked once for all. The others are asked whole.
   */
  decompose(documentIds: readonly string[]): Decomposed
  /** Those that are not known to be ordinary: only these can need a grant. All, where it has not the tail. */
  maybeSensitive(documentIds: readonly string[]): readonly string[]
  /** Keeps a yes that OpenFGA gave to a question sent after `askedAt`, in `generation`. */
  hold(document: Guarded, yes: { askedAt: number; generation: number; until?: number }): void
}

/** Milliseconds: a change log that was not read to its end for longer may hide a removal. */
export const tailMaxMs = 1_000

/** Whether all was heard that OpenFGA held less than that ago. */
export const isAtTail = ({ state, tailReadAt, lagMs }: IndexStatus, nowMs: number): boolean =>
  state === 'following' && isRecent(tailReadAt, nowMs) && lagMs < tailMaxMs

/** Whether so much of the log was heard that what is not is less than a second old. */
export const isRecent = (heardUntil: number | undefined, nowMs: number): boolean =>
  heardUntil !== undefined &&
  // A clock that was set back would make it fresh for as long as that was.
  nowMs >= heardUntil &&
  nowMs - heardUntil < tailMaxMs

/**
 * The replica holds all that OpenFGA held less than a second ago, what this process wrote included, under
 * this model.
 */
export function hasTail(
  { fga, index, verdictCache }: Pick<PrecheckDeps, 'fga' | 'index' | 'verdictCache'>,
  modelId: string,
  nowMs: number,
): boolean {
  const status = index.status()
  return (
    isAtTail(status, nowMs) &&
    (status.tailReadAt ?? 0) > verdictCache.wroteAt &&
    index.view()?.modelId === modelId &&
    fga.modelId === modelId
  )
}

const nothing: PrecheckResult = {
  refused: new Set(),
  cachedAllows: new Map(),
  cacheable: new Set(),
  holdable: new Map(),
}

/** Makes the pre-check of one question. Its allowances decide nothing without OpenFGA's yes. */
export function createPrecheck(
  { fga, index, verdictCache, now, cacheTtlMs }: PrecheckDeps,
  question: Question,
  consistency: Consistency,
): Precheck {
  const { modelId } = fga
  const keyOf = verdictKey(question, fga)
  // OpenFGA's caches may still know of no grant where there is one now.
  const presentsGrants = question.contextual.some(({ object }) => object.startsWith('grant:'))

  const holdsTail = (nowMs: number): boolean => hasTail({ fga, index, verdictCache }, modelId, nowMs)

  /**
   * Whose yes may outlive its answer: nothing sensitive, whoever asks; and what cannot be told is not. With
   * the earliest end that was met when that was looked at.
   */
  function ordinary(ids: readonly string[], nowMs: number): ReadonlyMap<string, number | undefined> {
    const sensitive = index.evaluate({ ...question, relation: 'sensitive' }, ids, nowMs)
    return new Map(
      ids.flatMap((id) => {
        const verdict = sensitive?.get(id)
        return verdict?.allowed === false ? [[id, verdict.until]] : []
      }),
    )
  }

  function heldOf(documents: readonly Guarded[], nowMs: number): ReadonlyMap<string, CachedAllow> {
    const found = new Map<string, CachedAllow>()
    for (const document of documents) {
      const cachedAllow = verdictCache.find(keyOf(document), nowMs)
      if (cachedAllow !== undefined && !isOver(cachedAllow.until, nowMs))
        found.set(document.documentId, cachedAllow)
    }
    if (found.size === 0) return found
    // Taken away and given back since: the yes is from before, and what OpenFGA says now is not known.
    let oldest = nowMs
    for (const { askedAt } of found.values()) oldest = Math.min(oldest, askedAt)
    for (const id of index.touched([...found.keys()], oldest)) found.delete(id)
    forgetTaken(found)
    return found
  }

  /**
   * What this process took away counts by its order, not by a clock, and whether or not the replica has it
   * yet.
   */
  function forgetTaken(found: Map<string, CachedAllow>): void {
    let oldest = verdictCache.generation
    for (const { generation } of found.values()) oldest = Math.min(oldest, generation)
    const removedObjects = verdictCache.removedSince(oldest)
    if (removedObjects === undefined) return found.clear()
    if (removedObjects.size === 0) return
    for (const id of index.leadingTo([...found.keys()], removedObjects)) {
      const removedSinceThen = verdictCache.removedSince(found.get(id)?.generation ?? 0)
      if (removedSinceThen === undefined || index.leadingTo([id], removedSinceThen).size > 0) found.delete(id)
    }
  }

  function confirm(cachedAllow: CachedAllow, expiryMs: number | undefined): void {
    const view = index.view()
    if (view === undefined) return
    const { tuples, model } = view
    verdictCache.confirmed.set(cachedAllow, { tuples, revision: tuples.revision, model, until: expiryMs })
  }

  /** The replica would say what it said when it was last asked: nothing in it is otherwise than then. */
  function isConfirmed(cachedAllow: CachedAllow, nowMs: number): boolean {
    const confirmedBy = verdictCache.confirmed.get(cachedAllow)
    const view = confirmedBy && index.view()
    return (
      view !== undefined &&
      confirmedBy?.tuples === view.tuples &&
      confirmedBy.revision === view.tuples.revision &&
      confirmedBy.model === view.model &&
      !isOver(confirmedBy.until, nowMs)
    )
  }

  return {
    decompose(ids) {
      // By the rules of another model nothing follows.
      const subChecksById =
        index.view()?.modelId === modelId ? index.decompose(question, ids, now()) : new Map()
      const changed = index.watch()
      return {
        parts: subChecksById,
        async moved(documents, signal) {
          const found = await changed(documents.map(idOf), signal && { signal })
          return new Set(documents.filter((document) => found.has(idOf(document))))
        },
      }
    },
    maybeSensitive(ids) {
      const nowMs = now()
      if (!holdsTail(nowMs)) return ids
      const cacheableUntil = ordinary(ids, nowMs)
      return ids.filter((id) => !cacheableUntil.has(id))
    },
    untouched(ids) {
      const nowMs = now()
      if (consistency === 'strict' || cacheTtlMs === undefined || !holdsTail(nowMs)) return nothing.cacheable
      const touched = index.touched(ids, nowMs - cacheTtlMs)
      return new Set(ids.filter((id) => !touched.has(id)))
    },
    check(documents) {
      const nowMs = now()
      const atTail = holdsTail(nowMs)
      const ids = documents.map(({ documentId }) => documentId)
      const cachedAllows = atTail && consistency === 'fast' ? heldOf(documents, nowMs) : nothing.cachedAllows
      const confirmedAllows = new Map(
        [...cachedAllows].filter(([, cachedAllow]) => isConfirmed(cachedAllow, nowMs)),
      )
      const unconfirmedIds = confirmedAllows.size === 0 ? ids : ids.filter((id) => !confirmedAllows.has(id))
      if (unconfirmedIds.length === 0) return { ...nothing, cachedAllows: confirmedAllows }
      const verdicts = atTail ? index.evaluate(question, unconfirmedIds, nowMs) : undefined
      if (verdicts === undefined) return nothing
      // What it cannot evaluate (nested too deep) OpenFGA cannot either: that error would tell what is there.
      const refusedIds = new Set(unconfirmedIds.filter((id) => verdicts.get(id)?.allowed !== true))
      if (consistency === 'strict') return { ...nothing, refused: refusedIds }
      const allowed = unconfirmedIds.filter((id) => verdicts.get(id)?.allowed === true)
      const newIds = new Set(documents.flatMap(({ documentId, isNew }) => (isNew ? [documentId] : [])))
      const mayBeCached = (id: string): boolean =>
        cacheTtlMs !== undefined && !touched.has(id) && !newIds.has(id)
      const touched = index.touched(allowed, nowMs - (cacheTtlMs ?? 0))
      const ordinaryUntil = ordinary(allowed, nowMs)
      for (const [id, expiryMs] of ordinaryUntil) {
        const cachedAllow = cachedAllows.get(id)
        if (cachedAllow === undefined) continue
        confirmedAllows.set(id, cachedAllow)
        confirm(cachedAllow, earlier(expiryMs, verdicts.get(id)?.until))
      }
      const perhapsCached = presentsGrants ? [...ordinaryUntil.keys()] : allowed
      return {
        refused: refusedIds,
        cachedAllows: confirmedAllows,
        cacheable: new Set(perhapsCached.filter(mayBeCached)),
        holdable: new Map(
          [...ordinaryUntil].map(([id, expiryMs]) => [id, earlier(expiryMs, verdicts.get(id)?.until)]),
        ),
      }
    },
    hold(document, cachedAllow) {
      if (fga.modelId === modelId) verdictCache.put(keyOf(document), cachedAllow)
    },
  }
}

const idOf = (object: FgaObject): string => splitObject(object).id

const earlier = (a: number | undefined, b: number | undefined): number | undefined =>
  a === undefined || b === undefined ? (a ?? b) : Math.min(a, b)
