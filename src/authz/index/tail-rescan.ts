import type { Change, ChangePage, ChangePosition, Fga } from '../fga.ts'
import { changeId } from './storage.ts'

/**
 * Consecutive changes of the log, at most a page. Between its places nothing else was when it was last looked
 * at.
 */
export interface Stretch {
  readonly from: ChangePosition
  readonly to: ChangePosition
  readonly count: number
  /** The latest stamp, by OpenFGA's clock. */
  readonly lastAt: number
  /** Its last change, by {@link changeId}. */
  readonly last: string
  /** By ours. */
  readonly lookedAt: number
}

/** `now` is in milliseconds; `onUnseen` gets changes that were not seen before. */
export interface TailRescanDeps {
  readonly fga: Pick<Fga, 'readChanges'>
  readonly now: () => number
  readonly signal: AbortSignal
  /** Told when something is forgotten that was not looked at late enough to know that nothing came late. */
  readonly onUnseen: () => void
  /** Whether an answer waits for a look at the log: then the rest is looked at later. */
  readonly isAwaited: () => boolean
}

// So far behind the last change seen, so often, for so long after it was seen: the nearer part soon, the rest
// as long as a request may last.
const near = { spanMs: 5_000, everyMs: 1_000, whileMs: 10_000 }
/** Older stretches: how wide they are, how often they are read again and for how long, in milliseconds. */
export const farRescan = { spanMs: 60_000, everyMs: 30_000, whileMs: 90_000 }
// What is looked at so long after its stamp is done with: by default OpenFGA gives a request 3 s.
const settledMs = 20_000
const pageMax = 100
// A Write that was numbered first is committed so much later at most, but where OpenFGA is overloaded.
const lateMs = 1_000
// After a bulk there are many: between two such moments the end of the log is read, and questions have the
// server.
const momentMs = 40

/** The stretch of the log that one page covers. */
export const stretchOf = (
  start: ChangePosition,
  { changes, position }: ChangePage,
  readAt: number,
): Stretch => ({
  from: start,
  to: position,
  count: changes.length,
  lastAt: changes.reduce((latest, { tuple }) => Math.max(latest, tuple.writtenAt), 0),
  last: changes.at(-1) === undefined ? '' : changeId(changes.at(-1) as Change),
  lookedAt: readAt,
})

/**
 * Reads the log's tail again, for changes that were committed after later ones: a change is stamped before it
 * is committed, so one may appear before others that were read. A stretch that is as long as before and ends
 * where it ended has nothing new in it; nothing else of it is kept, and it costs one page to find that out,
 * however much was written.
 */
export class TailRescan {
  readonly #deps: TailRescanDeps
  #stretches: Stretch[] = []
  #lastChangeAt = 0
  #newsAt = Number.NEGATIVE_INFINITY

  constructor(dependencies: TailRescanDeps) {
    this.#deps = dependencies
  }

  /** Behind all others. */
  add(stretch: Stretch): void {
    this.#stretches.push(stretch)
  }

  /** In the place of all from this one's place on; of all there are, where it is none of theirs. */
  replace(start: ChangePosition, replacements: readonly Stretch[]): void {
    this.#stretches = [...this.#stretches.slice(0, Math.max(0, this.#indexOf(start))), ...replacements]
  }

  /** What was read from this place on; nothing, where it is none of theirs. */
  from(start: ChangePosition): readonly Stretch[] {
    const index = this.#indexOf(start)
    return index < 0 ? [] : this.#stretches.slice(index)
  }

  /** Where the newest page begins that is still looked at again. */
  get newestFrom(): ChangePosition | undefined {
    return this.#stretches.at(-1)?.from
  }

  /** The log was read on, to a change of this time. */
  heard(lastChangeAt: number): void {
    this.#lastChangeAt = Math.max(this.#lastChangeAt, lastChangeAt)
    this.#newsAt = this.#deps.now()
    // At once: a place in the log that is stored says with it what was passed over on the way there.
    this.#forget(this.#newsAt)
  }

