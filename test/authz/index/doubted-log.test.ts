import { describe, expect, test, vi } from 'vitest'
import { PositionRefused } from '../../../src/authz/fga.ts'
import { createPermissionIndex } from '../../../src/authz/index/create.ts'
import { LogWentBack } from '../../../src/authz/index/log-doubt.ts'
import type { Mark } from '../../../src/authz/index/storage.ts'
import { Watermarks } from '../../../src/authz/index/watermarks.ts'
import {
  afterBulk,
  afterSingles,
  began,
  createLog,
  follow,
  has,
  missed,
  notAnswered,
  open,
  restarted,
  type Setting,
  second,
  unstored,
} from './log.ts'

const always = (rows: number): number[] => Array.from({ length: 1_000 }, () => rows)

describe('a log that lacks what it told of', () => {
  test.each<[string, number]>([
    ['while it is followed', 0],
    ['while nobody followed it', 3_600 * second],
  ])('notices that OpenFGA was put back to before what it told of, %s', async (_, stoppedFor) => {
    const setting = await afterBulk(0)
    const { clock, source } = setting
    for (let at = 0; at < 5; at++) {
      source.put('write', `document:single${at}`, clock.now)
      await follow(setting, 100)
    }
    const later = stoppedFor > 0 ? restarted(setting, stoppedFor) : setting
    // This log knows a place by its change: while it is followed that one stays.
    const at = source.entries.length - (stoppedFor > 0 ? 1 : 2)
    const gone = source.entries.splice(at, 1)
    for (let times = 0; times < 2; times++)
      await expect(follow(later, 2 * second)).rejects.toThrow(LogWentBack)
    // Such as a connection to another server: what was gone is there again.
    source.entries.splice(at, 0, ...gone)
    await follow(later, 2 * second)
  })

  test.each<[string, (setting: Setting) => Promise<Setting>]>([
    ['while it is followed', async (setting) => setting],
    ['while OpenFGA did not answer', notAnswered],
    ['while nobody followed it', async (setting) => restarted(setting, 60 * second)],
  ])('notices, %s, that others came in the place of what it told of', async (_, away) => {
    const setting = await afterBulk(0)
    const { clock, source } = setting
    for (let at = 0; at < 5; at++) {
      source.put('write', `document:single${at}`, clock.now)
      await follow(setting, 100)
    }
    const later = await away(setting)
    source.entries.splice(-2)
    for (let at = 0; at < 3; at++) source.put('write', `document:other${at}`, clock.now + at + 1)
    // As long as it is so, however much is written.
    for (let times = 0; times < 3; times++) {
      await expect(follow(later, 2 * second)).rejects.toThrow(LogWentBack)
      clock.now += 100 * second
      source.put('write', `document:more${times}`, clock.now)
    }
  })

  test.each<[string, (setting: Setting) => Promise<unknown>]>([
    ['at a look at the end', ({ follower }) => follower.readOn()],
    ["at an answer's look", ({ follower }) => follower.settle()],
    ['at a look for what came late', ({ follower }) => follower.rescanTail()],
  ])(
    'where OpenFGA tells a part %s, nothing is certain, and the next look skips nothing',
    async (_, look) => {
      for (const rows of [0, 1, 2]) {
        const setting = await afterSingles()
        const { clock, source, follower } = setting
        source.put('delete', 'document:single0', clock.now)
        source.put('write', 'document:news', clock.now)
        await follow(setting, 200)
        clock.now += rows === 0 ? 2 * second : second
        source.cut(...always(rows))
        const looked = look(setting)
        if (rows === 0) await expect(looked).rejects.toEqual(missed(false))
        else await looked.catch((error) => expect(error).toEqual(missed(false)))
        source.cut()
        source.put('write', 'document:later', clock.now)
        await follow(setting, second)
        expect(follower.doubt.isHeld).toBe(false)
        expect(['single0', 'news', 'later'].map((name) => has(setting, `document:${name}`))).toEqual([
          false,
          true,
          true,
        ])
      }
    },
  )

  test('an end is not believed that an answer without any change tells', async () => {
    const setting = await afterBulk(200)
    const { clock, source, follower } = setting
    const { endReadAt } = follower
    clock.now += second
    source.put('delete', 'document:d7', clock.now)
    source.cut(0)
    await expect(follower.readOn()).rejects.toEqual(missed(false))
    expect([follower.endReadAt, follower.tailReadAt]).toEqual([endReadAt, endReadAt])
    await follower.readOn()
    expect(has(setting, 'document:d7')).toBe(false)
  })

  test('what is missing at each look is missing for good after a minute of looks without one that failed', async () => {
    const setting = await afterSingles()
    const { clock, source, follower } = setting
    source.entries.splice(-1)
    const lookFor = async (seconds: number) => {
      for (let passed = 0; passed < seconds; passed++) {
        await expect(follower.readOn()).rejects.toEqual(missed(false))
        clock.now += second
      }
    }
    await lookFor(50)
    source.fail(new Error('away'))
    await expect(follower.readOn()).rejects.toThrow('away')
    source.fail(undefined)
    await lookFor(50)
    clock.now += 15 * second
    await lookFor(2)
    clock.now += 15 * second
    await expect(follower.readOn()).rejects.toEqual(missed(true))
  })

  test('nothing is missing for good where the process stands still between two looks', async () => {
    const { clock, source, follower } = await afterSingles()
    source.cut(...always(0))
    for (let looks = 0; looks < 3; looks++) {
      await expect(follower.readOn()).rejects.toEqual(missed(false))
      clock.now += 3_600 * second
    }
    source.cut()
    await follower.readOn()
    expect(follower.doubt.isHeld).toBe(false)
  })

  test('a removal is heard where each answer is cut after one row, long after anything was written', async () => {
    const setting = await afterSingles()
    const { clock, source } = setting
    await follow(setting, 200 * second)
    source.cut(...always(1))
    source.put('delete', 'document:single2', clock.now)
    await follow(setting, second)
    expect(has(setting, 'document:single2')).toBe(false)
  })

  test('a look that failed leaves no doubt where the last change was stamped before the one before it', async () => {
    const setting = await afterSingles()
    const { clock, source, follower } = setting
    const stamp = clock.now
    source.put('write', 'document:later', stamp)
    await follower.readOn()
    source.put('write', 'document:earlier', stamp)
    const last = source.entries.pop() as (typeof source.entries)[number]
    source.entries.push({ ...last, tuple: { ...last.tuple, writtenAt: stamp - 3 } })
    await follower.readOn()
    source.fail(new Error('away'))
    await expect(follower.readOn()).rejects.toThrow('away')
    source.fail(undefined)
    await follow(setting, 2 * second)
    expect([follower.doubt.isHeld, has(setting, 'document:earlier')]).toEqual([false, true])
  })

  test('a place that is refused while something is missed is missed as well, and nothing is begun anew', async () => {
    const { source, follower } = await afterSingles()
    source.cut(...always(0))
    await expect(follower.readOn()).rejects.toEqual(missed(false))
    source.fail(new PositionRefused('no such place'))
    await expect(follower.readOn()).rejects.toEqual(missed(false))
    source.fail(undefined)
    source.cut()
    await follower.readOn()
    expect(follower.doubt.isHeld).toBe(false)
  })

  test('a part never puts an earlier change over a later one', async () => {
    const first = await afterSingles()
    const { clock, source } = first
    const next = restarted(first, second)
    source.put('delete', 'document:single4', clock.now)
    source.put('write', 'document:news', clock.now)
    // Of what is read from before the place that was stored, all but what came last.
    const reads = next.follower.readOn()
    source.cut(100, 5)
    await expect(reads).rejects.toEqual(missed(false))
    expect([has(next, 'document:single4'), has(next, 'document:news')]).toEqual([false, true])
    await next.follower.readOn()
    expect([has(next, 'document:single4'), next.follower.doubt.isHeld]).toEqual([false, false])
  })

  test('a part is not stored as all that came after what another process stored', async () => {
    const setting = await afterSingles()
    const { clock, source, follower } = setting
    const mark = follower.mark as Mark
    for (let at = 0; at < 3; at++) source.put('delete', `document:single${at}`, clock.now + at)
    await follower.readOn()
    source.cut(6)
    await expect(follower.readFrom(mark)).rejects.toEqual(missed(false))
    await follower.readOn()
    const changed = await follower.readFrom(mark)
    expect(changed.map(({ object }) => object)).toEqual(
      expect.arrayContaining(['document:single0', 'document:single1', 'document:single2']),
    )
  })

  test('does not look for a change that stood at another position than the mark', async () => {
    const setting = await afterBulk(0)
    const { clock, source, follower } = setting
    source.put('write', 'document:early', clock.now)
    await follow(setting, 100)
    const { last } = follower.mark ?? {}
    clock.now += 200 * second
    source.put('write', 'document:late', clock.now)
    await follow(setting, 100)
    // As a version that does not know of it would carry it along.
    const mark = { ...(follower.mark as Mark), ...(last && { last }) }
    const again = open(clock, source, { replica: setting.replica })
    again.follower.start(mark, { isOld: true })
    await expect(follow(again, second)).resolves.toBeUndefined()
  })

  test.each<[string, boolean, number?]>([
    ['is noticed once a mark that began later is told of', true],
    ['is noticed as soon where our clock was set back meanwhile', true, 3_600 * second],
    ['is waited for where it only lags', false],
  ])('behind a server that may lag, what is missing %s', async (_, isLost, setBackMs = 0) => {
    const clock = { now: began }
    let backMs = 0
    const ours = {
      get now() {
        return clock.now - backMs
      },
      set now(ms) {
        clock.now = ms + backMs
      },
    }
    const source = createLog(clock, 10)
    await using watermarks = new Watermarks({
      id: 'own',
      now: () => ours.now,
      onWritten: () => undefined,
      onError: (error) => expect.unreachable(String(error)),
      fga: {
        async write({ writes = [], deletes = [] }) {
          for (const { user, object } of writes) source.put('write', object, clock.now, user)
          for (const { user, object } of deletes) source.put('delete', object, clock.now, user)
        },
      },
    })
    const mark = async () => {
      clock.now += 100
      // Longer than it rests between two.
      await new Promise((resolve) => setTimeout(resolve, 350))
      watermarks.wake()
      const last = () => source.entries.at(-1)?.tuple.object
      await expect.poll(last).toBe('watermark:own')
    }
    const setting = open(ours, source, { watermarks })
    setting.follower.start({ position: {}, reconciledAt: clock.now }, { isOld: false })
    await mark()
    for (let at = 0; at < 3; at++) source.put('write', `document:single${at}`, clock.now + at)
    await follow(setting, 100)
    await notAnswered(setting)
    const gone = source.entries.splice(-1)
    source.put('write', 'document:other', clock.now)
    await follow(setting, second)
    backMs = setBackMs
    if (!isLost) {
      source.entries.splice(-1, 0, ...gone)
      await mark()
      return await expect(follow(setting, second)).resolves.toBeUndefined()
    }
    await mark()
    await expect(follow(setting, second)).rejects.toThrow(LogWentBack)
  })

  test('behind a server that may lag, what is doubted is not called a cut as long as it is missing', async () => {
    const clock = { now: began }
    const source = createLog(clock, 10)
    const told: string[] = []
    await using index = createPermissionIndex({
      fga: { readChanges: source.log.readChanges, async *readAll() {} },
      marks: {
        id: 'own',
        fga: {
          async write({ writes = [] }) {
            for (const { user, object } of writes) source.put('write', object, clock.now, user)
          },
        },
      },
      storage: unstored,
      now: () => clock.now,
      elapsed: () => clock.now,
      log: (event) => void told.push(event),
      pollMs: 1e6,
    })
    const look = () => index.catchUp().catch(() => undefined)
    const mark = async () => {
      clock.now += 100
      // Longer than it rests between two.
      await new Promise((resolve) => setTimeout(resolve, 350))
      index.ownMarks()
      await expect.poll(() => source.entries.at(-1)?.tuple.object).toBe('watermark:own')
      await look()
    }
    await mark()
    source.put('write', 'document:single', clock.now)
    await look()
    source.fail(new Error('away'))
    await look()
    source.fail(undefined)
    source.entries.splice(-1)
    source.put('write', 'document:other', clock.now)
    await look()
    await mark()
    expect(index.isLogDoubted).toBe(true)
    // By another server, which has not heard of the mark.
    source.entries.splice(-1)
    await index.catchUp()
    expect([index.isLogDoubted, told]).toEqual([true, expect.not.arrayContaining(['openfga_log_cut'])])
  })

  test('a process that starts doubts the log until it found what is stored there, however long that loads', async () => {
    const setting = await afterBulk(20)
    const { source, clock } = setting
    const mark = setting.follower.mark as Mark
    const gone = source.entries.splice(-1)
    const loading = Promise.withResolvers<undefined>()
    const told: string[] = []
    await using index = createPermissionIndex({
      fga: { readChanges: source.log.readChanges, async *readAll() {} },
      storage: {
        ...unstored,
        peek: async () => ({ mark, version: 1, isQuiet: true }),
        load: () => loading.promise,
      },
      now: () => clock.now,
      elapsed: () => clock.now,
      log: (event) => void told.push(event),
      pollMs: 1,
    })
    expect(index.isLogDoubted).toBe(true)
    await index.firstLook
    for (let looks = 0; looks < 3; looks++) {
      await expect(index.catchUp()).rejects.toEqual(missed(false))
      expect(index.isLogDoubted).toBe(true)
    }
    source.entries.push(...gone)
    await vi.waitUntil(() => !index.isLogDoubted, { timeout: 10_000 })
    expect(index.status().state).toBe('broken')
    loading.resolve(undefined)
  })

  test('a change in the middle of what was told of that is gone stays noticed, until all is read anew', async () => {
    const clock = { now: began }
    const source = createLog(clock, 1)
    const saved: (string | undefined)[] = []
    await using index = createPermissionIndex({
      fga: {
        readChanges: source.log.readChanges,
        async *readAll() {
          yield source.entries.map(({ tuple }) => tuple)
        },
      },
      storage: {
        ...unstored,
        async save({ version, mark }) {
          saved.push(mark?.last?.id)
          return version + 1
        },
      },
      now: () => clock.now,
      elapsed: () => clock.now,
      log: () => undefined,
      pollMs: 1,
    })
    await vi.waitUntil(() => index.status().state === 'following', { timeout: 10_000 })
    for (let at = 0; at < 3; at++) source.put('write', `document:single${at}`, clock.now)
    await vi.waitUntil(() => index.status().tuples === 3, { timeout: 10_000 })
    source.entries.splice(1, 1)
    await vi.waitUntil(() => index.isLogDoubted, { timeout: 10_000 })
    for (let looks = 0; looks < 15; looks++) {
      clock.now += 5 * second
      await index.catchUp().catch(() => undefined)
    }
    expect(index.logWentBack).toBe(true)
    const { length } = saved
    for (let at = 0; at < 3; at++) {
      source.put('write', `document:more${at}`, clock.now)
      const { length: looks } = source.reads
      await vi.waitUntil(() => source.reads.length > looks + 2, { timeout: 10_000 })
    }
    expect(index.logWentBack).toBe(true)
    expect(saved).toHaveLength(length)
    await index.rebuild()
    expect([index.logWentBack, index.status().tuples]).toEqual([false, 5])
  })
})
