import { getEventListeners } from 'node:events'
import { afterEach, beforeEach, describe, expect, test, vi } from 'vitest'
import { createTurns } from '../../src/retrieval/turns.ts'

// Turns step by step, on a clock that the test moves: who begins, who waits for how long, and after how many
// answers another number is tried. What comes of it under load: turns.test.ts.

beforeEach(() => void vi.useFakeTimers({ toFake: ['setTimeout', 'clearTimeout', 'performance', 'Date'] }))
afterEach(() => void vi.useRealTimers())

interface Job {
  /** Waits, runs, is done or was refused. */
  state: 'w' | 'r' | 'd' | 'x'
  end: () => void
  /** Its clock shows its deadline. */
  isOver: boolean
  error?: unknown
  /** When it was refused. */
  refusedAt?: number
  readonly signal: AbortSignal
}
interface Wish {
  readonly wholeMs?: number
  readonly signal?: AbortSignal
  readonly person?: `user:${string}`
  readonly others?: readonly `agent:${string}`[]
  readonly assertStands?: () => Promise<void>
}

const pass = (ms = 0) => vi.advanceTimersByTimeAsync(ms)
/** So long a time that nothing is late for less than 400 seconds. */
const longMs = 1e6

function open() {
  const logged: unknown[] = []
  const { inTurn, status } = createTurns({ log: (event, fields) => void logged.push({ event, ...fields }) })
  /** In the order in which they began. */
  const running: Job[] = []
  const crowd = new AbortController()
  let count = 0
  /** Of an agent; of nobody, and of somebody new where none is named. */
  function ask(agent?: string, wish: Wish = {}): Job {
    const {
      wholeMs = longMs,
      signal = new AbortController().signal,
      person = 'user:anne',
      others = [],
    } = wish
    count += 1
    const job: Job = { state: 'w', isOver: false, end: () => undefined, signal }
    const at = Date.now() + wholeMs
    const { assertStands } = wish
    const deadline = {
      ...{ signal, at, now: () => (job.isOver ? at : Date.now()) },
      ...(assertStands && { assertStands }),
    }
    const actors = agent === 'nobody' ? [] : [`agent:${agent ?? `new-${count}`}` as const, ...others]
    const work = () =>
      new Promise<void>((resolve) => {
        Object.assign(job, { state: 'r', end: resolve })
        running.push(job)
      })
    inTurn({ subject: person, actors }, deadline, work).then(
      () => Object.assign(job, { state: 'd' }),
      (error: unknown) => Object.assign(job, { state: 'x', error, refusedAt: Date.now() }),
    )
    return job
  }
  const states = (...jobs: readonly (Job | undefined)[]) => jobs.map((job) => job?.state).join('')
  async function begun(...agents: readonly string[]): Promise<readonly Job[]> {
    const jobs = agents.map((agent) => ask(agent))
    await pass()
    expect(states(...jobs)).toBe('r'.repeat(jobs.length))
    return jobs
  }
  async function end(...jobs: readonly (Job | undefined)[]): Promise<void> {
    for (const job of jobs) {
      if (job?.state !== 'r') throw new Error('It does not run.')
      running.splice(running.indexOf(job), 1)
      job.end()
      await pass()
    }
  }
  /**
   * One answer after the other, each `msOf(atOnce)` after the one before, while others wait. Gives by how
   * many at once how many answers were made.
   */
  async function answer(answers: number, msOf: (atOnce: number) => number, isOver = false) {
    const runs: [atOnce: number, answers: number][] = []
    for (let index = 0; index < answers; index += 1) {
      const missing = 70 - status().waiting
      for (let more = 0; more < missing; more += 1) ask(undefined, { signal: crowd.signal })
      const { atOnce } = status()
      await pass(msOf(atOnce))
      const [job] = running
      if (job !== undefined) job.isOver = isOver
      await end(job)
      const last = runs.at(-1)
      if (last?.[0] === atOnce) last[1] += 1
      else runs.push([atOnce, 1])
    }
    return runs
  }
  /** Whoever waits for `answer` goes away. */
  async function disperse(): Promise<void> {
    crowd.abort()
    await pass()
  }
  const atOnce = () => status().atOnce
  return { ask, begun, end, answer, disperse, states, status, atOnce, logged, running }
}

