import type { MiddlewareHandler } from 'hono'
import { AppError } from '../../kernel/errors.ts'
import type { Principal } from '../../kernel/principal.ts'
import { type AppEnv, addressOf } from '../env.ts'

export interface LimitsOptions {
  readonly perMinute: number
  readonly now: () => number
  /** Buckets kept at most; the idlest go first. Defaults to 100,000. */
  readonly bucketsMax?: number
}

export interface Limits {
  /** Takes one token from the key's bucket; throws 429 with Retry-After when it is empty. */
  take(key: string): void
  /** Puts back what was taken for something that turned out not to count. */
  giveBack(key: string): void
}

interface Bucket {
  tokens: number
  at: number
}

/** Token buckets in this process. Burst = a minute's worth; refilled evenly. */
export function createLimits({ perMinute, now, bucketsMax = 100_000 }: LimitsOptions): Limits {
  const buckets = new Map<string, Bucket>()
  const perMs = perMinute / 60_000
  const take = (key: string): void => {
    const at = now()
    const bucket = buckets.get(key) ?? { tokens: perMinute, at }
    // A clock that is set back must not take tokens away: it would shut everybody out for as long.
    bucket.tokens = Math.min(perMinute, bucket.tokens + Math.max(0, at - bucket.at) * perMs)
    bucket.at = at
    // Moved to the end: the map's order is then idlest first.
    buckets.delete(key)
    buckets.set(key, bucket)
    if (bucket.tokens < 1) {
      const seconds = Math.max(1, Math.ceil((1 - bucket.tokens) / perMs / 1_000))
      throw new AppError('rate_limited', { headers: { 'retry-after': String(seconds) } })
    }
    bucket.tokens -= 1
    if (buckets.size > bucketsMax) {
      const [idlest] = buckets.keys()
      if (idlest !== undefined) buckets.delete(idlest)
    }
  }
  const giveBack = (key: string): void => {
    const bucket = buckets.get(key)
    if (bucket !== undefined) bucket.tokens = Math.min(perMinute, bucket.tokens + 1)
  }
  return { take, giveBack }
}

/** The three buckets of a request. */
export interface Admission {
  /** One for the network address, taken before the token is looked at. */
  readonly address: MiddlewareHandler<AppEnv>
  /** One for the pair of person and agent, one for the client. */
  readonly principal: (principal: Principal) => void
}

// A client or an address may stand for a whole company: at one person's rate, one could shut out all others.
const sharedBy = 20

/** `perMinute` for each person and agent; twenty times that for each client and each address. */
export function createAdmission(options: LimitsOptions): Admission {
  const own = createLimits(options)
  const shared = createLimits({ ...options, perMinute: options.perMinute * sharedBy })
  return {
    async address(c, next) {
      shared.take(`address ${addressOf(c)}`)
      await next()
    },
    principal({ subject, actors, client }) {
      own.take(`subject ${subject} ${actors[0] ?? ''}`)
      shared.take(`client ${client}`)
    },
  }
}
