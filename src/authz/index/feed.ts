import type { TupleStore } from '@remit/engine'
import { ageOf, type Clocks, type Moment, momentOf } from '../../kernel/elapsed.ts'
import { createFollower, type Follower } from '../../kernel/follower.ts'
import type { Log } from '../../kernel/log.ts'
import { createOccasional, isWithin, type Occasional } from '../../kernel/occasional.ts'
import { reasonOf } from '../../kernel/reason.ts'
import { type Change, type Fga, PositionRefused, type StoredTuple, tupleId } from '../fga.ts'
import type { IndexStatus } from '../permission-index.ts'
import { LogReader, positionBeforeNow } from './log-reader.ts'
import { findDifferences, Replica, type ReplicaListener, toStored } from './replica.ts'
import { type Mark, Persistence, type Storage } from './storage.ts'
import { Watermarks } from './watermarks.ts'

/** Times are in milliseconds. OpenFGA's log feeds the replica, and `storage` keeps it over a restart. */
export interface ReplicaFeedDeps extends Clocks {
  /** The port itself, not one that waits for the index after a write. */
  readonly fga: Pick<Fga, 'readAll' | 'readChanges'>
  readonly storage: Storage
  readonly log: Log
  /**
   * Where the log may be read from a server that lags (docs/decisions/0033): by what marks are written
   * through the primary, and a name that no process ever had. Nothing is asked in parts then: no read of the
   * log tells what changed meanwhile.
   */
  readonly marks?: { readonly fga: Pick<Fga, 'write'>; readonly id: string }
  /**
   * Left out: all tuples are held. Else those alone that this keeps, or none: then nothing is ever stored,
   * since what is stored is whole.
   */
  readonly part?: Replica['keeps'] | 'nothing'
  /** Milliseconds between two looks at the end of the change log. */
  readonly pollMs: number
}

const saveEveryMs = 1_000
const retryMaxMs = 1_000
const reconcileEveryMs = 3_600_000
const reconcileRetryMs = 300_000

/**
 * Keeps a replica of OpenFGA's tuples: from what is stored, else from all of them, and from then on by the
 * log.
 */
