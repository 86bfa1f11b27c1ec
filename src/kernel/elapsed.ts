// Two reads of clocks that are cut to milliseconds, and not made at once, differ by a little.
const grainMs = 20

/**
 * Milliseconds since no moment in particular, for ages: they never go back, and go on while the machine
 * sleeps. The clock that never jumps (`performance.now`) stands still then, and the machine's can be set. So
 * this is the first one, and all by which the second one gained on it: what is too old by either is too old.
 * A clock that is set forward makes everything older once. NOT seen: a sleep during which the clock is set
 * back by more. Defaults: this process's two clocks.
 */
export function createElapsed(
  wall: () => number = Date.now,
  steady: () => number = () => performance.now(),
): () => number {
  let gainedMs = 0
  let lastOffset = wall() - steady()
  return () => {
    const steadyMs = steady()
    const offset = wall() - steadyMs
    const gain = offset - lastOffset
    if (gain > grainMs) gainedMs += gain
    if (gain > grainMs || gain < 0) lastOffset = offset
    return steadyMs + gainedMs
  }
}

/** Of this process: `Date` is looked up at each call. */
export const ownElapsed: () => number = createElapsed(() => Date.now())

/**
 * By how many milliseconds this process is older than it ran: what the machine slept, and what its clock was
 * set forward by. Off by some hundredths of a second.
 */
export const ownSleptMs = (): number => ownElapsed() - performance.now()

/** The machine's clock, and the one for ages. */
export interface Clocks {
  /** Milliseconds since the epoch. */
  readonly now: () => number
  /** For ages, in milliseconds. Default: this process's. */
  readonly elapsed?: () => number
}

/** By both of {@link Clocks}. */
export interface Moment {
  /** Milliseconds since the epoch. */
  readonly at: number
  readonly elapsed: number
}

/** What both clocks say now. */
export const momentOf = ({ now, elapsed = ownElapsed }: Clocks): Moment => ({ at: now(), elapsed: elapsed() })

/** Milliseconds since then, by the clock that says more; less than none where the machine's was set back. */
export function ageOf(moment: Moment, { now, elapsed = ownElapsed }: Clocks): number {
  const age = now() - moment.at
  return age < 0 ? age : Math.max(age, elapsed() - moment.elapsed)
}
