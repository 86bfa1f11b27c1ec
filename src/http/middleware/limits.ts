import type { MiddlewareHandler } from 'hono'
import { AppError } from '../../kernel/errors.ts'
import type { Principal } from '../../kernel/principal.ts'
import { widerNetworkOf } from '../client-address.ts'
import { type AppEnv, addressOf } from '../env.ts'

/** How many requests a minute a key may make, and how many keys are kept. */
export interface LimitsOptions {
  readonly perMinute: number
  readonly now: () => number
  /** Buckets kept at most; those go first that would be full again first. Defaults to 100,000. */
  readonly bucketsMax?: number
}

/** A token bucket for each key, in memory. */
export interface Limits {
  /** Takes one token from the key's bucket; throws 429 with Retry-After when it is empty. */
  take(key: string): void
  /** Puts back what was taken for something that turned out not to count. */
  giveBack(key: string): void
}

const minuteMs = 60_000
// What a sum of fractions of a minute may be off by.
const tinyMs = 1e-6

/**
 * Token buckets in this process. Burst = a minute's worth; refilled evenly. A bucket is the time at which it
 * is full again (GCRA): one that is full is as good as none.
 */
export function createLimits({ perMinute, now, bucketsMax = 100_000 }: LimitsOptions): Limits {
  const fullAt = new Map<string, number>()
  const soonest = createSoonest()
  const tokenMs = minuteMs / perMinute
  let heard = now()
  let passed = 0
  /** A clock that is set back must not take tokens away: it would shut everybody out for as long. */
  const time = (): number => {
    const time = now()
    passed += Math.max(0, time - heard)
    heard = time
    return passed
  }

  const take = (key: string): void => {
    const checkedAt = time()
    const fullTime = fullAt.get(key)
    const full = Math.max(fullTime ?? 0, checkedAt) + tokenMs
    const wait = full - checkedAt - minuteMs
    if (wait > tinyMs) {
      const seconds = Math.max(1, Math.ceil((wait - tinyMs) / 1_000))
      throw new AppError('rate_limited', { headers: { 'retry-after': String(seconds) } })
    }
    fullAt.set(key, full)
    if (fullTime === undefined) soonest.add({ key, at: full })
    // Never the idlest: whoever comes from ever new addresses would empty the memory of everybody who is
    // bounded.
    while (fullAt.size > bucketsMax) {
      const soonestDue = soonest.take()
      if (soonestDue === undefined) break
      const fullSince = fullAt.get(soonestDue.key) ?? soonestDue.at
      if (fullSince > soonestDue.at) soonest.add({ key: soonestDue.key, at: fullSince })
      else fullAt.delete(soonestDue.key)
    }
  }
  const giveBack = (key: string): void => {
    const full = fullAt.get(key)
    if (full !== undefined) fullAt.set(key, full - tokenMs)
  }
  return { take, giveBack }
}

/** The same for whoever a request counts for: of IPv6 its /64 and, with ten times as much, its /48. */
export function createAddressLimits(options: LimitsOptions): Limits {
  const ownLimits = createLimits(options)
  const wider = createLimits({ ...options, perMinute: options.perMinute * 10 })
  /** `key`: a network, and whatever else is told apart behind a blank. */
  const widerKeyOf = (key: string): string | undefined => {
    const [network = '', ...keyParts] = key.split(' ')
    const found = widerNetworkOf(network)
    return found && [found, ...keyParts].join(' ')
  }
  return {
    take(key) {
      ownLimits.take(key)
      const found = widerKeyOf(key)
      if (found !== undefined) wider.take(found)
    },
    giveBack(key) {
      ownLimits.giveBack(key)
      const found = widerKeyOf(key)
      if (found !== undefined) wider.giveBack(found)
    },
  }
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
  const ownLimits = createLimits(options)
  const shared = createLimits({ ...options, perMinute: options.perMinute * sharedBy })
  const addresses = createAddressLimits({ ...options, perMinute: options.perMinute * sharedBy })
  return {
    async address(c, next) {
      addresses.take(addressOf(c))
      await next()
    },
    principal({ subject, actors, client }) {
      ownLimits.take(`subject ${subject} ${actors[0] ?? ''}`)
      shared.take(client)
    },
  }
}

/** Something that is due at a time. */
interface Due {
  readonly key: string
  readonly at: number
}

/** What is due next, of many: a binary heap. */
function createSoonest() {
  const heap: Due[] = []
  const atOf = (index: number): number => heap[index]?.at ?? Number.POSITIVE_INFINITY
  const swap = (a: number, b: number): void => {
    const [dueA, dueB] = [heap[a], heap[b]]
    if (dueA === undefined || dueB === undefined) return
    heap[a] = dueB
    heap[b] = dueA
  }
  return {
    add(due: Due): void {
      let index = heap.push(due) - 1
      for (
        let parent = (index - 1) >> 1;
        index > 0 && atOf(index) < atOf(parent);
        parent = (index - 1) >> 1
      ) {
        swap(index, parent)
        index = parent
      }
    },
    /** Takes out what is due first. */
    take(): Due | undefined {
      const [top] = heap
      const bottom = heap.pop()
      if (bottom === undefined || heap.length === 0) return top
      heap[0] = bottom
      for (let index = 0; ; ) {
        const leftChild = 2 * index + 1
        const child = atOf(leftChild) <= atOf(leftChild + 1) ? leftChild : leftChild + 1
        if (atOf(child) >= atOf(index)) return top
        swap(index, child)
        index = child
      }
    },
  }
}
