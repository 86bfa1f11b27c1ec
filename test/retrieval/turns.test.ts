import { afterEach, beforeEach, describe, expect, test, vi } from 'vitest'
import { createRandom } from '../../benchmarks/kubernetes/random.ts'
import type { Deadline } from '../../src/retrieval/deadline.ts'
import { createTurns, type InTurn } from '../../src/retrieval/turns.ts'

// A processor of 50 requests a second, on a clock that the test moves.

beforeEach(() => {
  logged.length = 0
  vi.useFakeTimers({ toFake: ['setTimeout', 'clearTimeout', 'performance', 'Date'] })
})
afterEach(() => void vi.useRealTimers())

const requestMs = 20
const wholeMs = 1_000
const deadlineOf = (signal: AbortSignal = new AbortController().signal): Deadline => ({
  signal,
  at: Date.now() + wholeMs,
  now: Date.now,
})
const caller = (agent: string) => ({ subject: 'user:anne' as const, actors: [`agent:${agent}` as const] })
const logged: string[] = []
const newTurns = () => createTurns({ log: (event) => void logged.push(event) }).inTurn
/** What so many jobs at once get done of what one gets done alone. */
type Speed = (jobs: number) => number
const atOnce: InTurn = (_, __, work) => work()

/** Shares its time among all that it works at, each until its deadline. `run` says whether it was in time. */
function createProcessor(speed: Speed = () => 1, costMs: () => number = () => requestMs) {
  let jobs: { leftMs: number; readonly until: number; readonly end: (isDone: boolean) => void }[] = []
  return {
    run: (deadline: Deadline) =>
      new Promise<boolean>((resolve) => {
        jobs.push({ leftMs: costMs(), until: deadline.at, end: resolve })
      }),
    work(ms: number): void {
      const share = (ms * speed(jobs.length)) / Math.max(1, jobs.length)
      for (const job of jobs) job.leftMs -= share
      const isOver = (job: (typeof jobs)[number]) => job.leftMs <= 0 || Date.now() > job.until
      for (const job of jobs.filter(isOver)) job.end(job.leftMs <= 0)
      jobs = jobs.filter((job) => !isOver(job))
    },
  }
}

/** How many requests each agent made and had answered in time, and how long the slowest of these took. */
async function load(
  turns: InTurn,
  perSecond: Readonly<Record<string, number>>,
  seconds: number,
  processor: Pick<ReturnType<typeof createProcessor>, 'run' | 'work'> = createProcessor(),
) {
  const random = createRandom(7)
  const answered: Record<string, number> = {}
  const asked: Record<string, number> = {}
  const refusals: unknown[] = []
  let longestMs = 0
  for (let ms = 0; ms < seconds * 1_000; ms += 5) {
    for (const [agent, rate] of Object.entries(perSecond)) {
      const due = Math.floor((5 * rate) / 1_000 + random.next())
      asked[agent] = (asked[agent] ?? 0) + due
      for (let index = 0; index < due; index += 1) {
        const deadline = deadlineOf()
        const began = Date.now()
        turns(caller(agent), deadline, () => processor.run(deadline)).then(
          (isDone) => {
            if (!isDone) return
            answered[agent] = (answered[agent] ?? 0) + 1
            longestMs = Math.max(longestMs, Date.now() - began)
          },
          (error: unknown) => refusals.push(error),
        )
      }
    }
    processor.work(5)
    await vi.advanceTimersByTimeAsync(5)
  }
  return { asked, answered, refusals, longestMs }
}

describe('a process that is asked for ten times what it can do', () => {
  const agents = Object.fromEntries(Array.from({ length: 20 }, (_, index) => [`bot-${index}`, 25]))
  const sum = (of: Readonly<Record<string, number>>) => Object.values(of).reduce((all, one) => all + one, 0)

  test('answers at least 80 % of what it can do, in time, and refuses the rest with Retry-After', async () => {
    const { answered, refusals, longestMs } = await load(newTurns(), agents, 10)
    expect(sum(answered)).toBeGreaterThan(0.8 * 10 * 50)
    expect(longestMs).toBeLessThanOrEqual(wholeMs)
    expect(refusals.length).toBeGreaterThan(3_000)
    expect(logged.length, 'once in ten seconds').toBeLessThan(4)
    expect(new Set(logged)).toEqual(new Set(['overloaded']))
    for (const refusal of refusals.slice(0, 50))
      expect(refusal).toMatchObject({ code: 'overloaded', headers: { 'retry-after': '1' } })
  })

  test('gives each agent as much as the others', async () => {
    const { answered } = await load(newTurns(), agents, 10)
    expect(Math.min(...Object.values(answered))).toBeGreaterThan(0.5 * Math.max(...Object.values(answered)))
  })

  test('would answer nearly nothing if all of it ran at once', async () => {
    const { answered } = await load(atOnce, agents, 10)
    expect(sum(answered)).toBeLessThan(0.2 * 10 * 50)
  })

  test('is as quick as ever two seconds later', async () => {
    const turns = newTurns()
    await load(turns, agents, 5)
    await vi.advanceTimersByTimeAsync(2_000)
    const { answered, asked, refusals } = await load(turns, { calm: 20 }, 5)
    // The last ones may be under way.
    expect(answered['calm']).toBeGreaterThanOrEqual((asked['calm'] ?? Number.NaN) - 4)
    expect(refusals).toEqual([])
  })
})

