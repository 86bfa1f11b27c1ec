import { ageOf, type Clocks, type Moment, momentOf } from '../../kernel/elapsed.ts'
import { createLru } from '../../kernel/lru.ts'
import { isWithin } from '../../kernel/occasional.ts'
import type { Change, Fga, StoredTuple, Tuple } from '../fga.ts'

/** `id` is this process's own. */
export interface WatermarkDeps extends Clocks {
  readonly fga: Pick<Fga, 'write'>
  /** Of this process, and of no other that ever was. */
  readonly id: string
  /** Called when one is in: it can be read now. */
  readonly onWritten: () => void
  readonly onError: (error: unknown) => void
}

// When it is looked at, the newest must be younger than a second.
const everyMs = 300
// What stands in OpenFGA's log stays there: nothing is written while nobody asks.
const awakeMs = 60_000
// Of some minutes.
const historyMax = 1_000
// A process that lives and is asked has none that is older than a second; one that is not asked loses nothing
// with it.
const leftMs = 3_600_000

/** Whether a tuple on this object marks how far the log was read; the service's other marks are fences. */
export const isWatermark = (object: string): boolean => object.startsWith('watermark:')

/** A mark among those of its object: never twice the same. */
const markOf = ({ operation, tuple }: Change): string => `${operation} ${tuple.user}`

// Of so many processes, those that are gone included.
const markersMax = 1_000

/** The newest mark of each process that the log told of, whoever writes them. */
export class NewestMarks {
  readonly #byObject = createLru<string>({ entriesMax: markersMax })

  /** What the log tells, in its order. */
  note(changes: readonly Change[]): void {
    for (const change of changes)
      if (isWatermark(change.tuple.object)) this.#byObject.set(change.tuple.object, markOf(change))
  }

  /** Of the process whose marks are on this object; undefined: the log told of none. */
  of(object: string): string | undefined {
    return this.#byObject.peek(object)
  }

  forget(): void {
    this.#byObject.clear()
  }
}

/**
 * How far a log was read that may come from a server that lags: OpenFGA sends reads of its log to a secondary
 * of its database, whatever consistency is asked. Marks of this process's own go through the primary; once
 * the log tells of one, it has told of everything that was committed before that began to be written.
 */
export class Watermarks implements AsyncDisposable {
  readonly #deps: WatermarkDeps
  readonly #object: `watermark:${string}`
  // When each began to be written, by what the log says of it, in their order. Never twice the same: what
  // became of a Write that failed nobody knows, and it would pass for the later one.
  readonly #begunAt = new Map<string, Moment>()
  /** The same of the last ones, told or not. */
  readonly #history = new Map<string, Moment>()
  /** Numbers the marks of this process. */
  #turn = 0
  /**
   * The one that is stored: it is written and then taken away, so that no more than one is, and the log grows
   * by a row each time.
   */
  #current: Tuple | undefined
  /** Of failed writes, which may be stored all the same: taken away with the next. */
  #left: Tuple[] = []
  #seenAt: Moment | undefined
  #askedAt = Number.NEGATIVE_INFINITY
  #timer: NodeJS.Timeout | undefined
  #writing: Promise<void> | undefined
  #isClosed = false
  #isFailing = false

  constructor(dependencies: WatermarkDeps) {
    this.#deps = dependencies
    this.#object = `watermark:${dependencies.id}`
  }

  /** When the newest mark began to be written that the log told of. */
  get seenAt(): Moment | undefined {
    return this.#seenAt
  }

  /** The object of this process's own marks. */
  get object(): string {
    return this.#object
  }

  /**
   * When this mark of ours, as {@link markOf} spells it, began to be written: milliseconds since the epoch,
   * by our clock as it goes now. A clock that was set back since does not make it younger.
   */
  begunAt(mark: string): number | undefined {
    const moment = this.#history.get(mark)
    return moment && this.#deps.now() - ageOf(moment, this.#deps)
  }