describe('a turn', () => {
  test('is anybody’s while there is a place, of which one owner has three in four', async () => {
    const { ask, states, status } = open()
    const assertStands = vi.fn(async () => undefined)
    const [first, second, third, fourth] = [1, 2, 3, 4].map(() => ask('a', { assertStands }))
    await pass()
    expect(states(first, second, third, fourth)).toBe('rrrw')
    expect(status()).toEqual({ running: 3, waiting: 1, atOnce: 4, refused: 0 })
    const [other, late] = [ask('b', { assertStands }), ask('b', { assertStands })]
    await pass()
    expect(states(fourth, other, late)).toBe('wrw')
    expect(status()).toEqual({ running: 4, waiting: 2, atOnce: 4, refused: 0 })
    // Of who did not wait nothing was looked at again.
    expect(assertStands).toHaveBeenCalledOnce()
  })

  test('is owned by a person and the agent that speaks for them, whoever speaks for it', async () => {
    const { ask, begun, states } = open()
    await begun('a', 'a', 'a')
    const same = ask('a', { others: ['agent:b'] })
    await pass()
    expect(states(same)).toBe('w')
    const other = ask('a', { person: 'user:bob' })
    await pass()
    expect(states(same, other)).toBe('wr')
    const alone = open()
    await alone.begun('nobody', 'nobody', 'nobody')
    const more = [alone.ask('nobody'), alone.ask('a')]
    await pass()
    expect(alone.states(...more)).toBe('wr')
  })

  test('is next whose fewest run, of these whose last began longest ago, and in the order of asking', async () => {
    const { ask, begun, end, states } = open()
    const [a1, a2, a3, b1] = await begun('a', 'a', 'a', 'b')
    const [a, a5, b, c, c2] = [ask('a'), ask('a'), ask('b'), ask('c'), ask('c')]
    for (const [job, expected] of [
      [a1, 'wwwrw'],
      [a2, 'rwwrw'],
      [b1, 'rwrrw'],
      [a3, 'rwrrr'],
      [c2, 'rrrrr'],
    ] as const) {
      await end(job)
      expect(states(a, a5, b, c, c2).replace('d', 'r')).toBe(expected)
    }
  })

  test('that is free is for whoever waits, also where somebody who does not has fewer', async () => {
    const { ask, begun, end, states } = open()
    const [, , , c] = await begun('a', 'b', 'a', 'c')
    const waiting = ask('a')
    await end(c)
    expect(states(waiting)).toBe('r')
  })

  test('that is free is not for whoever has all that one may have', async () => {
    const { ask, begun, end, states, status } = open()
    const [first, , , other] = await begun('a', 'a', 'a', 'b')
    const [second, third] = [ask('a'), ask('a')]
    await end(other)
    expect(states(second, third)).toBe('ww')
    await end(first)
    expect(states(second, third)).toBe('rw')
    expect(status()).toMatchObject({ running: 3, waiting: 1 })
  })

  test('leaves nothing behind, whether it ended, was refused or was given up', async () => {
    const { ask, begun, end, states, running, status } = open()
    const jobs = await begun('a', 'a', 'a', 'b')
    const going = new AbortController()
    const asked = [ask('c', { signal: going.signal }), ask('d'), ask('e', { wholeMs: 100 })]
    going.abort()
    await pass(100)
    expect(states(...asked)).toBe('xwx')
    for (const { error } of [asked[0], asked[2]].filter((job) => job !== undefined))
      expect(error).toMatchObject({ code: 'overloaded', headers: { 'retry-after': '1' } })
    expect(status()).toEqual({ running: 4, waiting: 1, atOnce: 4, refused: 2 })
    await end(...jobs)
    await end(...running)
    expect(states(...asked)).toBe('xdx')
    expect(vi.getTimerCount()).toBe(0)
    for (const { signal } of asked) expect(getEventListeners(signal, 'abort')).toEqual([])
    expect(status()).toEqual({ running: 0, waiting: 0, atOnce: 4, refused: 2 })
  })

  test('that hangs is given up a second after its deadline, once', async () => {
    const { ask, begun, end, states, status, running } = open()
    const hanging = ask('a', { wholeMs: 1_000 })
    await pass(1_999)
    expect(status().running).toBe(1)
    await pass(1)
    expect(status().running).toBe(0)
    await begun('a', 'a', 'a')
    const next = ask('a')
    await end(hanging)
    expect(states(hanging, next)).toBe('dw')
    await end(...running)
    // Whose deadline was over before.
    ask('b', { wholeMs: -5_000 })
    await end(next)
    await pass(999)
    expect(status().running).toBe(1)
    await pass(1)
    expect(status().running).toBe(0)
  })

  test('is counted for its owner also where another of theirs was given up in the same moment', async () => {
    const { ask, begun, end, states } = open()
    const others = await begun('b', 'b', 'b')
    ask('a', { wholeMs: 1_000 })
    await pass()
    const going = new AbortController()
    ask('a', { signal: going.signal })
    await pass(1_999)
    going.abort()
    // All before whoever was refused hears of it.
    vi.advanceTimersByTime(1)
    const first = ask('a')
    await pass()
    await end(...others)
    const more = [ask('a'), ask('a'), ask('a')]
    await pass()
    expect(states(first, ...more)).toBe('rrrw')
  })
})

