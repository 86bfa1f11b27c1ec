import { isDeepStrictEqual } from 'node:util'
import { compileModel, type Model } from '@remit/engine'
import { createFollower } from '../../kernel/follower.ts'
import type { Log } from '../../kernel/log.ts'
import { createOccasional, isWithin } from '../../kernel/occasional.ts'
import { reasonOf } from '../../kernel/reason.ts'
import { unlessAborted } from '../../kernel/with-timeout.ts'
import { type Change, type Fga, PositionRefused, type StoredTuple, tupleId } from '../fga.ts'
import { isOwnMark } from '../own-marks.ts'
import type { IndexStatus, PermissionIndex } from '../permission-index.ts'
import { createChangedObjects } from './changed-objects.ts'
import { decomposeLocally, evaluateLocally } from './local.ts'
import { createLogReader, LogWentBack, positionBeforeNow } from './log-reader.ts'
import { createPersistence, type Persistence, type Snapshot } from './persist.ts'
import { createReachability } from './reachable-acls.ts'
import { createRecentRemovals, leadingTo } from './recent-removals.ts'
import { findDifferences } from './reconcile.ts'
import { createReplica, type Effect, type Replica, toStored } from './replica.ts'
import type { Mark, Storage } from './storage.ts'
import { createWatermarks, isWatermark } from './watermarks.ts'

/** Times are in milliseconds. OpenFGA's log feeds the index, and `storage` keeps it over a restart. */
export interface PermissionIndexDeps {
  /** The port itself, not one that waits for the index after a write. */
  readonly fga: Pick<Fga, 'readAll' | 'readChanges'>
  readonly storage: Storage
  readonly now: () => number
  readonly log: Log
  /**
   * Where the log may be read from a server that lags (docs/decisions/0033): by what marks are written through the primary, and
   * a name that no process ever had. Nothing is asked in parts then: no read of the log tells what changed meanwhile.
   */
  readonly marks?: { readonly fga: Pick<Fga, 'write'>; readonly id: string }
  /** Milliseconds between two looks at the end of the change log. */
  readonly pollMs: number
  /** Milliseconds for which `touched` can tell; at least OpenFGA's cache lifetime. Default 60 s. */
  readonly rememberMs?: number
  /** Milliseconds behind after which it is not ready. Default 2 s. */
  readonly staleAfterMs?: number
}

/** The index with what its owner steers: the model, and building it anew. */
export interface FollowingIndex extends PermissionIndex {
  /**
   * The model that all questions are put to from now on, in OpenFGA's JSON form; before the first there is no view.
   * Throws FgaError for one that the engine cannot read; there is no view then, so that nothing is asked of the one before.
   */
  useModel(modelId: string, json: object): void
  /** OpenFGA's log lacked changes that it had told of, when it was last read. */
  readonly logWentBack: boolean
  /** Reads all of OpenFGA's tuples anew, whatever was stored. Not ready meanwhile. */
  rebuild(): Promise<void>
}

/** What changes while the index runs. */
interface State {
  replica: Replica
  persistence: Persistence
  /** That all questions are put to. */
  model: { readonly id: string; readonly compiled: Model } | undefined
  /** Ids of the tuples that the log told of since a comparison with OpenFGA's began; undefined while none runs. */
  toldWhileComparing: Set<string> | undefined
  /** The log was read to its end once. */
  isBuilt: boolean
  isStoredBad: boolean
  isFailing: boolean
  logWentBack: boolean
  /** Decomposed answers that wait for a look at the log. */
  awaited: number
}

const saveEveryMs = 1_000
const retryMaxMs = 1_000
const reconcileEveryMs = 3_600_000
const reconcileRetryMs = 300_000
// A look at the log takes a few. Whoever waits longer is answered sooner by asking whole.
const lookMaxMs = 200

