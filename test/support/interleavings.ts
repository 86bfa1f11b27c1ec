import { AsyncLocalStorage } from 'node:async_hooks'
import { createHash } from 'node:crypto'
import { setImmediate as turn } from 'node:timers/promises'
import type { Random } from '../../packages/engine/test/support/random.ts'
import type { FgaApi } from '../../src/authz/fga-api.ts'
import type { Database } from '../../src/store/sql.ts'

/** Of the two workers. */
export type Side = 'A' | 'B'
/**
 * What comes next. `A`: it takes one step. `A!`: it ends there as of `kill -9`, and Postgres rolls back.
 * `A~`: it stands still there until the other has ended, and all that it held has run out.
 */
export type Choice = Side | `${Side}!` | `${Side}~`

/** Whether somebody stands still from there on: of a choice, or a step of a run. */
export const isPause = (said: string): boolean => /^.~/.test(said)

/** How a worker ended: with what it answered, with an error, or not at all yet. `died`: it was ended. */
export type Outcome =
  | { readonly value: unknown }
  | { readonly error: string }
  | { readonly is: 'under way' | 'died' }
export type Outcomes = Readonly<Record<Side, Outcome>>

/** Two workers, each on connections of its own, on what they both change. */
export interface Pair {
  readonly name: string
  /** The test's own connections, past all steps. */
  readonly database: Database
  /** By which Postgres knows each worker's connections. */
  readonly applications: Readonly<Record<Side, string>>
  /** The statement by which a worker looks again whether the other is done, and all that it does between. */
  readonly polls?: { readonly asks: RegExp; readonly between: RegExp }
  /** `mark` is in every name that is new, and in no other run's. */
  begin(mark: string): Promise<Begun>
}

/** One run of a {@link Pair}. */
export interface Begun {
  readonly A: () => Promise<unknown>
  readonly B: () => Promise<unknown>
  /** All that is committed and that either of them reads or writes. */
  look(): Promise<unknown>
  /** What is wrong by now, whatever is still to come. */
  wrong?(seen: unknown, outcomes: Outcomes): string | undefined
  /** What {@link Pair.polls} look at: a worker looks once more when that is another. */
  held?(): Promise<unknown>
  /** Time passes: leases are over. */
  timePasses(): Promise<void>
  /** What a restart does after it; then what is wrong in the end. `said`: each step, as `A~ commit`. */
  end(outcomes: Outcomes, said: readonly string[]): Promise<string | undefined>
  /** Takes away what would keep the next run waiting. */
  close(): Promise<void>
}

/** What was found over all orders that were run. */
export interface Explored {
  /** Runs, each of another order. */
  readonly orders: number
  /** Of these those that went to their end; others came to a state from which all was known. */
  readonly whole: number
  readonly states: number
  readonly steps: number
  /** Ended by one of `kill -9`, and by one that stood still. */
  readonly crashes: number
  readonly pauses: number
  /** What was wrong, with the steps that led to it. */
  readonly wrong: readonly string[]
  /** Whether no order was left out for a limit. */
  readonly isAll: boolean
}

export interface ExploreOptions {
  /** How often a worker is left for the other that could go on. Default: as often as may be. */
  readonly switchesMax?: number
  /** Stops here, or at the first that is wrong. */
  readonly ordersMax?: number
  readonly stopsAtWrong?: boolean
  /** Draws orders, instead of one after the other. */
  readonly random?: Random
  /** Without those that end or stand still. */
  readonly noFaults?: boolean
}

/** Thrown into a worker that was ended. */
class Ended extends Error {}

/** What a step is to who looks from outside. */
interface Kind {
  /** It may change something that stays, once it is done. */
  readonly changes: boolean
  /** Inside a transaction, of which nothing stays before its commit. */
  readonly inside?: boolean
  /** Before anything of its transaction was done. */
  readonly first?: boolean
}

interface Standing extends Kind {
  readonly name: string
  readonly go: () => void
  readonly fail: (error: Error) => void
}

interface Worker {
  readonly side: Side
  readonly standing: Standing[]
  /** Calls that were let go and have not been answered. */
  underWay: number
  isDead: boolean
  isPaused: boolean
  outcome: Outcome
  /** Settles once nothing of it is under way any more. */
  over: Promise<void>
  /** Digest of all that it was answered. */
  heard: string
  steps: number
  /** What was held when it looked whether the other is done; undefined: it did not look last. */
  polled: string | undefined
  readonly hear: (name: string, answer: unknown) => void
  changed: () => void
}