describe('who waits', () => {
  /** All places are taken, three by `a` and one by `b`, after one that took twice of what is usual now. */
  async function full(usualMs = 0) {
    const turns = open()
    if (usualMs > 0) {
      const [first] = await turns.begun('first')
      await pass(2 * usualMs)
      await turns.end(first)
    }
    await turns.begun('a', 'a', 'a', 'b')
    /** Milliseconds that those with a whole second wait from now on, a millisecond apart. */
    async function waits(...agents: readonly string[]): Promise<readonly number[]> {
      const asked: { readonly job: Job; readonly at: number }[] = []
      for (const agent of agents) {
        if (asked.length > 0) await pass(1)
        asked.push({ job: turns.ask(agent, { wholeMs: 1_000 }), at: Date.now() })
      }
      await pass(1_000)
      return asked.map(({ job, at }) => (job.refusedAt ?? Number.NaN) - at)
    }
    return { ...turns, waits }
  }

  test('does so for four fifths of their time, less what is usual, or half of it where they are next', async () => {
    expect(await (await full()).waits('a')).toEqual([800])
    expect(await (await full()).waits('c')).toEqual([800])
    expect(await (await full(200)).waits('a')).toEqual([600])
    expect(await (await full(200)).waits('c')).toEqual([600])
    expect(await (await full(600)).waits('a')).toEqual([200])
    expect(await (await full(600)).waits('c')).toEqual([500])
    // A tenth at least.
    expect(await (await full(5_000)).waits('a')).toEqual([100])
  })

  test('is next with less than an equal share of what runs and waits', async () => {
    const { waits } = await full(600)
    expect(await waits('b', 'b')).toEqual([500, 200])
  })

  test('shares with those who are there alone, not with those who ended or were refused', async () => {
    const { waits, ask, begun, end, running, states } = await full(600)
    const gone = Array.from({ length: 10 }, () => ask(undefined, { signal: AbortSignal.abort() }))
    await pass()
    expect(states(...gone)).toBe('x'.repeat(10))
    expect(await waits('b')).toEqual([500])
    await end(...running)
    for (let index = 0; index < 10; index += 1) await end(...(await begun(`ended-${index}`)))
    await begun('a', 'a', 'a', 'b')
    expect(await waits('b')).toEqual([500])
  })

  test('does so for a tenth of their time where somebody has waited for all of what one waits', async () => {
    const { ask, waits } = await full(600)
    // For half a second, as the next one.
    ask('c', { wholeMs: 1_000 })
    await pass(200)
    expect(await waits('a', 'a')).toEqual([200, 100])
    // Nobody waited in between.
    expect(await waits('a')).toEqual([200])
  })

  test('knows what is usual by the longest, which is forgotten slowly', async () => {
    const { waits, end, running, begun } = await full(600)
    await end(...running)
    // Of 600 a sixteenth of the difference each time.
    const usualMs = 600 * (15 / 16) ** 4
    await begun('a', 'a', 'a', 'b')
    expect(await waits('a')).toEqual([Math.floor(800 - usualMs)])
  })

  test('is refused beyond 256 of one owner and 2,048 of all, and where nobody waits for the answer', async () => {
    const { ask, states, status } = await full()
    const some = Array.from({ length: 256 }, () => ask('a'))
    const [one, gone] = [ask('a'), ask('b', { signal: AbortSignal.abort() })]
    await pass()
    expect([states(...some), states(one, gone)]).toEqual(['w'.repeat(256), 'xx'])
    for (const agent of 'bcdefgh') for (let index = 0; index < 256; index += 1) ask(agent)
    const last = ask('i')
    await pass()
    expect([states(last), status().waiting, status().refused]).toEqual(['x', 2_048, 3])
  })

  test('is refused on record of the log once in ten seconds, with how many since', async () => {
    const { ask, logged } = await full()
    ask('c')
    const refuse = async (count: number) => {
      for (let index = 0; index < count; index += 1) ask('z', { signal: AbortSignal.abort() })
      await pass()
    }
    const line = (refused: number) => ({ event: 'overloaded', refused, at_once: 4, waiting: 1 })
    await refuse(3)
    expect(logged).toEqual([line(1)])
    await pass(9_999)
    await refuse(1)
    expect(logged).toHaveLength(1)
    await pass(1)
    await refuse(1)
    await pass(9_999)
    await refuse(2)
    await pass(1)
    await refuse(2)
    expect(logged).toEqual([line(1), line(4), line(3)])
  })
})

