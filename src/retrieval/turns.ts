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
  caller: Pick<Principal, 'subject' | 'actors'>,
  deadline: Deadline,
  work: () => Promise<T>,
) => Promise<T>

/** A request that runs or waits, by whose it is. */
interface Place {
  readonly owner: string
}

// Of one process. How many it is for long, the answers decide; one owner has this share of them at most.
const ownShare = 0.75
const [atOnceMin, atOnceAtFirst, atOnceMax] = [4, 16, 64]
// Of one person and agent, and of all: what waits costs memory.
const [ownWaitingMax, waitingMax] = [256, 2_048]
const sayEveryMs = 10_000
// What hangs keeps its place for so long after its deadline. All else stops by itself before.
const overMs = 1_000
// Of a request's whole time: what work may take before it is late, when it should end, how long whoever is
// next waits at least, and how long the others where some have waited all the time.
const [lateShare, endShare, nextShare, hurriedShare] = [0.4, 0.8, 0.5, 0.1]

/**
 * Keeps a process that is asked for more than it can do answering what it can. So many run at once that each
 * is answered in time, and the others wait for as long as they still can be. Where somebody has waited for
 * all of that time, whoever waits is refused soon: else each answer would begin just before it is worth
 * nothing (Maurer, "Fail at Scale", ACM Queue 13(8), 2015). How many run at once grows by one for each round
 * of good answers while others wait. It falls by a fifth for a late one, by half for one that came to its
 * deadline (AIMD). Next is whoever has fewest running: nobody starves another.
 *
 * NOT bounded here: what a request costs before its turn, its token above all.
 */
export function createTurns({ log }: { readonly log: Log }): Turns {
  const running = new Set<Place>()
  const waiting = new Map<Place, () => void>()
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
  /** So that what one owner asks, however long it takes, leaves places to others. */
  const ownMax = (): number => Math.max(1, Math.floor(ownShare * atOnce))

  function goOn(): void {
    while (isFree()) {
      const next = fairNext(waiting.keys(), running, ({ owner }) => owner, ownMax())
      if (next === undefined) break
      const begin = waiting.get(next)
      waiting.delete(next)
      running.add(next)
      begin?.()
    }
  }

  function learn(tookMs: number, wholeMs: number, atOnceNow: number, isOver: boolean): void {
    // Near to the longest of late: whoever begins too late has waited for nothing.
    usualMs += (tookMs - usualMs) / (tookMs > usualMs ? 2 : 16)
    const now = performance.now()
    if (tookMs < lateShare * wholeMs) {
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
    const isCalm = performance.now() - waitedSince <= patientMs
    const waitMs = isNext ? Math.max(patientMs, nextShare * leftMs) : isCalm ? patientMs : hurriedMs
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
      // Whoever else waits may have as many as one may have.
      goOn()
    })
  }

  return async ({ subject, actors }, deadline, work) => {
    const place: Place = { owner: `${subject} ${actors[0] ?? ''}` }
    const wholeMs = deadline.at - deadline.now()
    if (waiting.size === 0 && running.size < ownMax()) running.add(place)
    else await turnOf(place, deadline)
    const beganAt = performance.now()
    const end = (): void => {
      clearTimeout(timer)
      const atOnceNow = running.size
      if (!running.delete(place)) return
      learn(performance.now() - beganAt, wholeMs, atOnceNow, deadline.now() >= deadline.at)
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
