import { type AppError, overloaded } from '../kernel/errors.ts'
import type { Log } from '../kernel/log.ts'
import type { Principal } from '../kernel/principal.ts'
import type { Deadline } from './deadline.ts'

/**
 * Runs the work once it is its turn. Throws `overloaded`, with Retry-After, where it would come too late or
 * its caller has gone; after a wait also what the deadline says of a caller who may not ask any more. Then
 * the work never began.
 */
export type InTurn = <T>(
  caller: Pick<Principal, 'subject' | 'actors'>,
  deadline: Deadline,
  work: () => Promise<T>,
) => Promise<T>

/** Who runs and who waits, of one process. */
export interface Turns {
  readonly inTurn: InTurn
  readonly status: () => TurnsStatus
}

/** How many run and wait now, how many may run at once, and how many were refused since the start. */
export interface TurnsStatus {
  readonly running: number
  readonly waiting: number
  readonly atOnce: number
  readonly refused: number
}

/** A person and an agent that speaks for them: what of theirs runs, and begins what waits, in its order. */
interface Owner {
  readonly key: string
  running: number
  readonly waiting: Map<Place, () => void>
}

/** A request that runs or waits, by whose it is. */
interface Place {
  readonly owner: Owner
  /** In which it began. */
  round: Round
}

/** What so many at once got done, while others waited. */
interface Round {
  readonly atOnce: number
  ended: number
  good: number
  /** How long those that ended took, and how many ran as each did. */
  ms: number
  runningSum: number
}

const newRound = (atOnce: number): Round => ({ atOnce, ended: 0, good: 0, ms: 0, runningSum: 0 })

/** Good answers a millisecond, by Little's law: those that run, by how long each takes. */
const rateOf = ({ ended, good, ms, runningSum }: Round): number => ((runningSum / ended) * good) / ms

// Of one process; one owner has this share of them at most.
const ownShare = 0.75
const [atOnceMin, atOnceAtFirst, atOnceMax] = [2, 4, 64]
// More than at first are worth it where they get so many times as much done, and fewer likewise. The rest is
// noise, and what another process on the same machine loses or gains by it.
const worthIt = 1.4
// By so many answers at least, and twice as many as run at once. Where neither fewer nor more did better,
// what does is held for so many such rounds: each try costs some of what gets done, so twice as many each
// time again. After a round that got so many times as much or as little done as usual, for no more than four.
// By chance one of eight answers gets twice as much done now and then.
const [roundMin, roundsHeld, roundsHeldMax, another] = [8, 4, 32, 3]
// Of one person and agent, and of all: what waits costs memory.
const [ownWaitingMax, waitingMax] = [256, 2_048]
const sayEveryMs = 10_000
// What hangs keeps its place for so long after its deadline. All else stops by itself before.
const overMs = 1_000
// Of a request's whole time: what work may take before it is late, when it should end, how long whoever is
// next waits at least, and how long the others where some have waited all the time.
const [lateShare, endShare, nextShare, hurriedShare] = [0.4, 0.8, 0.5, 0.1]

/**
 * Keeps a process that is asked for more than it can do answering what it can. As many run at once as get
 * most done, and the others wait for as long as they still can be answered in time. Where somebody has waited
 * for all of that time, whoever waits is refused soon: else each answer would begin just before it is worth
 * nothing (Maurer, "Fail at Scale", ACM Queue 13(8), 2015). How many get most done is tried out while others
 * wait: twice as many, then half as many, each for a round of answers. Next is whoever has fewest running.
 *
 * NOT bounded here: what a request costs before its turn, its token above all. NOT known here: what other
 * processes on the same cores do.
 */
