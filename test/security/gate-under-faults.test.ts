import { monitorEventLoopDelay } from 'node:perf_hooks'
import { setTimeout as sleep } from 'node:timers/promises'
import { afterAll, beforeAll, expect, test } from 'vitest'
import { seed } from '../../packages/engine/test/support/seed.ts'
import { openWorld, people, type RetrieveBody, type World } from '../support/world.ts'
import { type FaultyOpenFga, startFaultyOpenFga } from './faulty-openfga.ts'

const deadlineMs = 1_500
// 250 ms on an idle machine. A fault may take 5 s: that late it would be without the deadline.
const lateMs = 2_000
const parallel = 16
const rounds = 16
const documents = 48

let faulty: FaultyOpenFga
let world: World
let tokens: Readonly<Record<string, string>>
/** Who may read what, by name of the reader: kept by the test, from what it wrote itself. */
const may = new Map<string, Set<string>>()
const random = mulberry(seed)
const pick = <T>(all: readonly T[]): T => all[Math.floor(random() * all.length)] as T
const idOf = (index: number) => `vault/${index}`

beforeAll(async () => {
  faulty = await startFaultyOpenFga()
  world = await openWorld({ openfga: faulty.wrap, env: { REQUEST_DEADLINE_MS: String(deadlineMs) } })
  for (const person of people) {
    may.set(person, new Set())
    may.set(`${person}'s agent`, new Set())
  }
  const sketches: Record<string, object> = {}
  for (let index = 0; index < documents; index += 1) {
    const readers = people.filter(() => random() < 0.5)
    const blocked = people.filter(() => random() < 0.15)
    const sensitive = random() < 0.2
    sketches[idOf(index)] = {
      collection: random() < 0.5 ? 'handbook' : 'finance',
      text: `Budgets of quicksilver, page ${index}.`,
      access: {
        viewers: readers.map((person) => `user:${person}`),
        blocked: blocked.map((person) => `user:${person}`),
        ...(sensitive && { sensitive }),
      },
    }
    for (const person of readers.filter((one) => !blocked.includes(one))) {
      may.get(person)?.add(idOf(index))
      if (!sensitive) may.get(`${person}'s agent`)?.add(idOf(index))
    }
  }
  await world.put(sketches)
  const made: Record<string, string> = {}
  for (const person of people) {
    await world.lend(person, 'research-bot', 'collection:handbook', 'collection:finance')
    made[person] = await world.token({ user: person })
    made[`${person}'s agent`] = await world.token({ user: person, agent: 'research-bot' })
  }
  tokens = made
}, 120_000)
afterAll(async () => {
  await world?.[Symbol.asyncDispose]()
  await faulty?.[Symbol.asyncDispose]()
})

interface Seen {
  readonly status: number
  readonly released: readonly string[]
  readonly leaked: readonly string[]
  readonly complete: boolean
  readonly ms: number
}

/** One question of one reader. What they might read when it began is all that it may release. */
async function ask(reader: string): Promise<Seen> {
  const allowed = new Set(may.get(reader))
  const ofPerson = new Set(may.get(reader.replace("'s agent", '')))
  const token = tokens[reader] ?? ''
  const whole = random() < 0.25
  const id = idOf(Math.floor(random() * documents))
  const body = {
    query: 'quicksilver budgets',
    top_k: pick([3, 10, 40]),
    consistency: pick(['fast', 'strict']),
  }
  const started = performance.now()
  const response = whole
    ? await world.call('GET', `/documents/${encodeURIComponent(id)}`, { token })
    : await world.call('POST', '/retrieve', { token, body })
  const text = await response.text()
  const ms = performance.now() - started
  const parsed = JSON.parse(text) as Partial<RetrieveBody>
  const released =
    response.status !== 200 ? [] : whole ? [id] : (parsed.results ?? []).map((one) => one.document_id)
  const leaked = released.filter((one) => !allowed.has(one))
  // An agent may be told that it can ask for what its person may read, and of nothing else.
  if (response.status === 403 && !(whole && ofPerson.has(id) && !allowed.has(id)))
    leaked.push(`told of ${id}`)
  // Nothing but an answer holds text.
  if (response.status !== 200 && text.includes('quicksilver')) leaked.push('text beside an answer')
  return { status: response.status, released, leaked, complete: parsed.complete === true, ms }
}

