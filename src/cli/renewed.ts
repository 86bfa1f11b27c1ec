import type { TokenSource } from './remit-http.ts'

export interface Issued {
  readonly token: string
  /** Seconds for which it counts. */
  readonly seconds: number
}

/** A token is used for this share of its time: none ends on the way. */
const share = 2 / 3

/** One token for all until it is about to end, then the next. One that was refused is asked for again. */
export function renewed(ask: () => Promise<Issued>, now: () => number): TokenSource {
  let held: Promise<Issued> | undefined
  let until = 0
  return async () => {
    if (held === undefined || now() >= until) {
      const since = now()
      until = Number.POSITIVE_INFINITY
      held = ask()
      try {
        until = since + (await held).seconds * 1_000 * share
      } catch (error) {
        held = undefined
        throw error
      }
    }
    return (await held).token
  }
}