const current = new AsyncLocalStorage<Worker>()
let running: Readonly<Record<Side, Worker>> | undefined

/** Runs what a worker asked of a server, in this process, as that worker. Outside of a run: just it. */
export function asWorker<T>(side: Side, work: () => T): T {
  const worker = running?.[side]
  return worker === undefined ? work() : current.run(worker, work)
}

/** A call that a worker stands before until it is let go. Outside of a worker: just the call. */
export async function atStep<T>(
  name: string,
  call: () => Promise<T>,
  kind: Kind = { changes: true },
  /** What of the answer is the same in each run. */
  heard: (answer: T) => unknown = (answer) => answer,
): Promise<T> {
  const worker = current.getStore()
  if (worker === undefined) return call()
  if (worker.isDead) throw new Ended('This worker was ended.')
  await new Promise<void>((go, fail) => {
    worker.standing.push({ name, go, fail, ...kind })
    worker.changed()
  })
  worker.underWay += 1
  try {
    const answer = await call()
    worker.hear(name, heard(answer))
    return answer
  } catch (error) {
    worker.hear(name, String(error))
    throw error
  } finally {
    worker.underWay -= 1
    worker.changed()
  }
}

/** Each statement a step; of a transaction also its commit. */
export function overDatabase(real: Database): Database {
  return {
    ...real,
    query: (text, values) =>
      atStep(nameOf(text), () => real.query(text, values), { changes: changing.test(text) }),
    queryFixedPlan: (statement, values) =>
      atStep(nameOf(statement.text), () => real.queryFixedPlan(statement, values), { changes: false }),
    transaction: (work) =>
      real.transaction(async (sql) => {
        let first = true
        const result = await work({
          query(text, values) {
            const kind = { changes: changing.test(text), inside: true, first }
            first = false
            return atStep(nameOf(text), () => sql.query(unhurried(text), values), kind)
          },
        })
        await atStep('commit', async () => undefined)
        return result
      }),
  }
}

/** Each call a step. */
export const overOpenfga = (real: FgaApi): FgaApi =>
  new Proxy(real, {
    get(target, member) {
      const value: unknown = Reflect.get(target, member)
      if (typeof value !== 'function') return value
      return (...parameters: readonly unknown[]) =>
        atStep(
          `OpenFGA ${String(member)}`,
          async () => value.apply(target, parameters) as { readonly result?: object },
          { changes: member === 'write' },
          // Its checks have other numbers each time.
          (answer) => (member === 'batchCheck' ? Object.values(answer.result ?? {}) : answer),
        )
    },
  })

/** Who waits for a lock waits until the other has gone on: how long that takes says nothing of the order. */
const unhurried = (text: string): string =>
  current.getStore() === undefined
    ? text
    : text.replace(/^set local lock_timeout = \d+$/, 'set local lock_timeout = 0')

const changing = /\b(insert|update|delete)\b/

const nameOf = (text: string): string => text.trim().replace(/\s+/g, ' ').slice(0, 70)

