import { setImmediate as giveWay } from 'node:timers/promises'
import { type Clocks, type Moment, momentOf } from '../../kernel/elapsed.ts'
import {
  type Change,
  type ChangePage,
  type ChangePosition,
  type Fga,
  PositionRefused,
  type StoredTuple,
  tupleId,
} from '../fga.ts'
import { LogDoubt, LogWentBack } from './log-doubt.ts'
import { changeId, type Mark } from './storage.ts'
import { farRescan, type Stretch, stretchOf, TailRescan } from './tail-rescan.ts'
import type { Watermarks } from './watermarks.ts'

/** `onChanges` gets each slice of changes, in the log's order. */
export interface LogReaderDeps extends Clocks {
  readonly fga: Pick<Fga, 'readChanges'>
  readonly signal: AbortSignal
  /** Told of changes in the order in which they are to be applied. */
  readonly onChanges: (changes: readonly Change[]) => void
  /** Where the log may be read from a server that lags: then its end is only as far as these tell. */
  readonly watermarks?: Pick<Watermarks, 'seenAt' | 'see' | 'newestIn' | 'lost'>
  /** Whether an answer waits for a look at the log: what else is to be looked at waits. Default: never. */
  readonly isAwaited?: () => boolean
}

// How far a clock of OpenFGA may be behind ours.
const skewMs = 3_600_000
// So many at once keep a question waiting for a millisecond or two.
const sliceSize = 200

/**
 * Reads OpenFGA's change log on from a mark, and the tail again for late commits. Its calls must not overlap,
 * and throw `LogWentBack` where it is that of an older copy.
 */
export class LogReader {
  readonly #deps: LogReaderDeps
  readonly #past: TailRescan
  #mark: Mark | undefined
  /** Ends with the mark, and is read again to tell whether anything comes after it. */
  #anchor: Stretch | undefined
  #tailReadAt: Moment | undefined
  #endReadAt: Moment | undefined
  #unseen = 0
  /**
   * Where it stood before nobody looked for a while: what came late meanwhile is before this, and this itself
   * has to be there still.
   */
  #left: LeftAt | undefined
  /** By `elapsed`: when something was first missed that a server which lags may not have yet. */
  #missedAt: number | undefined
  readonly #doubt: LogDoubt

