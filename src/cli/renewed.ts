import type { TokenSource } from './remit-http.ts'

/** A token, and the seconds for which it is good. */
export interface Issued {
  readonly token: string
  /** Seconds for which it counts. */
  readonly seconds: number
}

/** A token is used for this share of its time: none ends on the way. */
const share = 2 / 3

/** One token for all until it is about to end, then the next. One that was refused is asked for again. */
export function renewed(ask: () => Promise<Issued>, now: () => number): TokenSource {
  let token: Promise<Issued> | undefined
  let renewAt = 0
  return async () => {
    if (token === undefined || now() >= renewAt) {
      const requestedAt = now()
      renewAt = Number.POSITIVE_INFINITY
      token = ask()
      try {
        renewAt = requestedAt + (await token).seconds * 1_000 * share
      } catch (error) {
        token = undefined
        throw error
      }
    }
    return (await token).token
  }
}
