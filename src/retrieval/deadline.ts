import { AppError } from '../kernel/errors.ts'
import { withTimeout } from '../kernel/with-timeout.ts'

/** The end of one request: a signal for what can be stopped, a time for what must be asked. */
export interface Deadline {
  readonly signal: AbortSignal
  /** Milliseconds since the epoch. */
  readonly at: number
  readonly now: () => number
  /**
   * Throws where whoever asks may not ask any more, or not for as much: for whoever let them wait.
   * `under_way`: what they began may outlive their token, if nothing that it rests on was taken back. Left
   * out: nobody was asked for a token.
   */
  readonly assertStands?: (as?: 'under_way') => Promise<void>
}

// What was proven by the deadline is still read and put on record; that long it may take.
const graceMs = 200

/**
 * The outcome of `work`, or `deadline_exceeded` soon after the deadline, whatever it waits for. What was
 * going on may go on to its own end, but nothing of it leaves.
 */
export async function inTime<T>({ at: deadlineMs, now }: Deadline, promise: Promise<T>): Promise<T> {
  const outcome = await withTimeout(Math.max(0, deadlineMs + graceMs - now()), promise, expired)
  if (outcome === expired) throw new AppError('deadline_exceeded')
  return outcome
}

const expired: unique symbol = Symbol('expired')

/** Whether the deadline has passed or the caller has gone. */
export const isOver = ({ signal, at: deadlineMs, now }: Deadline): boolean =>
  signal.aborted || now() >= deadlineMs
