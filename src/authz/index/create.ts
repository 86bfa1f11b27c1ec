import { compileModel, type Model } from '@remit/engine'
import { unlessAborted } from '../../kernel/with-timeout.ts'
import type { PermissionIndex } from '../permission-index.ts'
import { ReplicaFeed, type ReplicaFeedDeps } from './feed.ts'
import { decomposeLocally, evaluateLocally } from './local.ts'
import { effectsOfWrite, isWriteHeld } from './own-writes.ts'
import { Reachability } from './reachable-acls.ts'
import { ChangedObjects, leadingTo, RecentRemovals } from './recent-removals.ts'
import { NewestMarks } from './watermarks.ts'

/** Times are in milliseconds. */
export interface PermissionIndexDeps extends ReplicaFeedDeps {
  /** Milliseconds for which `touched` can tell; at least OpenFGA's cache lifetime. Default 60 s. */
  readonly rememberMs?: number
  /** Milliseconds behind after which it is not ready. Default 2 s. */
  readonly staleAfterMs?: number
  /** Never jumps, and may stand still in a sleep: by it a removal gets old. Default: `performance.now`. */
  readonly steady?: () => number
}

/** The index with what its owner steers: the model, and building it anew. */
export interface FollowingIndex extends PermissionIndex {
  /**
   * The model that all questions are put to from now on, in OpenFGA's JSON form; before the first there is no
   * view. Throws FgaError for one that the engine cannot read, and where somebody whose tuples are left out
   * could matter to another person's question; there is no view then, so that nothing is asked of the one
   * before.
   */
  useModel(modelId: string, json: object): void
  /** OpenFGA's log lacks changes that it had told of, and has for a minute. */
  readonly logWentBack: boolean
  /** It lacks some, or may, and it is not known yet whether it went back: nobody is to be answered. */
  readonly isLogDoubted: boolean
  /** Resolves once it was looked for the place that is stored, or could not be. Never rejects. */
  readonly firstLook: Promise<void>
  /** This process's own marks, which are written from now on for a minute; undefined: none are written. */
  ownMarks(): OwnWatermarks | undefined
  /** The newest mark that the log told of, of the process whose marks are on this object. */
  newestMarkOf(object: string): string | undefined
  /** Reads all of OpenFGA's tuples anew, whatever was stored. Not ready meanwhile. */
  rebuild(): Promise<void>
}

/** By how far another process has read the log, told by marks of this one (docs/decisions/0033). */
export interface OwnWatermarks {
  /** The object that they are on. */
  readonly object: string
  /** By our clock: when the mark began to be written. undefined: no such mark is known here. */
  begunAt(mark: string): number | undefined
}

// A look at the log takes a few. Whoever waits longer is answered sooner by asking whole.
const lookMaxMs = 200

/** Opens the index and lets it fill in the background; until then it is not ready. */
export function createPermissionIndex(dependencies: PermissionIndexDeps): FollowingIndex {
  const { now, rememberMs = 60_000, staleAfterMs = 2_000, steady = () => performance.now() } = dependencies
  const reaches = new Reachability()
  const recent = new RecentRemovals(rememberMs, now, steady)
  const changedObjects = new ChangedObjects()
  const newestMarks = new NewestMarks()
  const feed = new ReplicaFeed(dependencies, {
    follow: (tuples) => reaches.follow(tuples),
    filled: (tuples) => reaches.filled(tuples),
    told(changes) {
      changedObjects.note(changes.map(({ tuple }) => tuple.object))
      newestMarks.note(changes)
    },
    applied(effects) {
      recent.note(effects)
      reaches.note(effects)
    },
    built: () => recent.forget(),
    startedAnew() {
      changedObjects.forget()
      newestMarks.forget()
    },
  })
  /** That all questions are put to. */
  let model: { readonly id: string; readonly compiled: Model } | undefined

  const holdsNothing = dependencies.part === 'nothing'
  const ready = () => (!holdsNothing && feed.isFresh(staleAfterMs) ? model : undefined)

  /** For somebody who asks. */
  function readyNow() {
    feed.wake()
    return ready()
  }

  return {
    status: () => feed.status(),
    get logWentBack() {
      return feed.logWentBack
    },
    get isLogDoubted() {
      return feed.isLogDoubted
    },
    firstLook: feed.firstLook,
    useModel(id, json) {
      model = undefined
      const compiled = compileModel(json, id)
      if (typeof dependencies.part === 'function') assertPersonsEndPaths(compiled)
      reaches.useModel(compiled)
      recent.useModel(compiled)
      // What subtracts in this model may have been written while the one before did not mind.
      if (feed.isBuilt) recent.forget()
      model = { id, compiled }
    },
    view() {
      const current = readyNow()
      return current && { modelId: current.id, model: current.compiled, tuples: feed.tuples }
    },
    nominate: (question) => readyNow() && reaches.nominate(question, now()),
    reachableAcls: (question) => readyNow() && reaches.reachableAcls(question, now()),
    aclOf: (documentId) => reaches.aclOf(documentId),
    onAclChange: (listener) => reaches.onAclChange(listener),
    evaluate(question, documentIds, nowMs) {
      const current = readyNow()
      return current && evaluateLocally(current.compiled, feed.tuples, question, documentIds, nowMs)
    },
    decompose(question, documentIds, nowMs) {
      const current = dependencies.marks === undefined ? ready() : undefined
      return current
        ? decomposeLocally(current.compiled, feed.tuples, question, documentIds, nowMs)
        : new Map()
    },
    touched: (documentIds, sinceMs) =>
      ready() ? recent.touched(documentIds, sinceMs, feed.tuples) : new Set(documentIds),
    leadingTo: (documentIds, objects) =>
      ready() ? leadingTo(documentIds, objects, feed.tuples) : new Set(documentIds),
    wrote: (change) => recent.note(effectsOfWrite(change, now())),
    holds: (change) => ready() !== undefined && isWriteHeld(change, feed.tuples),
    watch() {
      const fromCount = changedObjects.count
      return async (documentIds, { signal } = {}) => {
        const allIds = new Set(documentIds)
        const timeoutSignal = AbortSignal.timeout(lookMaxMs)
        const isTold = await unlessAborted(
          feed.settle(),
          signal === undefined ? timeoutSignal : AbortSignal.any([signal, timeoutSignal]),
        ).then(
          () => true,
          () => false,
        )
        const objects = isTold && ready() !== undefined ? changedObjects.since(fromCount) : undefined
        return objects === undefined ? allIds : leadingTo(documentIds, objects, feed.tuples)
      }
    },
    ownMarks() {
      feed.wake()
      return feed.marks
    },
    newestMarkOf: (object) => newestMarks.of(object),
    rebuild: () => feed.rebuild(),
    catchUp: ({ signal } = {}) =>
      signal === undefined ? feed.refresh() : unlessAborted(feed.refresh(), signal),
    lookBack: ({ signal, mayLag } = {}) =>
      signal === undefined ? feed.lookBack(mayLag) : unlessAborted(feed.lookBack(mayLag), signal),
    [Symbol.asyncDispose]: () => feed[Symbol.asyncDispose](),
  }
}

/**
 * A person's tuples matter to their own questions alone as long as no path goes on from a person: then those
 * of others may be left out, under a `but not` as well.
 */
function assertPersonsEndPaths(model: Model): void {
  if ((model.types.get('user')?.size ?? 0) > 0)
    throw new Error('the type user has relations: no share of the people can be told apart')
}
