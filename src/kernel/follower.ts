import { ownElapsed } from './elapsed.ts'
import { createSerialQueue, type SerialQueue } from './serial-queue.ts'
import { realTimer, type Timer } from './timer.ts'

/** Times are in milliseconds. */
export interface FollowerOptions<Connection extends AsyncDisposable> {
  /**
   * Reads what is new and takes it in. Runs never overlap. `connection` is the one that `connect` opened, and
   * undefined without a `connect` or where somebody asked for a read past it.
   */
  readonly read: (connection: Connection | undefined) => Promise<void>
  /** Milliseconds between the end of one poll and the next. Left out: nothing is polled. */
  readonly pollMs?: number | undefined
  /** Milliseconds until the next poll after so many that failed in a row. Default: `pollMs`. */
  readonly retryMs?: (failures: number) => number
  /** What a poll does. Default: one read. */
  readonly poll?: () => Promise<void>
  /**
   * Opens a connection that tells of changes. It is opened before the first read over it, closed when a poll
   * fails, and opened anew.
   */
  readonly connect?: () => Promise<Connection>
  /** Called when a poll, or a read that `wake` began, fails: for how often in a row. Not after the end. */
  readonly onFailed?: (error: unknown, failures: number) => void
  /** Called when a poll comes through after one that failed. */
  readonly onRecovered?: () => void
  /** For ages, in milliseconds. Default: this process's (kernel/elapsed.ts). */
  readonly elapsed?: () => number
  /** Default: real time. */
  readonly timer?: Timer
}

/**
 * Keeps something in memory that others change, by reading on from where it stands: one read at a time, a
 * poll that tells deafness once, a time by which to tell what is stale, and an end that waits for what is
 * under way. Disposing ends the polls, waits for reads and closes the connection.
 */
export interface Follower extends AsyncDisposable, Pick<SerialQueue, 'run' | 'shared'> {
  /** When the last read that came through began, by `elapsed`; undefined before the first. */
  readonly readAt: number | undefined
  /** Whether a read came through that began at most so many milliseconds ago. */
  isFresh(ms: number): boolean
  /**
   * A read past the connection that begins after this call; callers who wait for the same one share it.
   * Rejects.
   */
  refresh(): Promise<void>
  /**
   * Somebody told of a change: reads over the connection, and opens it where there is none. A failure is told
   * to `onFailed`.
   */
  wake(): void
  /** Polls now, or waits for the poll that is under way. Never rejects. */
  poll(): Promise<void>
  /**
   * Polls after so many milliseconds, in place of the poll that is due, and goes on from there. Default:
   * `pollMs`.
   */
  start(afterMs?: number): void
}

/** Nothing is read before the first `start`, `poll`, `wake` or `refresh`. */
export const createFollower = <Connection extends AsyncDisposable>(
  options: FollowerOptions<Connection>,
): Follower => new SerialFollower(options)

class SerialFollower<Connection extends AsyncDisposable> implements Follower {
  readonly #options: FollowerOptions<Connection>
  readonly #elapsed: () => number
  readonly #queue = createSerialQueue()
  readonly #readOverConnection: () => Promise<void>
  #connection: Connection | undefined
  #readAt: number | undefined
  #failures = 0
  #polling: Promise<void> | undefined
  #cancelPoll: (() => void) | undefined
  #isClosed = false

  readonly run = this.#queue.run
  readonly shared = this.#queue.shared
  readonly refresh: () => Promise<void>

  constructor(options: FollowerOptions<Connection>) {
    this.#options = options
    this.#elapsed = options.elapsed ?? ownElapsed
    this.refresh = this.#queue.shared(() => this.#read(undefined))
    this.#readOverConnection = this.#queue.shared(async () => this.#read(await this.#connected()))
  }

  get readAt(): number | undefined {
    return this.#readAt
  }

  isFresh(ms: number): boolean {
    return this.#readAt !== undefined && this.#elapsed() - this.#readAt <= ms
  }

  wake(): void {
    // A connection that is opened now would stay.
    if (this.#isClosed) return
    this.#readOverConnection().catch((error: unknown) => this.#fail(error))
  }

  poll(): Promise<void> {
    this.#polling ??= this.#pollOnce().finally(() => {
      this.#polling = undefined
    })
    return this.#polling
  }

  start(afterMs: number | undefined = this.#options.pollMs): void {
    if (this.#isClosed || afterMs === undefined) return
    this.#cancelPoll?.()
    const { timer = realTimer } = this.#options
    this.#cancelPoll = timer(afterMs, () => void this.poll().then(() => this.start(this.#nextMs())))
  }

  async [Symbol.asyncDispose](): Promise<void> {
    this.#isClosed = true
    this.#cancelPoll?.()
    await this.#polling
    await this.#queue.idle()
    await this.#connection?.[Symbol.asyncDispose]()
  }

  /** Whatever came before it listens is found by the read after. */
  async #connected(): Promise<Connection | undefined> {
    this.#connection ??= await this.#options.connect?.()
    return this.#connection
  }

  /** A read that fails leaves `readAt` as it was: what is in memory is no fresher for it. */
  async #read(connection: Connection | undefined): Promise<void> {
    const beganAt = this.#elapsed()
    await this.#options.read(connection)
    this.#readAt = beganAt
  }

  async #pollOnce(): Promise<void> {
    const { poll = this.#readOverConnection, onRecovered } = this.#options
    try {
      await poll()
      if (this.#failures > 0) onRecovered?.()
      this.#failures = 0
    } catch (error) {
      this.#connection?.[Symbol.asyncDispose]().then(undefined, () => undefined)
      this.#connection = undefined
      this.#fail(error)
    }
  }

  #fail(error: unknown): void {
    if (this.#isClosed) return
    this.#failures += 1
    this.#options.onFailed?.(error, this.#failures)
  }

  #nextMs(): number | undefined {
    const { pollMs, retryMs } = this.#options
    return this.#failures > 0 && retryMs !== undefined ? retryMs(this.#failures) : pollMs
  }
}
