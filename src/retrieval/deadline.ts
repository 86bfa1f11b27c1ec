/** The end of one request: a signal for what can be stopped, a time for what must be asked. */
export interface Deadline {
  readonly signal: AbortSignal
  /** Milliseconds since the epoch. */
  readonly at: number
  readonly now: () => number
}

export const isOver = ({ signal, at, now }: Deadline): boolean => signal.aborted || now() >= at