/** Opens the index and lets it fill in the background; until then it is not ready. */
export function createPermissionIndex(dependencies: PermissionIndexDeps): FollowingIndex {
  const { fga, storage, now, log, pollMs, rememberMs = 60_000, staleAfterMs = 2_000 } = dependencies
  const openedAt = now()
  const closing = new AbortController()
  const reaches = createReachability()
  const recent = createRecentRemovals(rememberMs)
  const changedObjects = createChangedObjects()
  const state: State = {
    replica: createReplica(),
    persistence: createPersistence(storage),
    model: undefined,
    toldWhileComparing: undefined,
    isBuilt: false,
    isStoredBad: false,
    isFailing: false,
    logWentBack: false,
    awaited: 0,
  }

  const watermarks =
    dependencies.marks &&
    createWatermarks({
      ...dependencies.marks,
      now,
      onWritten: () => void refresh().catch(() => undefined),
      onError: (error) => log('watermark_not_written', { reason: reasonOf(error) }),
    })
  const logReader = createLogReader({
    fga,
    now,
    signal: closing.signal,
    onChanges: take,
    isAwaited: () => state.awaited > 0,
    ...(watermarks && { watermarks }),
  })

  function take(changes: readonly Change[]): void {
    if (changes.length === 0) return
    for (const { tuple } of changes) state.toldWhileComparing?.add(tupleId(tuple))
    // Whatever it did here: a tuple that came and went again has no effect.
    changedObjects.note(changes.map(({ tuple }) => tuple.object))
    const effects = state.replica.apply(changes)
    recent.note(effects, now())
    reaches.note(effects)
    state.persistence.note(effects)
  }

  /** From what is stored, else from all that OpenFGA holds. */
  async function build(): Promise<void> {
    const stored = state.isStoredBad ? undefined : await loadStored()
    state.replica = stored?.replica ?? createReplica()
    if (stored === undefined) {
      reaches.follow(state.replica.tuples)
      const position = await positionBeforeNow(fga, now(), closing.signal)
      for await (const page of fga.readAll({ signal: closing.signal })) {
        for (const tuple of page) state.replica.put(tuple)
        reaches.filled(page)
      }
      logReader.start({ position, reconciledAt: now() }, { isOld: false })
    } else logReader.start(stored.mark, { isOld: true })
  }

  async function loadStored(): Promise<{ readonly replica: Replica; readonly mark: Mark } | undefined> {
    const loaded = createReplica()
    state.persistence = createPersistence(storage)
    reaches.follow(loaded.tuples)
    const stored = await storage
      .load((page) => {
        for (const tuple of page) loaded.put(tuple)
        reaches.filled(page)
      })
      .catch((error: unknown) => {
        log('index_not_loaded', { reason: reasonOf(error) })
        return undefined
      })
    if (stored === undefined) return undefined
    state.persistence.loaded(stored.version)
    return { replica: loaded, mark: stored.mark }
  }

  async function orFail<T>(task: () => Promise<T>): Promise<T> {
    try {
      return await task()
    } catch (error) {
      fail(error)
      throw error
    }
  }

  async function cycle(): Promise<void> {
    await orFail(async () => {
      if (logReader.mark === undefined) await build()
      await logReader.readOn()
    })
    if (!state.isBuilt) recent.forgetBefore(now())
    // Only of what was said to be broken: a start without trouble says nothing.
    if (state.isFailing) log('index_ready', { tuples: state.replica.tuples.size })
    state.isBuilt = true
    state.isFailing = false
  }

  function fail(error: unknown): void {
    if (closing.signal.aborted) return
    if (!state.isFailing) log('index_broken', { reason: reasonOf(error) })
    state.isFailing = true
    // Another store's token, or a log that is not what it was.
    if (error instanceof PositionRefused) startAnew()
    // Nothing of it is taken or stored: the next start has to see it too.
    if (error instanceof LogWentBack) state.logWentBack = true
  }

  /** From all tuples again at the next turn. */
  function startAnew(): void {
    logReader.reset()
    state.isBuilt = false
    state.isStoredBad = true
    state.persistence = createPersistence(storage, { anew: true })
    changedObjects.forget()
    state.logWentBack = false
  }

  const follower = createFollower({
    read: cycle,
    poll,
    pollMs,
    retryMs: (failures) => Math.min(pollMs * 2 ** failures, retryMaxMs),
  })
  const { refresh } = follower
  const settle = follower.shared(() => orFail(logReader.settle))

  const snapshot: Snapshot = {
    mark: () => logReader.mark ?? { position: {}, reconciledAt: 0 },
    *all() {
      // Tuples come and go while these are stored.
      for (const tuple of [...state.replica.tuples.after('')]) yield toStored(tuple)
    },
    get: (tuple) => state.replica.get(tuple),
    changedSince: (mark) => follower.run(() => logReader.readFrom(mark)),
  }

  /** Behind the memory and beside it: what is not stored now is stored at the next turn. */
  const saving = createOccasional({
    everyMs: saveEveryMs,
    now,
    work: () => state.persistence.save(snapshot),
    onError: (error) => log('index_not_saved', { reason: reasonOf(error) }),
  })

  const reconciling = createOccasional({
    everyMs: reconcileRetryMs,
    now,
    async work() {
      state.toldWhileComparing = new Set()
      const compared = state.replica
      const { unseen } = logReader
      const marks: StoredTuple[] = []
      try {
        const found = await findDifferences({
          fga,
          replica: compared,
          signal: closing.signal,
          catchUp: refresh,
          onMark: (mark) => {
            if (isWatermark(mark.object)) marks.push(mark)
          },
        })
        await watermarks?.sweep(marks)
        // Between two looks at the log: what one of them has read and not yet applied is no newer than this.
        await follower.run(async () => {
          // Built anew meanwhile: what the one before lacked says nothing of this one.
          if (compared !== state.replica) return
          const changes = found.filter(({ tuple }) => !state.toldWhileComparing?.has(tupleId(tuple)))
          if (changes.length > 0) log('index_reconciled', { changes: changes.length })
          take(changes)
          // What was passed over meanwhile may have come where this had looked already.
          if (logReader.unseen === unseen) logReader.setReconciled(now())
        })
      } finally {
        state.toldWhileComparing = undefined
      }
    },
    onError: (error) => log('index_not_reconciled', { reason: reasonOf(error) }),
  })

  /** What fails was said where it failed. */
  async function poll(): Promise<void> {
    await refresh()
    saving.run()
    if (!isWithin(reconcileEveryMs, now() - (logReader.mark?.reconciledAt ?? now()))) reconciling.run()
    await follower.run(() => orFail(logReader.rescanTail))
    state.logWentBack = false
  }

  const elapsedSince = (timeMs: number | undefined): number => Math.max(0, now() - (timeMs ?? openedAt))

  function status(): IndexStatus {
    return {
      state: state.isFailing ? 'broken' : state.isBuilt ? 'following' : 'building',
      tailReadAt: logReader.tailReadAt,
      lagMs: elapsedSince(logReader.tailReadAt),
      tuples: state.replica.tuples.size,
    }
  }

  const ready = () =>
    state.isBuilt && !state.isFailing && elapsedSince(logReader.endReadAt) <= staleAfterMs
      ? state.model
      : undefined

  /** For somebody who asks. */
  function readyNow() {
    watermarks?.wake()
    return ready()
  }

  follower.start(0)
  return {
    status,
    get logWentBack() {
      return state.logWentBack
    },
    useModel(id, json) {
      state.model = undefined
      const compiled = compileModel(json, id)
      reaches.useModel(compiled)
      recent.useModel(compiled)
      // What subtracts in this model may have been written while the one before did not mind.
      if (state.isBuilt) recent.forgetBefore(now())
      state.model = { id, compiled }
    },
    view() {
      const current = readyNow()
      return current && { modelId: current.id, model: current.compiled, tuples: state.replica.tuples }
    },
    nominate: (question) => readyNow() && reaches.nominate(question, now()),
    reachableAcls: (question) => readyNow() && reaches.reachableAcls(question, now()),
    aclOf: reaches.aclOf,
    onAclChange: reaches.onAclChange,
    evaluate(question, documentIds, nowMs) {
      const current = readyNow()
      return current && evaluateLocally(current.compiled, state.replica.tuples, question, documentIds, nowMs)
    },
    decompose(question, documentIds, nowMs) {
      const current = watermarks === undefined ? ready() : undefined
      return current
        ? decomposeLocally(current.compiled, state.replica.tuples, question, documentIds, nowMs)
        : new Map()
    },
    touched: (documentIds, sinceMs) =>
      ready() ? recent.touched(documentIds, sinceMs, state.replica.tuples) : new Set(documentIds),
    leadingTo: (documentIds, objects) =>
      ready() ? leadingTo(documentIds, objects, state.replica.tuples) : new Set(documentIds),
    wrote(change) {
      const { writes, deletes } = withoutMarks(change)
      const nowMs = now()
      const stamped = { writtenAt: nowMs }
      return recent.note(
        [
          ...deletes.map((tuple): Effect => ({ kind: 'removed', tuple: { ...tuple, ...stamped } })),
          ...writes.map((tuple): Effect => ({ kind: 'added', tuple: { ...tuple, ...stamped } })),
        ],
        nowMs,
      )
    },
    holds(change) {
      if (ready() === undefined) return false
      const { writes, deletes } = withoutMarks(change)
      const written = new Set(writes.map(tupleId))
      return (
        writes.every(
          (tuple) =>
            isDeepStrictEqual(state.replica.tuples.get(tuple)?.condition, tuple.condition) &&
            state.replica.tuples.get(tuple) !== undefined,
        ) &&
        deletes.every((tuple) => written.has(tupleId(tuple)) || state.replica.tuples.get(tuple) === undefined)
      )
    },
    watch() {
      const fromCount = changedObjects.count
      return async (documentIds, { signal } = {}) => {
        const allIds = new Set(documentIds)
        const timeoutSignal = AbortSignal.timeout(lookMaxMs)
        state.awaited += 1
        const settlement = settle().finally(() => {
          state.awaited -= 1
        })
        const isTold = await unlessAborted(
          settlement,
          signal === undefined ? timeoutSignal : AbortSignal.any([signal, timeoutSignal]),
        ).then(
          () => true,
          () => false,
        )
        const objects = isTold && ready() !== undefined ? changedObjects.since(fromCount) : undefined
        return objects === undefined ? allIds : leadingTo(documentIds, objects, state.replica.tuples)
      }
    },
    async rebuild() {
      await follower.run(async () => startAnew())
      await refresh()
    },
    catchUp: ({ signal } = {}) => (signal === undefined ? refresh() : unlessAborted(refresh(), signal)),
    async [Symbol.asyncDispose]() {
      await watermarks?.[Symbol.asyncDispose]()
      closing.abort()
      await follower[Symbol.asyncDispose]()
      await reconciling.idle()
      await saving.idle()
      if (state.isBuilt) await state.persistence.save(snapshot).catch(() => undefined)
    },
  }
}

/** Of a write what the replica takes. */
const withoutMarks = ({ writes = [], deletes = [] }: Parameters<Fga['write']>[0]) => ({
  writes: writes.filter(({ object }) => !isOwnMark(object)),
  deletes: deletes.filter(({ object }) => !isOwnMark(object)),
})
