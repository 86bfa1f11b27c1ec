/** Time as an argument: milliseconds since the epoch. Tests pass a fixed or a moving one. */
export interface Clock {
  now(): number
}

export const systemClock: Clock = { now: () => Date.now() }