// By how many at once how many answers are made: those that began before a round began do not count for it.
describe('how many run at once', () => {
  const equal = () => 20
  const firstTries = [
    [4, 8],
    [8, 19],
    [4, 15],
    [2, 11],
  ]
  const firstAnswers = 8 + 19 + 15 + 11

  test('is tried out while others wait, and left alone for twice as long each time where nothing is better', async () => {
    const { answer } = open()
    const again = firstTries.slice(1)
    expect(await answer(firstAnswers + 42 + 86 + 174 + 2 * 350 + 5 * 45 + 1, equal)).toEqual([
      ...firstTries,
      ...[[4, 42], ...again],
      ...[[4, 86], ...again],
      ...[[4, 174], ...again],
      ...[[4, 350], ...again],
      ...[[4, 350], ...again],
      [4, 1],
    ])
  })

  test('grows to 64 where each gets as much done as before', async () => {
    const { answer } = open()
    expect(await answer(1_546, (atOnce) => 64 / atOnce)).toEqual([
      ...[
        [4, 8],
        [8, 19],
        [16, 39],
        [32, 79],
      ],
      ...[
        [64, 350],
        [32, 127],
        [64, 923],
        [32, 1],
      ],
    ])
  })

  test('falls to two where fewer get more done', async () => {
    const { answer } = open()
    expect(await answer(212, (atOnce) => 5 * atOnce)).toEqual([
      ...[
        [4, 8],
        [8, 19],
        [4, 15],
      ],
      ...[
        [2, 20],
        [4, 9],
        [2, 47],
        [4, 9],
        [2, 83],
        [4, 2],
      ],
    ])
  })

  test('is held against what it got done lately, and begins with few rounds after what was better', async () => {
    const { answer } = open()
    await answer(firstAnswers + 42, equal)
    const better = (atOnce: number) => (atOnce > 4 ? 10 : 20)
    expect(await answer(19 + 39 + 31 + 15 + 88 + 1, better)).toEqual([
      ...[
        [8, 19],
        [16, 39],
        [8, 31],
      ],
      ...[
        [4, 15],
        [8, 88],
        [16, 1],
      ],
    ])
  })

  // The last of four rounds gets half or twice as much done: a quarter of that counts.
  test.each([
    ['less', 120, 46],
    ['more', 30, 33],
  ])('is held against what is usual, the last rounds above all: after %s', async (_, lastMs, tryMs) => {
    const { answer, atOnce } = open()
    await answer(firstAnswers + 31, () => 60)
    await answer(11, () => lastMs)
    expect(await answer(19, () => tryMs)).toEqual([[8, 19]])
    expect(atOnce()).toBe(16)
  })

  test.each([
    ['much more gets done', 5, 64, 42],
    ['much less gets done', 80, 64, 42],
    ['twice as much gets done', 10, 86, 174],
  ])('is left alone as long as before, unless it is another: %s', async (_, ms, first, second) => {
    const { answer } = open()
    await answer(firstAnswers + 42 + 45 + 20, equal)
    expect(await answer(first - 20 + 45 + second + 1, () => ms)).toEqual([
      [4, first - 20],
      ...firstTries.slice(1),
      [4, second],
      [8, 1],
    ])
  })

  test('is left alone where nothing is answered in time', async () => {
    const { answer } = open()
    expect(await answer(8, equal, true)).toEqual([[4, 8]])
    expect(await answer(45, equal)).toEqual([
      [4, 44],
      [8, 1],
    ])
  })

  test('is left alone while nobody waits', async () => {
    const { answer, begun, end, atOnce } = open()
    for (let index = 0; index < 40; index += 1) await end(...(await begun('a', 'b')))
    expect(atOnce()).toBe(4)
    expect(await answer(9, equal)).toEqual([
      [4, 8],
      [8, 1],
    ])
  })

  describe('falls at once by what takes two fifths of its time', () => {
    const lateMs = 0.4 * longMs
    /** Eight at once get most done, and are left alone. */
    const eight = (atOnce: number) => 64 / Math.min(8, atOnce)
    async function atEight() {
      const turns = open()
      expect(await turns.answer(8 + 19 + 39 + 31 + 15 + 19, eight)).toMatchObject([
        ...[
          [4, 8],
          [8, 19],
          [16, 39],
        ],
        ...[
          [8, 31],
          [4, 15],
          [8, 19],
        ],
      ])
      return turns
    }

    test('where more are tried: to what it was, and fewer are tried next', async () => {
      const { answer, running, end, atOnce } = open()
      await answer(8, equal)
      const tried = running.slice(3)
      await pass(lateMs - 1)
      await end(tried[0])
      expect(atOnce()).toBe(8)
      await pass(1)
      await end(tried[1])
      expect(atOnce()).toBe(4)
      expect((await answer(40, equal)).map(([number]) => number)).toEqual([4, 2, 4])
    })

    test('to half, for four rounds', async () => {
      const { answer, running, end, atOnce } = await atEight()
      await pass(lateMs)
      await end(running[0])
      expect(atOnce()).toBe(4)
      expect(await answer(49, equal)).toEqual([
        [4, 48],
        [8, 1],
      ])
    })

    test('where fewer are tried: to half of these', async () => {
      const { answer, running, end, atOnce } = open()
      const sixteen = (number: number) => 64 / Math.min(16, number)
      await answer(8 + 19 + 39 + 79 + 63, sixteen)
      expect(atOnce()).toBe(8)
      await pass(lateMs)
      await end(running.at(-1))
      expect(atOnce()).toBe(4)
    })

    test('but not below four', async () => {
      const { answer, running, end, atOnce } = open()
      await answer(4, equal)
      await pass(lateMs)
      await end(running[0])
      expect(atOnce()).toBe(4)
    })

    test.each([
      [5, 4],
      [4, 8],
    ])('where at least half of the places were taken beside it: with %i of 8, to %i', async (left, then) => {
      const { disperse, running, end, atOnce } = await atEight()
      await disperse()
      await end(...running.slice(left))
      await pass(lateMs)
      await end(running[0])
      expect(atOnce()).toBe(then)
    })

    test('once for all that had begun by then', async () => {
      const { answer, running, end, atOnce } = open()
      await answer(8 + 19, (number) => 64 / number)
      expect(atOnce()).toBe(16)
      await pass(lateMs)
      // Until one begins in the same moment, and one a little later.
      await end(...running.slice(0, 9))
      expect(atOnce()).toBe(8)
      await pass(1)
      await end(running[0])
      await pass(lateMs)
      const [same, later] = running.slice(-2)
      await end(same)
      expect(atOnce()).toBe(8)
      await end(later)
      expect(atOnce()).toBe(4)
    })
  })
})
