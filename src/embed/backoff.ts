import type { Timer } from '../kernel/timer.ts'
import { EmbeddingError } from './embedder.ts'

/** A call's place: what it tells counts only while nothing newer is known. */
export type Turn = number

/** What all callers of an endpoint know of it together. */
export interface Backoff {
  /**
   * Resolves when a call may go: at once while all is well. After a failure when the pause is over, one call
   * first and the others once that one succeeded. Rejects as `unavailable` where that would take too long:
   * after `failuresMax` failures in a row, or where the endpoint asked for more than a minute. A probe waits
   * out the failures.
   */
  turn(signal: AbortSignal, isProbe?: boolean): Promise<Turn>
  /** The endpoint is away or has too much to do. `retryAfterMs` is what it asked for. */
  failed(turn: Turn, retryAfterMs: number | undefined): void
  /** It answered: what was asked, or that it does not take that. */
  answered(turn: Turn): void
  /** The call ended, and says nothing of the endpoint. */
  stopped(): void
  /** Somebody else was asked to wait. */
  hold(ms: number): void
}

/** Time and chance are passed in. */
export interface BackoffOptions {
  /** Failures in a row after which nobody is kept waiting. */
  readonly failuresMax: number
  /** The longest pause that no answer asked for, in milliseconds. */
  readonly pauseMsMax: number
  /** In milliseconds; never goes back: a pause would last for as long as a clock was set back by. */
  readonly elapsed: () => number
  readonly timer: Timer
  /** From 0 to 1. */
  readonly random: () => number
}

const firstPauseMs = 500
/** Whoever has to wait for longer is told so: a task is better tried anew than held. */
const waitMsMax = 60_000
/** An endpoint that asks for a year is asked again after this. */
const askedMsMax = 600_000

/** Pauses that double, a little apart from each other, or as long as the endpoint asked for. */
export function createBackoff({ failuresMax, pauseMsMax, elapsed, timer, random }: BackoffOptions): Backoff {
  let failures = 0
  let until = 0
  let newest: Turn = 0
  let isTrying = false
  let changed = Promise.withResolvers<void>()

  function tell(): void {
    changed.resolve()
    changed = Promise.withResolvers()
  }

  async function wait(ms: number | undefined, signal: AbortSignal): Promise<void> {
    const over = Promise.withResolvers<void>()
    const stop = (): void => over.reject(signal.reason)
    signal.addEventListener('abort', stop, { once: true })
    const callOff = ms === undefined ? undefined : timer(ms, over.resolve)
    try {
      await Promise.race([changed.promise, over.promise])
    } finally {
      callOff?.()
      signal.removeEventListener('abort', stop)
    }
  }

  return {
    async turn(signal, isProbe = false) {
      for (;;) {
        signal.throwIfAborted()
        const pause = until - elapsed()
        if (pause > 0) {
          if (pause > waitMsMax || (failures > failuresMax && !isProbe)) throw away()
          await wait(pause, signal)
        } else if (failures > 0 && isTrying) await wait(undefined, signal)
        else {
          isTrying = failures > 0
          return newest
        }
      }
    },
    failed(turn, retryAfterMs) {
      isTrying = false
      // Of calls that went at the same time the first one counts.
      if (turn === newest) {
        failures++
        newest++
        const pause = Math.min(pauseMsMax, firstPauseMs * 2 ** (failures - 1)) * (0.75 + random() / 4)
        until = elapsed() + Math.min(retryAfterMs ?? pause, askedMsMax)
      } else if (retryAfterMs !== undefined)
        until = Math.max(until, elapsed() + Math.min(retryAfterMs, askedMsMax))
      tell()
    },
    answered(turn) {
      isTrying = false
      if (turn === newest) failures = 0
      tell()
    },
    stopped() {
      isTrying = false
      tell()
    },
    hold(ms) {
      until = Math.max(until, elapsed() + Math.min(ms, askedMsMax))
    },
  }
}

const away = (): EmbeddingError =>
  new EmbeddingError('unavailable', 'The embedding endpoint does not answer: it is given time.')