/** Runs the two in one order after the other. */
export async function explore(pair: Pair, options: ExploreOptions = {}): Promise<Explored> {
  const { ordersMax = Infinity, stopsAtWrong = false, random, switchesMax = Infinity } = options
  const found = { orders: 0, whole: 0, steps: 0, crashes: 0, pauses: 0 }
  const wrong: string[] = []
  /** With how many switches that were left each was reached. */
  const states = new Map<string, number>()
  const stack: { readonly choices: readonly Choice[]; next: number }[] = []
  let isAll = random === undefined
  for (;;) {
    if (found.orders >= ordersMax) {
      isAll = false
      break
    }
    const replayed = random === undefined ? stack.map(({ choices, next }) => choices[next] as Choice) : []
    const outcome = await runOne(
      pair,
      options,
      (depth, choices, key, switchesLeft) => {
        if (depth < replayed.length) {
          return replayed[depth]
        }
        const before = states.get(key)
        states.set(key, Math.max(before ?? 0, switchesLeft))
        if (random !== undefined) return draw(random, choices)
        if (before !== undefined && before >= switchesLeft) return undefined
        stack.push({ choices, next: 0 })
        return choices[0]
      },
      replayed.length,
    )
    found.orders += 1
    found.steps += outcome.steps
    if (outcome.isWhole) {
      found.whole += 1
      if (outcome.choices.some((choice) => choice.endsWith('!'))) found.crashes += 1
      if (outcome.choices.some(isPause)) found.pauses += 1
    }
    if (outcome.wrong !== undefined)
      wrong.push(`${pair.name}: ${outcome.wrong}\n  ${outcome.said.join('\n  ')}`)
    if (wrong.length > 0 && stopsAtWrong) {
      isAll = false
      break
    }
    if (random !== undefined) continue
    while (stack.length > 0 && (stack.at(-1)?.next ?? 0) >= (stack.at(-1)?.choices.length ?? 0) - 1)
      stack.pop()
    const last = stack.at(-1)
    if (last === undefined) break
    last.next += 1
  }
  void switchesMax
  return { ...found, states: states.size, wrong, isAll }
}

/** Mostly goes on; else to the other, and now and then a fault. */
function draw(random: Random, choices: readonly Choice[]): Choice {
  const steps = choices.filter((choice) => choice.length === 1)
  const faults = choices.filter((choice) => choice.length > 1)
  if (faults.length > 0 && random.chance(0.03)) return random.pick(faults)
  return random.chance(0.7) ? (steps[0] as Choice) : random.pick(steps)
}

interface Run {
  readonly choices: readonly Choice[]
  readonly said: readonly string[]
  readonly steps: number
  /** Went to its end. */
  readonly isWhole: boolean
  readonly wrong: string | undefined
}

type Decide = (
  depth: number,
  choices: readonly Choice[],
  key: string,
  switchesLeft: number,
) => Choice | undefined

let runs = 0

