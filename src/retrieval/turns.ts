import { AppError } from '../kernel/errors.ts'
import { fairNext } from '../kernel/fair-next.ts'
import type { Log } from '../kernel/log.ts'
import type { Principal } from '../kernel/principal.ts'
import type { Deadline } from './deadline.ts'

/**
 * Runs the work once it is its turn. Throws `overloaded`, with Retry-After, where it would come too late or
 * its caller has gone: then the work never began.
 */
export type Turns = <T>(
  caller: Pick<Principal, 'subject' | 'actors' | 'kind'>,
  what: 'question' | 'document' | 'collections',
  deadline: Deadline,
  work: () => Promise<T>,
) => Promise<T>

/** A request that runs or waits, by whose it is. */
interface Place {
  readonly owner: string
}

// Of one process. How many it is for long, the answers decide.
const [atOnceMin, atOnceAtFirst, atOnceMax] = [2, 16, 64]
// Of one person and agent, and of all: what waits costs memory.
const [ownWaitingMax, waitingMax] = [256, 2_048]
const sayEveryMs = 10_000
// After its deadline work stops by itself, unless something does not answer.
const overMs = 1_000
// Of a request's whole time: what work may take before it is late, and when it should end.
const [lateShare, endShare, hurriedShare] = [0.4, 0.8, 0.1]
// Late too, of what took so many times as long as the quickest of its kind. Less than that is a pause.
const [lateTimes, lateMsMin] = [4, 100]
// What was quickest may become slower for good: so soon twice as long counts as quick.
const forgetMs = 600_000

/**
 * Keeps a process that is asked for more than it can do answering what it can. So many run at once that each
 * is answered in time, and the others wait for as long as they still can be. Where somebody has waited for
 * all of that time, whoever waits is refused soon: else each answer would begin just before it is worth
 * nothing (Maurer, "Fail at Scale", ACM Queue 13(8), 2015). How many run at once grows by one for each round
 * of good answers while others wait. It falls by a fifth for a late one, by half for one that came to its
 * deadline (AIMD). Late is also what takes four times as long as it does alone: by then OpenFGA or Postgres
 * answers less in all than with fewer at once. Next is whoever has fewest running: nobody starves another.
 *
 * NOT bounded here: what a request costs before its turn, its token above all.
 */
export function createTurns({ log }: { readonly log: Log }): Turns {
  const running = new Set<Place>()
  const waiting = new Map<Place, () => void>()
  const quickest = new Map<string, { readonly ms: number; readonly at: number }>()
  let atOnce = atOnceAtFirst
  let usualMs = 0
  let fewerAt = Number.NEGATIVE_INFINITY
  // Since when somebody has waited all the time.
  let waitedSince = performance.now()

  const refusals = { count: 0, saidAt: Number.NEGATIVE_INFINITY }
  const full = (): AppError => {
    refusals.count += 1
    if (performance.now() - refusals.saidAt >= sayEveryMs) {
      log('overloaded', { refused: refusals.count, at_once: Math.floor(atOnce), waiting: waiting.size })
      Object.assign(refusals, { count: 0, saidAt: performance.now() })
    }
    return new AppError('overloaded', { headers: { 'retry-after': '1' } })
  }

  const isFree = (): boolean => running.size < Math.floor(atOnce)

  function goOn(): void {
    while (isFree()) {
      const next = fairNext(waiting.keys(), running, ({ owner }) => owner, Number.POSITIVE_INFINITY)
      if (next === undefined) break
      const begin = waiting.get(next)
      waiting.delete(next)
      running.add(next)
      begin?.()
    }
  }

  /** When work of a kind is late, by the quickest of it, which this one may be. */
  function lateAfter(kind: string, tookMs: number): number {
    const now = performance.now()
    const known = quickest.get(kind)
    const knownMs = known && known.ms * 2 ** ((now - known.at) / forgetMs)
    const ms = Math.min(knownMs ?? tookMs, tookMs)
    quickest.set(kind, { ms, at: now })
    return Math.max(lateMsMin, lateTimes * ms)
  }

  function learn(tookMs: number, lateMs: number, atOnceNow: number, isOver: boolean): void {
    // Near to the longest of late: whoever begins too late has waited for nothing.
    usualMs += (tookMs - usualMs) / (tookMs > usualMs ? 2 : 16)
    const now = performance.now()
    if (tookMs < lateMs) {
      if (waiting.size > 0) atOnce = Math.min(atOnceMax, atOnce + 1 / atOnce)
      // With few at once something else is slow, and fewer would not help. And those that were begun before
      // it fell are late too: they say nothing of how it is now.
    } else if (atOnceNow > atOnce / 2 && now - fewerAt > tookMs) {
      atOnce = Math.max(atOnceMin, (isOver ? 0.5 : 0.8) * atOnce)
      fewerAt = now
    }
  }

  /** Resolves in the place's turn, when it is among those that run. */
  async function turnOf(place: Place, { signal, at, now }: Deadline): Promise<void> {
    const owners = new Set<string>()
    let [own, ownRunning] = [0, 0]
    for (const { owner } of waiting.keys()) {
      owners.add(owner)
      if (owner === place.owner) own += 1
    }
    for (const { owner } of running) {
      owners.add(owner)
      if (owner === place.owner) ownRunning += 1
    }
    if (own >= ownWaitingMax || waiting.size >= waitingMax || signal.aborted) throw full()
    if (waiting.size === 0) waitedSince = performance.now()
    const leftMs = Math.max(0, at - now())
    const hurriedMs = hurriedShare * leftMs
    const patientMs = Math.max(hurriedMs, endShare * leftMs - usualMs)
    // Whoever has less than an equal share is next: how much others ask for is not theirs to pay.
    const isNext = own + ownRunning < Math.max(1, atOnce / owners.size)
    const waitMs = isNext || performance.now() - waitedSince <= patientMs ? patientMs : hurriedMs
    await new Promise<void>((resolve, reject) => {
      const leave = (): void => {
        clearTimeout(timer)
        signal.removeEventListener('abort', leave)
        waiting.delete(place)
        reject(full())
      }
      const timer = setTimeout(leave, waitMs)
      signal.addEventListener('abort', leave)
      waiting.set(place, () => {
        clearTimeout(timer)
        signal.removeEventListener('abort', leave)
        resolve()
      })
    })
  }

  return async ({ subject, actors, kind }, what, deadline, work) => {
    const place: Place = { owner: `${subject} ${actors[0] ?? ''}` }
    const wholeMs = deadline.at - deadline.now()
    if (waiting.size === 0 && isFree()) running.add(place)
    else await turnOf(place, deadline)
    const beganAt = performance.now()
    const end = (): void => {
      clearTimeout(timer)
      const atOnceNow = running.size
      if (!running.delete(place)) return
      const tookMs = performance.now() - beganAt
      const lateMs = Math.min(lateShare * wholeMs, lateAfter(`${what} ${kind}`, tookMs))
      learn(tookMs, lateMs, atOnceNow, deadline.now() >= deadline.at)
      goOn()
    }
    // Nobody waits for it any more. What hangs must not keep its place.
    const timer = setTimeout(end, Math.max(0, deadline.at - deadline.now()) + overMs)
    try {
      return await work()
    } finally {
      end()
    }
  }
}