export function createTurns({ log }: { readonly log: Log }): Turns {
  // Of whom something runs or waits, by who was given a turn longest ago.
  const owners = new Map<string, Owner>()
  const running = new Set<Place>()
  let waitingCount = 0
  let round = newRound(atOnceAtFirst)
  // What the number that is tried is compared with; undefined while none is tried.
  let held: number | undefined
  // What it gets done: of the rounds in which nothing is tried, the last ones above all.
  let heldRate = 0
  // More first: what asks somebody else, such as a model elsewhere, needs no processor for many at once.
  let [isTryingMore, roundsLeft, triedInVain] = [true, 1, 0]
  let usualMs = 0
  let fewerAt = Number.NEGATIVE_INFINITY
  // Since when somebody has waited all the time.
  let waitedSince = performance.now()

  const refusals = { count: 0, said: 0, saidAt: Number.NEGATIVE_INFINITY }
  const full = (): AppError => {
    const { count, said, saidAt } = { ...refusals, count: refusals.count + 1 }
    refusals.count = count
    if (performance.now() - saidAt >= sayEveryMs) {
      log('overloaded', { refused: count - said, at_once: round.atOnce, waiting: waitingCount })
      Object.assign(refusals, { said: count, saidAt: performance.now() })
    }
    return overloaded()
  }

  const isFree = (): boolean => running.size < round.atOnce
  /** So that what one owner asks, however long it takes, leaves places to others. */
  const ownMax = (): number => Math.max(1, Math.floor(ownShare * round.atOnce))

  function ownerOf(key: string): Owner {
    const owner = owners.get(key) ?? { key, running: 0, waiting: new Map() }
    owners.set(key, owner)
    return owner
  }

  function forget(owner: Owner): void {
    const isIdle = owner.running === 0 && owner.waiting.size === 0
    if (isIdle && owners.get(owner.key) === owner) owners.delete(owner.key)
  }

  function begin(place: Place): void {
    const { owner } = place
    owner.running += 1
    running.add(place)
    place.round = round
    // To the end.
    owners.delete(owner.key)
    owners.set(owner.key, owner)
  }

  /** Of those who wait, whoever has fewest running; of these, whoever was given a turn longest ago. */
  function nextOwner(): Owner | undefined {
    let next: Owner | undefined
    for (const owner of owners.values())
      if (owner.waiting.size > 0 && owner.running < (next?.running ?? ownMax())) next = owner
    return next
  }

  function goOn(): void {
    while (waitingCount > 0 && isFree()) {
      const [first] = nextOwner()?.waiting ?? []
      if (first === undefined) break
      const [place, go] = first
      leaveLine(place)
      begin(place)
      go()
    }
  }

  function leaveLine(place: Place): void {
    if (place.owner.waiting.delete(place)) waitingCount -= 1
  }

  function learn(place: Place, tookMs: number, wholeMs: number, isOver: boolean): void {
    // Near to the longest of late: whoever begins too late has waited for nothing.
    usualMs += (tookMs - usualMs) / (tookMs > usualMs ? 2 : 16)
    const now = performance.now()
    // With few at once something else is slow, and fewer would not help. And those that were begun before it
    // fell are late too: they say nothing of how it is now.
    if (tookMs >= lateShare * wholeMs && running.size >= round.atOnce / 2 && now - fewerAt > tookMs) {
      fewerAt = now
      if (held !== undefined && isTryingMore) goBack(held)
      else if (round.atOnce > atOnceAtFirst) hold(round.atOnce / 2, roundsHeld)
    }
    if (waitingCount === 0 || place.round !== round) return
    round.ended += 1
    round.runningSum += running.size + 1
    round.ms += tookMs
    if (!isOver) round.good += 1
    if (round.ended >= Math.max(roundMin, 2 * round.atOnce)) endRound()
  }

  /** Lets so many run for so many rounds, before others are tried. */
  function hold(atOnce: number, rounds: number): void {
    ;[held, round, roundsLeft] = [undefined, newRound(atOnce), rounds]
  }

  /** To the number before, and to the other direction next. */
  function goBack(atOnce: number): void {
    isTryingMore = !isTryingMore
    triedInVain += 1
    const rounds = Math.min(roundsHeldMax, roundsHeld * 2 ** (triedInVain / 2 - 1))
    hold(atOnce, triedInVain % 2 === 0 ? rounds : 1)
  }

  /** Tries half or twice as many as did best. */
  function attempt(best: number): void {
    const atOnce = best * (isTryingMore ? 2 : 0.5)
    if (atOnce < atOnceMin || atOnce > atOnceMax) goBack(best)
    else [held, round] = [best, newRound(atOnce)]
  }

  function endRound(): void {
    const rate = rateOf(round)
    // Nothing got done: what is slow is not here.
    if (round.good === 0) hold(round.atOnce, roundsHeld)
    else if (held !== undefined) {
      const [more, fewer] = isTryingMore ? [rate, heldRate] : [heldRate, rate]
      const factor = Math.min(held, round.atOnce) < atOnceAtFirst ? 1 / worthIt : worthIt
      if (more > factor * fewer !== isTryingMore) goBack(held)
      else {
        ;[triedInVain, heldRate] = [0, rate]
        attempt(round.atOnce)
      }
    } else {
      const isAnother = Math.max(rate / heldRate, heldRate / rate) > another
      heldRate += (rate - heldRate) / (isAnother ? 1 : 4)
      if (isAnother) [triedInVain, roundsLeft] = [0, Math.min(roundsLeft, roundsHeld)]
      if (roundsLeft > 1) hold(round.atOnce, roundsLeft - 1)
      else attempt(round.atOnce)
    }
  }

  /** Resolves in the place's turn, when it is among those that run. */
  async function turnOf(place: Place, { signal, at, now }: Deadline): Promise<void> {
    const { owner } = place
    if (owner.waiting.size >= ownWaitingMax || waitingCount >= waitingMax || signal.aborted) throw full()
    if (waitingCount === 0) waitedSince = performance.now()
    const leftMs = Math.max(0, at - now())
    const hurriedMs = hurriedShare * leftMs
    const patientMs = Math.max(hurriedMs, endShare * leftMs - usualMs)
    // Whoever has less than an equal share is next: how much others ask for is not theirs to pay.
    const isNext = owner.waiting.size + owner.running < Math.max(1, round.atOnce / owners.size)
    const isCalm = performance.now() - waitedSince <= patientMs
    const waitMs = isNext ? Math.max(patientMs, nextShare * leftMs) : isCalm ? patientMs : hurriedMs
    await new Promise<void>((resolve, reject) => {
      const end = (): void => {
        clearTimeout(timer)
        signal.removeEventListener('abort', leave)
      }
      const leave = (): void => {
        end()
        leaveLine(place)
        reject(full())
      }
      const timer = setTimeout(leave, waitMs)
      signal.addEventListener('abort', leave)
      waitingCount += 1
      owner.waiting.set(place, () => {
        end()
        resolve()
      })
      // Whoever else waits may have as many as one may have.
      goOn()
    })
  }

  const inTurn: InTurn = async ({ subject, actors }, deadline, work) => {
    const owner = ownerOf(`${subject} ${actors[0] ?? ''}`)
    const place: Place = { owner, round }
    const wholeMs = deadline.at - deadline.now()
    const waits = waitingCount > 0 || running.size >= ownMax()
    if (!waits) begin(place)
    else await turnOf(place, deadline).finally(() => forget(owner))
    const beganAt = performance.now()
    const end = (): void => {
      clearTimeout(timer)
      if (!running.delete(place)) return
      owner.running -= 1
      forget(owner)
      learn(place, performance.now() - beganAt, wholeMs, deadline.now() >= deadline.at)
      goOn()
    }
    // Nobody waits for it any more. What hangs must not keep its place.
    const timer = setTimeout(end, Math.max(0, deadline.at - deadline.now()) + overMs)
    try {
      if (waits) await deadline.assertStands?.()
      return await work()
    } finally {
      end()
    }
  }

  return {
    inTurn,
    status: () => ({
      running: running.size,
      waiting: waitingCount,
      atOnce: round.atOnce,
      refused: refusals.count,
    }),
  }
}