  constructor(dependencies: LogReaderDeps) {
    this.#deps = dependencies
    this.#doubt = new LogDoubt(dependencies.now)
    this.#past = new TailRescan({
      isAwaited: () => false,
      ...dependencies,
      onUnseen: () => {
        this.#unseen += 1
        this.setReconciled(0)
      },
    })
  }

  get mark(): Mark | undefined {
    return this.#mark
  }

  /** All that OpenFGA held at this time is in. */
  get tailReadAt(): Moment | undefined {
    return this.#tailReadAt
  }

  /** When the last page began to be read after which nothing came. */
  get endReadAt(): Moment | undefined {
    return this.#endReadAt
  }

  /**
   * How often so far there was more to look for than there was time: each time all tuples are due to be
   * compared.
   */
  get unseen(): number {
    return this.#unseen
  }

  /** Whether it lacks what it told of, and is certain to be that of an older copy. */
  get doubt(): Pick<LogDoubt, 'isHeld' | 'isCertain'> {
    return this.#doubt
  }

  /** Goes on from here; `isOld`: what came late since it was stored has still to be looked for. */
  start(mark: Mark, { isOld }: { readonly isOld: boolean }): void {
    this.#mark = mark
    this.#anchor = undefined
    this.#left = isOld ? leftAt(mark) : undefined
    this.#past.clear()
    // Whoever stored it may have stopped a moment ago: what it had just read may still get company.
    if (this.#left !== undefined) this.#past.heard(this.#left.before)
  }

  setReconciled(timeMs: number): void {
    if (this.#mark !== undefined) this.#mark = { ...this.#mark, reconciledAt: timeMs }
  }

  /** Reads on to the end of the log. */
  readOn(): Promise<void> {
    return this.#look(async () => {
      await this.#readTail()
      if (this.#left !== undefined) await this.#lookForLeft(this.#left)
    })
  }

  /** Throws `LogWentBack` where the log lacks the last change before this mark. */
  assertHas(mark: Mark): Promise<void> {
    return this.#look(async () => {
      const left = leftAt(mark)
      if (left === undefined || left.lasts.length === 0) return
      const missing = new Set(left.lasts)
      const start = { startTime: left.before - farRescan.spanMs }
      await this.#readToEnd(start, missing, () => missing.size === 0)
      if (missing.size > 0) throw this.#missed()
      this.#doubt.end()
    })
  }

  async #look(task: () => Promise<void>): Promise<void> {
    try {
      await task()
    } catch (error) {
      // What answers next may be another server, which lacks what this one had told of.
      this.#leave()
      if (error instanceof LogWentBack) throw error
      // No look can find there what is missing.
      if (this.#doubt.isHeld && error instanceof PositionRefused) throw this.#missed()
      this.#doubt.lookFailed()
      throw error
    }
  }

  /** What was read is looked for at the next turn. */
  #leave(): void {
    const left = this.#mark && leftAt(this.#mark)
    if (left !== undefined) this.#left ??= { ...left, from: this.#past.newestFrom }
  }

  async #lookForLeft(left: LeftAt): Promise<void> {
    // From before where it began: the mark has moved on meanwhile, by as long as nothing ran. Or the page
    // that has it, where what was read is looked at again anyhow.
    const { before, from = { startTime: before - farRescan.spanMs } } = left
    if ((await this.#readAgain(from, left)) === undefined) return
    this.#left = undefined
    this.#doubt.end()
  }

  /** Looks for what came late, for a moment: what is not looked at now is at the next call. */
  async rescanTail(): Promise<void> {
    const lateChanges = await this.#past.rescan()
    if (lateChanges !== undefined) await this.#readAgain(lateChanges)
  }

  /** Reads again what was stamped within a second of the last change: something is known to be missing. */
  async readLastSecondAgain(): Promise<void> {
    const { lastSecondFrom } = this.#past
    if (lastSecondFrom !== undefined) await this.#readAgain(lastSecondFrom)
  }

  /**
   * Reads on to the end of the log and, within a second of the last change, once more what was read last,
   * which may just have got company: then all is told of that was committed when this was called, but for
   * what came behind a hundred changes that were stamped later, or more than a second after one. One page,
   * where nothing came.
   */
  async settle(): Promise<void> {
    if (this.#mark === undefined) throw new Error('nothing to go on from')
    const began = momentOf(this.#deps)
    if (await this.#past.isStill()) return this.#reachEnd(began)
    const [lateChanges] = await Promise.all([
      this.#past.rescanNewest(),
      this.#readTail({ isForAnswer: true }),
    ])
    if (lateChanges !== undefined) await this.#readAgain(lateChanges)
  }

  /** Reads what came after another mark, and late ones before it, to the end. Gives the tuples concerned. */
  async readFrom(mark: Mark): Promise<readonly StoredTuple[]> {
    const left = leftAt(mark)
    const changed = await this.#readAgain(
      left === undefined ? mark.position : { startTime: left.before - farRescan.spanMs },
      left,
    )
    if (changed === undefined) throw new Error('the log was read from a server that lags')
    return changed
  }

  reset(): void {
    this.#mark = undefined
    this.#anchor = undefined
    this.#tailReadAt = undefined
    this.#endReadAt = undefined
    this.#left = undefined
    this.#missedAt = undefined
    this.#doubt.end()
    this.#deps.watermarks?.lost()
    this.#past.clear()
  }

  #advance(stretch: Stretch): void {
    if (this.#mark === undefined) return
    this.#anchor = stretch
    const { to: endPosition, lastAt, last } = stretch
    const lastChangeAt = Math.max(this.#mark.lastChangeAt ?? 0, lastAt)
    this.#mark = {
      ...this.#mark,
      position: endPosition,
      lastChangeAt,
      last: { id: last, after: endPosition.after },
    }
    this.#past.heard(lastChangeAt)
  }

  /** In order and page by page: each state on the way was one of OpenFGA's. */
  async #readTail({ isForAnswer = false } = {}): Promise<void> {
    if (this.#mark === undefined) throw new Error('nothing to go on from')
    const { fga, signal, onChanges, watermarks } = this.#deps
    let { position } = this.#mark
    for (let isAnchored = true; ; isAnchored = false) {
      const began = momentOf(this.#deps)
      const anchoredPage = isAnchored ? await this.#readBehindAnchor() : undefined
      let page = anchoredPage
      // Where OpenFGA's link to its database is cut after one row each time, that page never tells of more.
      // No answer waits for this: the next poll is soon.
      if (page === undefined || (page.changes.length === 0 && !isForAnswer))
        page = await fga.readChanges(position, { signal })
      // Cut before the first row, this one tells of nothing.
      if (anchoredPage === undefined && page.changes.length === 0)
        page = (await this.#readBehindAnchor()) ?? page
      watermarks?.see(page.changes)
      onChanges(page.changes)
      if (page.changes.length > 0) {
        const stretch = stretchOf(position, page, began.at)
        this.#past.add(stretch)
        this.#advance(stretch)
      }
      position = page.position
      if (page.isEnd) return this.#reachEnd(began)
    }
  }

  /**
   * What comes after the mark, by a page that has the last change before it too. undefined: nothing was read
   * yet, or a server that lags may answer, which is told by other means.
   */
  async #readBehindAnchor(): Promise<ChangePage | undefined> {
    const { fga, signal, watermarks } = this.#deps
    if (this.#anchor === undefined || watermarks !== undefined) return undefined
    const { count } = this.#anchor
    if (count > 1) {
      // That change alone, for all looks to come.
      const { changes, position } = await fga.readChanges(this.#anchor.from, { signal, limit: count - 1 })
      if (changes.length < count - 1) throw this.#missed()
      this.#anchor = { ...this.#anchor, from: position, count: 1 }
    }
    const { from: start, last } = this.#anchor
    const { changes, ...page } = await fga.readChanges(start, { signal })
    const index = changes.findIndex((change) => changeId(change) === last)
    // So much came late before it.
    if (index < 0 && !page.isEnd) return undefined
    if (index < 0) throw this.#missed()
    this.#anchor = { ...this.#anchor, count: index + 1 }
    return { ...page, changes: changes.slice(index + 1) }
  }

  #reachEnd(began: Moment): void {
    const { watermarks } = this.#deps
    this.#endReadAt = began
    this.#tailReadAt = watermarks === undefined ? began : watermarks.seenAt
  }

  /**
   * To the end and only then applied, each tuple's last change: what is held already must not go back and
   * forth. undefined: what answered lags, and nothing of it was taken.
   */
  async #readAgain(position: ChangePosition, left?: LeftAt): Promise<readonly StoredTuple[] | undefined> {
    const { onChanges, watermarks } = this.#deps
    // What is in the log stays there, else what was read is older than what is held; later changes may have
    // come in the place of those that are gone.
    const held = this.#past.from(position)
    const missing = new Set([...held.map(({ last }) => last), ...(left?.lasts ?? [])])
    // A part would put an earlier change of a tuple over a later one.
    const own = this.#mark && leftAt(this.#mark)
    if (own !== undefined && own.before >= (left?.before ?? 0)) for (const id of own.lasts) missing.add(id)
    const { lastByKey, read } = await this.#readToEnd(position, missing)
    const lastAt = read.reduce((latest, stretch) => Math.max(latest, stretch.lastAt), 0)
    // A later change may be stamped a little earlier: what has to be there tells, where it is known.
    const isOlder = left !== undefined && left.lasts.length === 0 && lastAt < left.before
    const changes = [...lastByKey.values()]
    const count = Math.max(countOf(held), left?.count ?? 0)
    if (missing.size > 0 || countOf(read) < count || isOlder) {
      // Looked for again at each turn, however much is written meanwhile.
      const before = left?.before ?? held[0]?.lastAt ?? lastAt
      const lasts = new Set([...(left?.lasts ?? []), ...missing])
      this.#left ??= { ...left, before, lasts: [...lasts], from: position, count }
      this.#assertLags(changes)
      return undefined
    }
    this.#missedAt = undefined
    watermarks?.see(changes)
    for (let offset = 0; offset < changes.length; offset += sliceSize) {
      if (offset > 0) await giveWay()
      onChanges(changes.slice(offset, offset + sliceSize))
    }
    // Only now: what failed before this is still due.
    this.#past.replace(position, read)
    const lastStretch = read.at(-1)
    if (lastStretch !== undefined && lastStretch.to.after !== this.#mark?.position.after)
      this.#advance(lastStretch)
    else this.#anchor ??= lastStretch
    return changes.map(({ tuple }) => tuple)
  }

  /**
   * Throws where the server that answered does not lag. One that tells of a mark which began after something
   * was missed has told of all that was committed before.
   */
  #assertLags(changes: readonly Change[]): void {
    const { watermarks } = this.#deps
    if (watermarks === undefined) throw this.#missed()
    const newest = watermarks.newestIn(changes)
    if (newest !== undefined && this.#missedAt !== undefined && newest > this.#missedAt) throw this.#missed()
    if (this.#missedAt === undefined) watermarks.lost()
    this.#missedAt ??= momentOf(this.#deps).elapsed
    this.#tailReadAt = undefined
  }

  #missed(): LogWentBack {
    this.#leave()
    return this.#doubt.missed()
  }

  /** Takes from `missing` what is there. `isEnough`: what comes after this page is of no interest. */
  async #readToEnd(position: ChangePosition, missing: Set<string>, isEnough = () => false) {
    const { fga, now, signal } = this.#deps
    const lastByKey = new Map<string, Change>()
    const read: Stretch[] = []
    for (let readPosition = position, isEnd = false; !isEnd; ) {
      const beganAt = now()
      const page = await fga.readChanges(readPosition, { signal })
      for (const change of page.changes) {
        missing.delete(changeId(change))
        const id = tupleId(change.tuple)
        lastByKey.delete(id)
        lastByKey.set(id, change)
      }
      if (page.changes.length > 0) read.push(stretchOf(readPosition, page, beganAt))
      readPosition = page.position
      isEnd = page.isEnd || isEnough()
    }
    return { lastByKey, read }
  }
}

/** `before` is in milliseconds by OpenFGA's clock; `lasts`, by {@link changeId}, have to be there. */
interface LeftAt {
  readonly before: number
  readonly lasts: readonly string[]
  /** Of the page that has them, where that is still known. */
  readonly from?: ChangePosition | undefined
  /** So many changes at least come after that. */
  readonly count?: number
}

/** undefined: nothing was read yet. */
const leftAt = ({ position, lastChangeAt, last }: Mark): LeftAt | undefined =>
  lastChangeAt === undefined
    ? undefined
    : { before: lastChangeAt, lasts: last !== undefined && last.after === position.after ? [last.id] : [] }

const countOf = (stretches: readonly Stretch[]): number =>
  stretches.reduce((sum, { count }) => sum + count, 0)

/**
 * A place of the log before now, for whoever reads all tuples next: what changes meanwhile comes after it.
 */
export async function positionBeforeNow(
  fga: Pick<Fga, 'readChanges'>,
  now: number,
  signal: AbortSignal,
): Promise<ChangePosition> {
  const position = { startTime: now - skewMs }
  try {
    await fga.readChanges(position, { signal })
    return position
  } catch (error) {
    // By OpenFGA's clock that is in the future: read the log from its beginning instead.
    if (error instanceof PositionRefused) return {}
    throw error
  }
}