async function runOne(
  pair: Pair,
  { switchesMax = Infinity, noFaults = false }: ExploreOptions,
  decide: Decide,
  /** Choices that only lead to where something new begins: nothing is looked at before. */
  replays: number,
): Promise<Run> {
  runs += 1
  const mark = `r${String(runs).padStart(6, '0')}x${process.pid}r`
  const begun = await pair.begin(mark)
  const normal = createNormal(mark)
  normal(await begun.look())
  let passed = 0
  const timePasses = async () => {
    passed += 1
    for (const worker of [A, B]) if (worker.isPaused) await endTransactions(pair, worker)
    await begun.timePasses()
  }
  const workers = { A: startWorker('A', begun.A, normal), B: startWorker('B', begun.B, normal) }
  const { A, B } = workers
  running = workers
  const otherOf = (worker: Worker): Worker => (worker === A ? B : A)
  const outcomes = (): Outcomes => ({ A: A.outcome, B: B.outcome })
  const choices: Choice[] = []
  const said: string[] = []
  let switches = 0
  let last: Side = 'A'
  let steps = 0
  let wrong: string | undefined

  const isOver = (worker: Worker): boolean => !('is' in worker.outcome) || worker.outcome.is === 'died'
  const isLooking = ({ standing: [step] }: Worker): boolean =>
    step !== undefined && pair.polls?.asks.test(step.name) === true
  /** Whether it would look once more at what it has seen. */
  const isPolling = async (worker: Worker): Promise<boolean> =>
    isLooking(worker) && worker.polled !== undefined && worker.polled === (await heldNow())
  const heldNow = async (): Promise<string> => normal(await begun.held?.())
  const end = (worker: Worker): Promise<void> => {
    worker.isDead = true
    for (const { fail } of worker.standing.splice(0)) fail(new Ended('This worker was ended.'))
    return worker.over
  }

  try {
    for (;;) {
      const blocked = { A: await stand(pair, A), B: await stand(pair, B) }
      // What B did last, a commit say, may have come to its end since.
      if (blocked.A) blocked.A = await stand(pair, A)
      // Who waits for one that stands still waits until Postgres, or a lease, ends that.
      for (const worker of [A, B]) {
        const other = otherOf(worker)
        if (isOver(worker) || worker.isPaused) continue
        if (blocked[worker.side] && other.isPaused) {
          await endTransactions(pair, other)
          blocked[worker.side] = await stand(pair, worker)
        }
        if ((await isPolling(worker)) && (other.isPaused || isOver(other))) {
          await timePasses()
          worker.polled = undefined
        }
      }
      for (const worker of [A, B]) {
        if (!worker.isPaused || !isOver(otherOf(worker))) continue
        await timePasses()
        worker.isPaused = false
      }
      const able = [A, B].filter(
        (worker) =>
          !isOver(worker) && !worker.isPaused && !blocked[worker.side] && worker.standing.length > 0,
      )
      if (able.length === 0) {
        if (isOver(A) && isOver(B)) break
        // Each waits for a row of the other: Postgres ends one of them after a second.
        await new Promise((resolve) => setTimeout(resolve, 20))
        continue
      }
      const ready: Worker[] = []
      for (const worker of able) if (!(await isPolling(worker))) ready.push(worker)
      const enabled = (ready.length > 0 ? ready : able).map(({ side }) => side)
      const mayStay = enabled.includes(last)
      const steady: Side[] = mayStay && switches >= switchesMax ? [last] : enabled
      steady.sort((a, b) => Number(b === last) - Number(a === last))
      const hadFault = choices.some((choice) => choice.length > 1)
      const offered: Choice[] = [
        ...steady,
        ...(noFaults || hadFault ? [] : able.flatMap((worker) => faultsOf(worker, isOver(otherOf(worker))))),
      ]
      const isNew = choices.length >= replays
      let key = ''
      if (isNew) {
        const seen = await begun.look()
        wrong = begun.wrong?.(seen, outcomes())
        if (wrong !== undefined) break
        const parts = [A, B].map((worker) => [
          isOver(worker) ? JSON.stringify(worker.outcome) : worker.heard,
          worker.isPaused,
          blocked[worker.side],
        ])
        key = digest(normal([parts, seen, passed, hadFault, switchesMax === Infinity ? '' : last]))
      }
      const choice = decide(choices.length, offered, key, switchesMax - switches)
      if (choice === undefined) break
      if (!offered.includes(choice)) {
        const where = [A, B].map(
          ({ side, standing: [step], underWay }) => `${side} ${step?.name} ${underWay} ${blocked[side]}`,
        )
        throw new Error(
          `${pair.name} is not the same twice: ${choice} is none of ${offered.join(' ')}: ${[...where, ...said].join('\n')}`,
        )
      }
      choices.push(choice)
      if (choices.length > stepsMax)
        throw new Error(`${pair.name} comes to no end: ${said.slice(-80).join('\n')}`)
      const worker = workers[choice[0] as Side]
      const [step] = worker.standing
      said.push(`${choice} ${step?.name}`)
      if (choice.length > 1) {
        if (choice.endsWith('!')) await end(worker)
        else worker.isPaused = true
        continue
      }
      if (mayStay && choice !== last) switches += 1
      last = worker.side
      steps += 1
      worker.steps += 1
      const isLookingAt = isLooking(worker)
      worker.standing.shift()
      if (isLookingAt) worker.polled = await heldNow()
      else if (pair.polls?.between.test(step?.name ?? '') !== true) worker.polled = undefined
      step?.go()
    }
    const isWhole = isOver(A) && isOver(B)
    if (wrong === undefined && isWhole) {
      await timePasses()
      wrong = await begun.end(outcomes(), said)
      if (wrong !== undefined) said.push(JSON.stringify(outcomes()))
    }
    return { choices, said, steps, isWhole, wrong }
  } finally {
    // Together: one of them may wait for a row of the other.
    await Promise.all([A, B].map(end))
    running = undefined
    await begun.close()
  }
}

/**
 * An end before what only reads is one before what comes next; one inside a transaction is one before its
 * commit, since nothing of it stays. Who stands still there reads later what it would read anyway.
 */
function faultsOf({ side, steps, standing: [step] }: Worker, isAlone: boolean): Choice[] {
  if (steps === 0 || step === undefined) return []
  const ends = step.changes && step.inside !== true
  const stands = !isAlone && (ends || step.first === true)
  return [...(ends ? [`${side}!` as const] : []), ...(stands ? [`${side}~` as const] : [])]
}