  /**
   * Looks at what is due, for a moment. Gives the place of the first stretch in which something is new: it
   * stays due until it is replaced.
   */
  async rescan(): Promise<ChangePosition | undefined> {
    const { now, isAwaited } = this.#deps
    const beganAt = now()
    this.#newsAt = Math.min(this.#newsAt, beganAt)
    this.#forget(beganAt)
    do {
      const time = now()
      const index = this.#mostDue(time)
      if (index === undefined) return undefined
      const [stretch, size] = this.#joined(index)
      if (stretch === undefined) return undefined
      if (await this.#hasCompany(stretch)) return stretch.from
      this.#stretches.splice(index, size, { ...stretch, lookedAt: time })
    } while (now() - beganAt < momentMs && !isAwaited())
    return undefined
  }

  /**
   * The same of the newest page, whenever that was looked at last: what came within the last second is
   * likeliest to have got company. What comes later than that is found by {@link rescan}, a second later.
   */
  async rescanNewest(): Promise<ChangePosition | undefined> {
    const stretch = this.#newest()
    return stretch !== undefined && (await this.#hasCompany(stretch)) ? stretch.from : undefined
  }

  /** Where what was stamped within a second of the last change begins. */
  get lastSecondFrom(): ChangePosition | undefined {
    return this.#stretches.find(({ lastAt }) => lastAt >= this.#lastChangeAt - lateMs)?.from
  }

  /**
   * Whether one page tells that nothing came, neither late to the newest page nor behind it. False: it does
   * not tell.
   */
  async isStill(): Promise<boolean> {
    const stretch = this.#newest()
    // A full page does not say whether more is behind it.
    return stretch !== undefined && stretch.count < pageMax && !(await this.#hasCompany(stretch, pageMax))
  }

  clear(): void {
    this.#stretches = []
  }

  #indexOf(start: ChangePosition): number {
    return this.#stretches.findIndex((stretch) => stretch.from === start)
  }

  #dueAt(stretch: Stretch, time: number): number {
    const isNear = time - this.#newsAt <= near.whileMs && this.#isNear(stretch)
    return lookedAt(stretch, time) + (isNear ? near : farRescan).everyMs
  }

  #isNear({ lastAt }: Stretch): boolean {
    return lastAt >= this.#lastChangeAt - near.spanMs
  }

  /**
   * By the stamps' clock, which showed the last change at the time of the news or before: ours may be
   * another.
   */
  #isSettled(stretch: Stretch, time: number): boolean {
    return this.#lastChangeAt - stretch.lastAt + (lookedAt(stretch, time) - this.#newsAt) >= settledMs
  }

  /** The one that has been due for the longest, by its place. */
  #mostDue(time: number): number | undefined {
    let found: number | undefined
    let earliest = time
    for (const [index, stretch] of this.#stretches.entries()) {
      const due = this.#dueAt(stretch, time)
      if (due > earliest || (found !== undefined && due === earliest)) continue
      found = index
      earliest = due
    }
    return found
  }

  /** With those behind it, as many as one page holds: of single changes there are many. */
  #joined(index: number): readonly [one: Stretch | undefined, size: number] {
    let stretch = this.#stretches[index]
    let size = 1
    for (; stretch !== undefined; size++) {
      const nextStretch = this.#stretches[index + size]
      if (nextStretch === undefined || stretch.count + nextStretch.count > pageMax) break
      stretch = {
        ...stretch,
        to: nextStretch.to,
        count: stretch.count + nextStretch.count,
        lastAt: Math.max(stretch.lastAt, nextStretch.lastAt),
        last: nextStretch.last,
      }
    }
    return [stretch, size]
  }

  async #hasCompany({ from: start, to: end, count }: Stretch, limit = count): Promise<boolean> {
    const { fga, signal } = this.#deps
    const { changes, position } = await fga.readChanges(start, { signal, limit })
    return changes.length !== count || position.after !== end.after
  }

  /**
   * As many of the newest as one page holds; undefined where they came so long ago that {@link rescan} has
   * seen to them.
   */
  #newest(): Stretch | undefined {
    if (this.#deps.now() - this.#newsAt > near.everyMs) return undefined
    let index = this.#stretches.length - 1
    let count = this.#stretches[index]?.count ?? 0
    for (; index > 0; index--) {
      const previous = this.#stretches[index - 1]
      count += previous?.count ?? 0
      if (previous === undefined || count > pageMax) break
      if (!this.#isNear(previous)) break
    }
    return this.#joined(index)[0]
  }

  #forget(time: number): void {
    const size =
      time - this.#newsAt > farRescan.whileMs
        ? this.#stretches.length
        : this.#stretches.findIndex(({ lastAt }) => lastAt >= this.#lastChangeAt - farRescan.spanMs)
    const forgotten = this.#stretches.splice(0, Math.max(0, size))
    if (!forgotten.every((stretch) => this.#isSettled(stretch, time))) this.#deps.onUnseen()
  }
}

/** A time that is still to come is one of a clock that was set back since. */
const lookedAt = (stretch: Stretch, time: number): number =>
  stretch.lookedAt <= time ? stretch.lookedAt : Number.NEGATIVE_INFINITY
