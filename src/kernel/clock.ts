/** Time as an argument: milliseconds since the epoch. Tests pass a fixed or a moving one. */
export interface Clock {
  now(): number
}

/** The machine's clock, in milliseconds since the epoch. */
export const systemClock: Clock = { now: () => Date.now() }
