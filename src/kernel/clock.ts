/** Time as an argument: milliseconds since the epoch. Tests pass a fixed or a moving one. */
export interface Clock {
  now(): number
}

/**
 * By how many milliseconds a process's clock may differ from the database's: beyond that it answers nobody
 * (decision 0093). What ended is remembered for so long after it is over: a process whose clock is behind
 * still takes it.
 */
export const clocksApartMs = 300_000

/**
 * Whether `at` is at most `ms` before `now`, all in milliseconds. False too where it is further ahead than
 * clocks differ: this one was set back, and nobody can tell how long ago it was.
 */
export const isNoOlderThan = (ms: number, at: number, now: number): boolean =>
  now - at <= ms && now - at >= -clocksApartMs

/** The machine's clock, in milliseconds since the epoch. */
export const systemClock: Clock = { now: () => Date.now() }