  /** What the log tells, in its order. */
  see(changes: readonly Change[]): void {
    for (const { operation, tuple } of changes) {
      const key = markOf({ operation, tuple })
      if (tuple.object !== this.#object || !this.#begunAt.has(key)) continue
      for (const [mark, began] of this.#begunAt) {
        // Those before it were passed, or never came in.
        this.#begunAt.delete(mark)
        this.#seenAt = began
        if (mark === key) break
      }
    }
  }

  /** By `elapsed`: when the newest mark of ours among these changes began to be written. */
  newestIn(changes: readonly Change[]): number | undefined {
    let newest: number | undefined
    for (const { operation, tuple } of changes) {
      const startedAt =
        tuple.object === this.#object ? this.#history.get(markOf({ operation, tuple }))?.elapsed : undefined
      if (startedAt !== undefined) newest = Math.max(newest ?? startedAt, startedAt)
    }
    return newest
  }

  /** A read lacked what another had: only marks that begin to be written from now on count. */
  lost(): void {
    this.#seenAt = undefined
    this.#begunAt.clear()
  }

  /** Somebody asks: marks are written for a minute. */
  wake(): void {
    this.#askedAt = this.#deps.now()
    this.#goOn()
  }

  /**
   * Takes away, of the service's own marks that are stored, those that processes left behind which are gone.
   */
  async sweep(stored: readonly StoredTuple[]): Promise<void> {
    const { fga, now } = this.#deps
    // By OpenFGA's clock, which wrote them all: ours may be ahead, and others' marks are in use.
    const newestAt = stored.reduce((newest, { writtenAt }) => Math.max(newest, writtenAt), 0)
    const latest = Math.min(now(), newestAt)
    const deletes = stored
      .filter(({ object }) => isWatermark(object) && object !== this.#object)
      .filter(({ writtenAt }) => latest - writtenAt > leftMs)
      .map(({ user, relation, object }) => ({ user, relation, object }) as Tuple)
    if (deletes.length > 0) await fga.write({ deletes })
  }

  async [Symbol.asyncDispose](): Promise<void> {
    this.#isClosed = true
    await this.#writing
    clearTimeout(this.#timer)
    const deletes = this.#current === undefined ? this.#left : [this.#current, ...this.#left]
    if (deletes.length > 0) await this.#deps.fga.write({ deletes }).catch(() => undefined)
  }

  async #beat(): Promise<void> {
    const { fga, onWritten, onError } = this.#deps
    const previousMark = this.#current
    const mark: Tuple = previousMark ?? { user: `turn:${++this.#turn}`, relation: 'at', object: this.#object }
    const key = `${previousMark === undefined ? 'write' : 'delete'} ${mark.user}`
    const began = momentOf(this.#deps)
    this.#begunAt.set(key, began)
    this.#history.set(key, began)
    const [oldest] = this.#history.keys()
    if (oldest !== undefined && this.#history.size > historyMax) this.#history.delete(oldest)
    try {
      await fga.write(
        previousMark === undefined
          ? { writes: [mark], deletes: this.#left }
          : { deletes: [mark, ...this.#left] },
      )
      this.#left = []
      this.#current = previousMark === undefined ? mark : undefined
      this.#isFailing = false
      onWritten()
    } catch (error) {
      this.#left.push(mark)
      this.#current = undefined
      if (!this.#isFailing) onError(error)
      this.#isFailing = true
    }
  }

  #goOn(): void {
    const isAwake = isWithin(awakeMs, this.#deps.now() - this.#askedAt)
    if (this.#isClosed || !isAwake || this.#writing !== undefined || this.#timer !== undefined) return
    this.#writing = this.#beat().finally(() => {
      this.#writing = undefined
      this.#timer = setTimeout(() => {
        this.#timer = undefined
        this.#goOn()
      }, everyMs).unref()
    })
  }
}