/** Latencies of 0 to 5 s, most of them short, errors, broken connections, and answers that lack a part. */
function breakThings(): void {
  faulty.set({
    drop: () => random() < 0.08,
    status: () => (random() < 0.1 ? 500 : undefined),
    verdicts: (all) =>
      random() < 0.2 ? Object.fromEntries(Object.entries(all).filter(() => random() < 0.6)) : all,
    decided: () => sleep(random() < 0.6 ? random() * 60 : random() * 5_000),
  })
}

/** Takes one document from one person for good, by a write that is sent while the questions are under way. */
async function takeAway(): Promise<void> {
  const person = pick(people)
  const [id] = [...(may.get(person) ?? [])].sort(() => random() - 0.5)
  if (id === undefined) return
  await world.remove(`user:${person} viewer document:${id}`)
  may.get(person)?.delete(id)
  may.get(`${person}'s agent`)?.delete(id)
}

test(`with every kind of fault and ${parallel} questions at once, nothing leaks and nothing is late (FUZZ_SEED=${seed})`, async () => {
  const lag = monitorEventLoopDelay({ resolution: 10 })
  lag.enable()
  const readers = Object.keys(tokens)
  const seen: Seen[] = []
  breakThings()
  const released = () => seen.flatMap((one) => one.released).length
  // A machine that is busy answers less in time: it goes on until enough was released.
  for (let round = 0; round < rounds || (released() <= 100 && round < 4 * rounds); round += 1) {
    const asked = Array.from({ length: parallel }, () => ask(pick(readers)))
    await takeAway()
    seen.push(...(await Promise.all(asked)))
  }
  lag.disable()
  const kept = lag.max / 1e6
  const slowest = Math.max(...seen.map(({ ms }) => ms))
  const count = (is: (one: Seen) => boolean) => seen.filter(is).length
  console.log(
    `seed ${seed}: ${seen.length} questions, ${count(({ status }) => status === 200)} answered, ` +
      `${count(({ status }) => status === 503)} with 503, ${count(({ complete }) => complete)} complete, ` +
      `${released()} passages and documents released, ` +
      `${seen.flatMap(({ leaked }) => leaked).length} leaked, slowest ${slowest.toFixed(0)} ms of ` +
      `${deadlineMs} + ${lateMs} (the process itself was kept from running for up to ${kept.toFixed(0)} ms)`,
  )
  expect(seen.flatMap(({ leaked }) => leaked)).toEqual([])
  expect(seen.filter(({ status }) => ![200, 403, 404, 503].includes(status))).toEqual([])
  // A busy machine may keep the whole process from running; that much later everything is.
  expect(slowest).toBeLessThan(deadlineMs + lateMs + kept)
  // Neither vacuous: much was released, and the faults were felt.
  expect(released()).toBeGreaterThan(100)
  expect(count(({ complete, status }) => status === 503 || !complete)).toBeGreaterThan(20)
}, 240_000)

test('and once the faults are over, the very next answers are whole and right, without a restart', async () => {
  faulty.set(undefined)
  for (const [reader, token] of Object.entries(tokens)) {
    const ask = async () => {
      const began = performance.now()
      const answer = await world.retrieve(token, {
        query: 'quicksilver budgets',
        top_k: 100,
        consistency: 'strict',
      })
      return { ...answer, isLate: performance.now() - began > deadlineMs / 2 }
    }
    let answer = await ask()
    // A machine that stands still for a second is no fault that lasted.
    for (let tries = 0; tries < 10 && !answer.complete && answer.isLate; tries += 1) answer = await ask()
    const { results, complete } = answer
    const ids = new Set(results.map(({ document_id }) => document_id))
    expect([reader, complete, [...ids].sort()]).toEqual([reader, true, [...(may.get(reader) ?? [])].sort()])
  }
}, 60_000)

/** Numbers in [0, 1) from a seed, so that a run can be made again. */
function mulberry(start: number): () => number {
  let state = start
  return () => {
    state = (state + 0x6d2b79f5) | 0
    let mixed = Math.imul(state ^ (state >>> 15), 1 | state)
    mixed = (mixed + Math.imul(mixed ^ (mixed >>> 7), 61 | mixed)) ^ mixed
    return ((mixed ^ (mixed >>> 14)) >>> 0) / 4_294_967_296
  }
}
