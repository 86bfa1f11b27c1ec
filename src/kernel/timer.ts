/** Calls `then` after so many milliseconds, and keeps no process up; returns what calls it off. */
export type Timer = (ms: number, then: () => void) => () => void

/** The timers of Node. */
export const realTimer: Timer = (ms, then) => {
  const timer = setTimeout(then, ms).unref()
  return () => clearTimeout(timer)
}