function startWorker(side: Side, work: () => Promise<unknown>, normal: (value: unknown) => string): Worker {
  const worker: Worker = {
    side,
    standing: [],
    underWay: 0,
    isDead: false,
    isPaused: false,
    outcome: { is: 'under way' },
    over: Promise.resolve(),
    heard: '',
    steps: 0,
    polled: undefined,
    changed: () => undefined,
    hear(name, answer) {
      worker.heard = digest(`${worker.heard}\n${name}\n${normal(answer)}`)
    },
  }
  const ended = (outcome: Outcome): void => {
    worker.outcome = worker.isDead ? { is: 'died' } : outcome
    worker.changed()
  }
  current.run(worker, () => {
    worker.over = work().then(
      (value) => ended({ value }),
      (error: unknown) => ended({ error: String(error) }),
    )
  })
  return worker
}

const waitsMs = 4
const stepsMax = 400
const patienceMs = 60_000

/** Waits until it stands before its next step or has ended. True: it waits for a lock of the other. */
async function stand(pair: Pair, worker: Worker): Promise<boolean> {
  const until = performance.now() + patienceMs
  let waits = waitsMs
  const isStanding = (): boolean =>
    worker.underWay === 0 &&
    (worker.standing.length > 0 || !('is' in worker.outcome) || worker.outcome.is === 'died')
  for (;;) {
    if (isStanding()) {
      // What it does at once beside that arrives too.
      await turn()
      if (isStanding()) return false
      continue
    }
    const changed = new Promise<void>((resolve) => {
      worker.changed = resolve
    })
    let timer: NodeJS.Timeout | undefined
    const late = new Promise<boolean>((resolve) => {
      timer = setTimeout(resolve, waits, true)
    })
    const isLate = await Promise.race([changed.then(() => false), late])
    clearTimeout(timer)
    if (!isLate) continue
    // On a busy machine most of what is late is only slow.
    waits = Math.min(waits * 2, 100)
    if (worker.underWay > 0 && (await isBlocked(pair, worker))) return true
    if (performance.now() > until) throw new Error(`${pair.name}: ${worker.side} comes to no step.`)
  }
}

/** By the other alone: what cleans tables up may be in its way for a moment, too. */
async function isBlocked({ database, applications: { A, B } }: Pair, { side }: Worker): Promise<boolean> {
  const rows = await database.query(
    `select 1 from pg_stat_activity waits, unnest(pg_blocking_pids(waits.pid)) by
     join pg_stat_activity other on other.pid = by
     where waits.application_name = $1 and waits.state = 'active' and other.application_name = $2`,
    side === 'A' ? [A, B] : [B, A],
  )
  return rows.length > 0
}

/** What Postgres does after a minute to who stands still inside one. */
async function endTransactions({ database, applications }: Pair, { side }: Worker): Promise<void> {
  await database.query(
    `select pg_terminate_backend(pid, 5000) from pg_stat_activity
     where application_name = $1 and state like 'idle in transaction%'`,
    [applications[side]],
  )
}

const digest = (text: string): string => createHash('sha256').update(text).digest('base64url')

const largeFrom = 10_000

/** Text of a value by which two runs are compared: what is new in a run has the name of its first place. */
function createNormal(mark: string): (value: unknown) => string {
  const names = new Map<string, string>()
  const named = (value: string): string => {
    const known = names.get(value)
    if (known !== undefined) return known
    const name = `#${names.size}`
    names.set(value, name)
    return name
  }
  const text = (value: string): string =>
    value
      .replaceAll(mark, 'RUN')
      .replace(/\d{4}-\d\d-\d\d[T ]\d\d:\d\d:\d\d[.\d]*(Z|[+-]\d\d(:?\d\d)?)?/g, 'TIME')
      .replace(/[\w-]{20,}/g, named)
  return (value) =>
    JSON.stringify(value, function (this: Record<string, unknown>, key, plain: unknown) {
      const original = this[key]
      if (key === '$response') return undefined
      if (original instanceof Date) return 'TIME'
      if (original instanceof Uint8Array) return named(Buffer.from(original).toString('base64'))
      if (typeof plain === 'string') return text(plain)
      if (typeof plain === 'number' && Math.abs(plain) >= largeFrom) return named(String(plain))
      return plain
    }) ?? ''
}