export class ReplicaFeed implements AsyncDisposable {
  readonly #deps: ReplicaFeedDeps
  readonly #listener: ReplicaListener
  readonly #openedAt: Moment
  readonly #closing = new AbortController()
  readonly #watermarks: Watermarks | undefined
  readonly #logReader: LogReader
  readonly #follower: Follower
  readonly #settle: () => Promise<void>
  readonly #lookBack: () => Promise<void>
  // Behind the memory and beside it: what is not stored now is stored at the next turn.
  readonly #saving = this.#occasionally(saveEveryMs, 'index_not_saved', () => this.#save())
  readonly #reconciling = this.#occasionally(reconcileRetryMs, 'index_not_reconciled', () =>
    this.#reconcile(),
  )
  #replica: Replica
  #persistence: Persistence
  /**
   * Ids of the tuples that the log told of since a comparison with OpenFGA's began; undefined while none
   * runs.
   */
  #toldWhileComparing: Set<string> | undefined
  /** The log was read to its end once. */
  #isBuilt = false
  #isStoredBad = false
  /** What is stored was not looked for in the log yet. */
  #isStoredUnseen: boolean
  readonly #firstLook = Promise.withResolvers<void>()
  #isFailing = false
  /** Answers that wait for a look at the log. */
  #awaited = 0

  constructor(dependencies: ReplicaFeedDeps, listener: ReplicaListener) {
    const { fga, storage, now, elapsed, log, pollMs, marks } = dependencies
    const clocks = { now, ...(elapsed && { elapsed }) }
    this.#deps = dependencies
    this.#listener = listener
    this.#openedAt = momentOf(dependencies)
    // A server that lags may not have it yet.
    this.#isStoredUnseen = marks === undefined
    this.#replica = this.#emptyReplica()
    this.#persistence = new Persistence(storage)
    this.#watermarks =
      marks &&
      new Watermarks({
        ...marks,
        ...clocks,
        onWritten: () => void this.refresh().catch(() => undefined),
        onError: (error) => log('watermark_not_written', { reason: reasonOf(error) }),
      })
    this.#logReader = new LogReader({
      fga,
      ...clocks,
      signal: this.#closing.signal,
      onChanges: (changes) => this.#take(changes),
      isAwaited: () => this.#awaited > 0,
      ...(this.#watermarks && { watermarks: this.#watermarks }),
    })
    this.#follower = createFollower({
      read: () => this.#cycle(),
      poll: () => this.#poll(),
      pollMs,
      retryMs: (failures) => Math.min(pollMs * 2 ** failures, retryMaxMs),
    })
    this.#settle = this.#follower.shared(() => this.#orFail(() => this.#logReader.settle()))
    this.#lookBack = this.#follower.shared(() => this.#orFail(() => this.#logReader.readLastSecondAgain()))
    this.#follower.start(0)
  }

  /** This process's own marks; undefined: none are written. */
  get marks(): Pick<Watermarks, 'object' | 'begunAt'> | undefined {
    return this.#watermarks
  }

  get tuples(): TupleStore {
    return this.#replica.tuples
  }

  /** All that OpenFGA held is in, or was: {@link isFresh} tells. */
  get isBuilt(): boolean {
    return this.#isBuilt
  }

  /** OpenFGA's log lacks changes that it had told of, and has for a minute. */
  get logWentBack(): boolean {
    return this.#logReader.doubt.isCertain
  }

  /**
   * OpenFGA's log lacks changes that it told of, and it is not known yet whether it went back; or it was not
   * looked yet for what is stored.
   */
  get isLogDoubted(): boolean {
    return this.#isStoredUnseen || this.#logReader.doubt.isHeld
  }

  /** Resolves once it was looked for what is stored, or could not be. */
  get firstLook(): Promise<void> {
    return this.#firstLook.promise
  }

  /** Whether what is in was read to the end of the log at most so many milliseconds ago. */
  isFresh(staleAfterMs: number): boolean {
    const isWhole = this.#isBuilt && !this.#isFailing && !this.isLogDoubted
    return isWhole && isWithin(staleAfterMs, this.#ageOf(this.#logReader.endReadAt))
  }

  status(): IndexStatus {
    return {
      state: this.#isFailing ? 'broken' : this.#isBuilt ? 'following' : 'building',
      tailReadAt: this.#logReader.tailReadAt?.at,
      lagMs: Math.max(0, this.#ageOf(this.#logReader.tailReadAt)),
      tuples: this.tuples.size,
    }
  }

  /** Somebody asks. */
  wake(): void {
    this.#watermarks?.wake()
  }

  /** Resolves when everything that OpenFGA held when this was called is in. */
  refresh(): Promise<void> {
    return this.#follower.refresh()
  }

  /** Reads the log's last second again. */
  async lookBack(mayLag = false): Promise<void> {
    if (this.#deps.part === 'nothing') return
    if (mayLag || this.#watermarks === undefined) await this.#lookBack()
  }

  /**
   * A look at the end of the log for an answer, for which whatever else is to be looked at waits. See
   * {@link LogReader.settle}.
   */
  settle(): Promise<void> {
    this.#awaited += 1
    return this.#settle().finally(() => {
      this.#awaited -= 1
    })
  }

  /** Reads all of OpenFGA's tuples anew, whatever was stored. */
  async rebuild(): Promise<void> {
    await this.#follower.run(async () => this.#startAnew())
    await this.refresh()
  }

  async [Symbol.asyncDispose](): Promise<void> {
    await this.#watermarks?.[Symbol.asyncDispose]()
    this.#closing.abort()
    await this.#follower[Symbol.asyncDispose]()
    await this.#reconciling.idle()
    await this.#saving.idle()
    if (this.#isBuilt) await this.#save().catch(() => undefined)
  }

  #emptyReplica(): Replica {
    const { part } = this.#deps
    return new Replica(part === 'nothing' ? () => false : part)
  }

  #ageOf(moment: Moment | undefined): number {
    return ageOf(moment ?? this.#openedAt, this.#deps)
  }

  #take(changes: readonly Change[]): void {
    if (changes.length === 0) return
    for (const { tuple } of changes) this.#toldWhileComparing?.add(tupleId(tuple))
    this.#listener.told(changes)
    const effects = this.#replica.apply(changes)
    this.#listener.applied(effects)
    if (this.#deps.part === undefined) this.#persistence.note(effects.map(({ tuple }) => tuple))
  }

  /** From what is stored, else from all that OpenFGA holds. */
  async #build(): Promise<void> {
    const { fga, now, part } = this.#deps
    const { signal } = this.#closing
    await this.#lookForStored()
    const stored = this.#emptyReplica()
    const mark = this.#isStoredBad ? undefined : await this.#load(stored)
    this.#replica = mark === undefined ? this.#emptyReplica() : stored
    if (mark !== undefined) return this.#logReader.start(mark, { isOld: true })
    this.#listener.follow(this.tuples)
    const position = await positionBeforeNow(fga, now(), signal)
    if (part !== 'nothing') for await (const page of fga.readAll({ signal })) this.#fill(this.#replica, page)
    this.#logReader.start({ position, reconciledAt: now() }, { isOld: false })
  }

  /** Before all of it is loaded: nobody is answered until then. */
  async #lookForStored(): Promise<void> {
    const isToLook = this.#isStoredUnseen && !this.#isStoredBad
    const mark = isToLook ? (await this.#deps.storage.peek())?.mark : undefined
    if (mark !== undefined) await this.#logReader.assertHas(mark)
    this.#isStoredUnseen = false
    this.#firstLook.resolve()
  }

  /** undefined: nothing is stored that is of use. */
  async #load(replica: Replica): Promise<Mark | undefined> {
    const { storage, log, part } = this.#deps
    this.#persistence = new Persistence(storage)
    this.#listener.follow(replica.tuples)
    try {
      if (part === 'nothing') return (await storage.peek())?.mark
      return await this.#persistence.load((page) => this.#fill(replica, page))
    } catch (error) {
      log('index_not_loaded', { reason: reasonOf(error) })
      return undefined
    }
  }

  #fill(replica: Replica, page: readonly StoredTuple[]): void {
    for (const tuple of page) replica.put(tuple)
    this.#listener.filled(page.filter(replica.keeps))
  }

  async #orFail<T>(task: () => Promise<T>): Promise<T> {
    try {
      return await task()
    } catch (error) {
      this.#fail(error)
      throw error
    }
  }

  async #cycle(): Promise<void> {
    const wasDoubted = this.#logReader.doubt.isHeld
    await this.#orFail(async () => {
      if (this.#logReader.mark === undefined) await this.#build()
      await this.#logReader.readOn()
    })
    if (wasDoubted && !this.isLogDoubted)
      this.#deps.log('openfga_log_cut', { reason: 'OpenFGA told a part of its log as all of it' })
    if (!this.#isBuilt) this.#listener.built()
    // Only of what was said to be broken: a start without trouble says nothing.
    if (this.#isFailing) this.#deps.log('index_ready', { tuples: this.tuples.size })
    this.#isBuilt = true
    this.#isFailing = false
  }

  #fail(error: unknown): void {
    this.#firstLook.resolve()
    if (this.#closing.signal.aborted) return
    if (!this.#isFailing) this.#deps.log('index_broken', { reason: reasonOf(error) })
    this.#isFailing = true
    // Another store's token, or a log that is not what it was. What is missed is not forgotten by it.
    if (error instanceof PositionRefused && !this.#logReader.doubt.isHeld) this.#startAnew()
  }

  /** From all tuples again at the next turn. */
  #startAnew(): void {
    this.#logReader.reset()
    this.#isBuilt = false
    this.#isStoredBad = true
    this.#persistence = new Persistence(this.#deps.storage, { anew: true })
    this.#listener.startedAnew()
  }

  #occasionally(everyMs: number, event: string, work: () => Promise<void>): Occasional {
    const now = () => this.#deps.now()
    const onError = (error: unknown) => this.#deps.log(event, { reason: reasonOf(error) })
    return createOccasional({ everyMs, now, work, onError })
  }

  async #save(): Promise<void> {
    // The next start has to miss it too.
    if (this.isLogDoubted || this.#deps.part !== undefined) return
    await this.#persistence.save({
      mark: () => this.#logReader.mark ?? { position: {}, reconciledAt: 0 },
      all: () => this.#allStored(),
      get: (tuple) => this.#replica.get(tuple),
      changedSince: (mark) => this.#follower.run(() => this.#logReader.readFrom(mark)),
    })
  }

  *#allStored(): Generator<StoredTuple> {
    // Tuples come and go while these are stored.
    for (const tuple of [...this.tuples.after('')]) yield toStored(tuple)
  }

  /** Compares the replica with all of OpenFGA's tuples, and mends it. */
  async #reconcile(): Promise<void> {
    this.#toldWhileComparing = new Set()
    const compared = this.#replica
    const { unseen } = this.#logReader
    try {
      const { differences, marks } = await findDifferences({
        fga: this.#deps.fga,
        replica: compared,
        signal: this.#closing.signal,
        catchUp: () => this.refresh(),
      })
      await this.#watermarks?.sweep(marks)
      // Between two looks at the log: what one of them has read and not yet applied is no newer than this.
      await this.#follower.run(async () => {
        // Built anew meanwhile: what the one before lacked says nothing of this one.
        if (compared !== this.#replica) return
        const changes = differences.filter(({ tuple }) => !this.#toldWhileComparing?.has(tupleId(tuple)))
        if (changes.length > 0) this.#deps.log('index_reconciled', { changes: changes.length })
        this.#take(changes)
        // What was passed over meanwhile may have come where this had looked already.
        if (this.#logReader.unseen === unseen) this.#logReader.setReconciled(this.#deps.now())
      })
    } finally {
      this.#toldWhileComparing = undefined
    }
  }

  /** What fails was said where it failed. */
  async #poll(): Promise<void> {
    const { now, part } = this.#deps
    await this.refresh()
    this.#saving.run()
    const reconciledAt = this.#logReader.mark?.reconciledAt ?? now()
    if (part !== 'nothing' && !isWithin(reconcileEveryMs, now() - reconciledAt)) this.#reconciling.run()
    await this.#follower.run(() => this.#orFail(() => this.#logReader.rescanTail()))
  }
}