const halfIsTooFew: Speed = (jobs) => Math.min(1, 0.5 + jobs / 8)
const tenTimes = Object.fromEntries(Array.from({ length: 20 }, (_, index) => [`bot-${index}`, 25]))

// Asked for more than twice as much, after ten seconds to find that out.
test.each<[string, Speed, number]>([
  ['fewer get more done: two as much as one, sixteen a fifth', (jobs) => 3 / (1 + Math.max(2, jobs)), 50],
  ['more get more done, up to sixteen', (jobs) => Math.min(16, jobs), 800],
  ['any number gets as much done', () => 1, 50],
  ['two get three quarters of what four do, and more no more', halfIsTooFew, 50],
])('as many run at once as get most done, where %s', async (_, speed, best) => {
  const turns = newTurns()
  const processor = createProcessor(speed)
  const agents = Object.fromEntries(Array.from({ length: 20 }, (_, index) => [`bot-${index}`, best / 8]))
  await load(turns, agents, 10, processor)
  const { answered } = await load(turns, agents, 10, processor)
  const all = Object.values(answered).reduce((sum, one) => sum + one, 0)
  expect(all).toBeGreaterThan(0.8 * 10 * best)
})

// What two questions cost tells little of which number is best, so one round must not decide.
const chance = createRandom(11)
test.each<[string, () => number, number]>([
  ['as much as any other', () => requestMs, 0.15],
  ['by chance', () => -requestMs * Math.log(1 - chance.next()), 0.3],
  ['mostly little', () => (chance.next() < 0.9 ? 0.4 : 6.4) * requestMs, 0.3],
])(
  'what gets most done is left alone most of the time, where a question costs %s',
  async (_, costMs, share) => {
    const { inTurn: turns, status } = createTurns({ log: () => undefined })
    const processor = createProcessor(halfIsTooFew, costMs)
    let [looks, others] = [0, 0]
    const work = (ms: number): void => {
      looks += 1
      if (status().atOnce !== 4) others += 1
      processor.work(ms)
    }
    await load(turns, tenTimes, 20, processor)
    await load(turns, tenTimes, 30, { ...processor, work })
    expect(looks).toBeGreaterThan(1_000)
    expect(others / looks).toBeLessThan(share)
  },
)

test('what was left alone for long is tried soon where much more gets done than usual', async () => {
  const { inTurn: turns, status } = createTurns({ log: () => undefined })
  let speed = halfIsTooFew
  const processor = createProcessor((jobs) => speed(jobs))
  await load(turns, tenTimes, 50, processor)
  speed = (jobs) => Math.min(16, jobs)
  await load(turns, tenTimes, 1, processor)
  expect(status().atOnce).toBeGreaterThanOrEqual(16)
})

test('as few run at once as get most done, also where more did a while before', async () => {
  const turns = newTurns()
  let isFast = true
  const processor = createProcessor((jobs) => (isFast ? Math.min(4, jobs) : 3 / (1 + Math.max(2, jobs))))
  const agents = Object.fromEntries(Array.from({ length: 20 }, (_, index) => [`bot-${index}`, 25]))
  for (const seconds of [2, 3, 5]) {
    isFast = true
    await load(turns, agents, seconds, processor)
    isFast = false
    await load(turns, agents, 10, processor)
    const { answered } = await load(turns, agents, 10, processor)
    const all = Object.values(answered).reduce((sum, one) => sum + one, 0)
    expect(all).toBeGreaterThan(0.75 * 10 * 50)
  }
})

test('whose questions wait for somebody else are refused none of a burst', async () => {
  const turns = newTurns()
  const slow = () => new Promise<void>((resolve) => setTimeout(resolve, 60))
  const refused: unknown[] = []
  for (let ms = 0; ms < 2_000; ms += 5) {
    turns(caller(`bot-${ms % 20}`), deadlineOf(), slow).catch((error: unknown) => refused.push(error))
    await vi.advanceTimersByTimeAsync(5)
  }
  expect(refused).toEqual([])
})

test('an agent that asks a thousand times a second keeps nobody else from being answered', async () => {
  const { answered, asked } = await load(newTurns(), { flood: 1_000, quiet: 5 }, 10)
  // The last one may be under way.
  expect(answered['quiet']).toBeGreaterThanOrEqual((asked['quiet'] ?? Number.NaN) - 1)
})

test.each(['at once', 'after a quiet minute'])(
  'a burst that can be answered in time is answered, all of it: %s',
  async (when) => {
    const turns = newTurns()
    const processor = createProcessor()
    if (when !== 'at once') await vi.advanceTimersByTimeAsync(60_000)
    const burst = Array.from({ length: 40 }, () => {
      const deadline = deadlineOf()
      return turns(caller('bot'), deadline, () => processor.run(deadline))
    })
    for (let ms = 0; ms < wholeMs; ms += 5) {
      processor.work(5)
      await vi.advanceTimersByTimeAsync(5)
    }
    expect(await Promise.all(burst)).toEqual(Array.from({ length: 40 }, () => true))
  },
)

test('who goes away while waiting is refused, and the work never begins', async () => {
  const { inTurn: turns, status } = createTurns({ log: () => undefined })
  const hanging = () => new Promise<never>(() => undefined)
  for (let index = 0; index < status().atOnce; index += 1)
    void turns(caller(`bot-${index % 2}`), deadlineOf(), hanging)
  const gone = new AbortController()
  const work = vi.fn(async () => 'never')
  const waited = turns(caller('other'), deadlineOf(gone.signal), work)
  gone.abort()
  await expect(waited).rejects.toMatchObject({ code: 'overloaded' })
  await vi.advanceTimersByTimeAsync(10_000)
  expect(work).not.toHaveBeenCalled()
})

test('who waited is judged again when their turn begins, and gives it back where they are refused', async () => {
  const { inTurn: turns, status } = createTurns({ log: () => undefined })
  const gone = new AbortController()
  const slow = () => new Promise<void>((resolve) => setTimeout(resolve, 100))
  const assertStands = vi.fn(() => Promise.reject(new Error('revoked')))
  const asking = (agent: string) => turns(caller(agent), { ...deadlineOf(gone.signal), assertStands }, slow)
  const begun = Array.from({ length: status().atOnce - 1 }, () => asking('bot-0'))
  expect(assertStands).not.toHaveBeenCalled()
  const work = vi.fn(slow)
  const waited = turns(caller('bot-1'), { ...deadlineOf(), assertStands }, work)
  await expect(waited).rejects.toThrow('revoked')
  expect([work.mock.calls.length, status().running]).toEqual([0, begun.length])
  await vi.advanceTimersByTimeAsync(100)
  await Promise.all(begun)
  expect(status()).toMatchObject({ running: 0, waiting: 0, refused: 0 })
})

test('what hangs for good keeps its place until a second after its deadline', async () => {
  const { inTurn: turns, status } = createTurns({ log: () => undefined })
  const hanging = () => new Promise<never>(() => undefined)
  for (let index = 0; index < status().atOnce; index += 1)
    void turns(caller(`bot-${index % 2}`), deadlineOf(), hanging)
  await vi.advanceTimersByTimeAsync(wholeMs + 900)
  const early = turns(caller('other'), deadlineOf(), async () => 'answered')
  await vi.advanceTimersByTimeAsync(200)
  expect(await early).toBe('answered')
})

test('an agent whose questions each take all of their time leaves places to others', async () => {
  const turns = newTurns()
  let answered = 0
  const slow = () => new Promise<void>((resolve) => setTimeout(resolve, wholeMs))
  const quick = async () => {
    answered += 1
  }
  for (let ms = 0; ms < 10_000; ms += 100) {
    for (let index = 0; index < 8; index += 1)
      turns(caller('slow'), deadlineOf(), slow).catch(() => undefined)
    turns(caller('quiet'), deadlineOf(), quick).catch(() => undefined)
    await vi.advanceTimersByTimeAsync(100)
  }
  // Some wait in vain while fewer may run than do already: after each try of more, for a second.
  expect(answered).toBeGreaterThanOrEqual(85)
})

test('few that are slow for another reason keep nobody waiting later', async () => {
  const { inTurn: turns, status } = createTurns({ log: () => undefined })
  const { atOnce } = status()
  const slow = (ms: number) => () => new Promise<string>((resolve) => setTimeout(resolve, ms, 'late'))
  for (let round = 0; round < 20; round += 1) {
    const late = [1, 2, 3, 4].map((nth) => turns(caller(`bot-${nth % 2}`), deadlineOf(), slow(wholeMs)))
    await vi.advanceTimersByTimeAsync(wholeMs)
    await Promise.all(late)
  }
  let running = 0
  for (let index = 0; index < atOnce; index += 1)
    void turns(caller(`bot-${index % 2}`), deadlineOf(), () => {
      running += 1
      return new Promise<never>(() => undefined)
    })
  await vi.advanceTimersByTimeAsync(0)
  expect(running).toBe(atOnce)
})

test('what fails gives its place back', async () => {
  const turns = newTurns()
  for (let index = 0; index < 40; index += 1)
    await expect(turns(caller('bot'), deadlineOf(), () => Promise.reject(new Error('no')))).rejects.toThrow(
      'no',
    )
  expect(await turns(caller('bot'), deadlineOf(), async () => 'answered')).toBe('answered')
})
