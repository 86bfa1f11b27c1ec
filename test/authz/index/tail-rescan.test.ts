import { describe, expect, test, vi } from 'vitest'
import { type Change, type ChangePosition, type Fga, PositionRefused } from '../../../src/authz/fga.ts'
import { createPermissionIndex } from '../../../src/authz/index/create.ts'
import { LogReader, LogWentBack } from '../../../src/authz/index/log-reader.ts'
import { Replica } from '../../../src/authz/index/replica.ts'
import type { Mark, Storage } from '../../../src/authz/index/storage.ts'
import { Watermarks } from '../../../src/authz/index/watermarks.ts'

const second = 1_000
const began = 1_800_000_000_000

/**
 * A log in which changes are stamped when they like and appear when they are put in, and each read takes its
 * time.
 */
function createLog(clock: { now: number }, readMs: number) {
  const entries: (Change & { readonly id: string })[] = []
  const reads: { readonly position: ChangePosition; readonly count: number }[] = []
  const stamps = new Map<string, number>()
  let failure: Error | undefined
  let cutAfter: readonly number[] = []
  let ids = 0

  /** As OpenFGA has it: a place is one in the order of stamps, whether its change is there or not. */
  const placeAfter = (id: string): number => {
    const found = entries.findIndex((entry) => entry.id === id)
    if (found >= 0) return found + 1
    const next = entries.findIndex(({ tuple }) => tuple.writtenAt > (stamps.get(id) ?? 0))
    return next < 0 ? entries.length : next
  }

  const log: Pick<Fga, 'readChanges'> = {
    async readChanges(position, { limit = 100 } = {}) {
      clock.now += readMs
      if (failure !== undefined) throw failure
      const { after, startTime = 0 } = position
      const from =
        after === undefined
          ? entries.findIndex(({ tuple }) => tuple.writtenAt >= startTime)
          : placeAfter(after)
      const [rowsMax = limit, ...later] = cutAfter
      cutAfter = later
      const changes = from < 0 ? [] : entries.slice(from, from + Math.min(limit, rowsMax))
      reads.push({ position, count: changes.length })
      const last = changes.at(-1)
      return { changes, position: last ? { after: last.id } : position, isEnd: changes.length < limit }
    },
  }

  return {
    log,
    entries,
    reads,
    fail(error: Error | undefined) {
      failure = error
    },
    /** The next answers end after so many rows and say that this is all: OpenFGA lost its database. */
    cut(...rows: number[]) {
      cutAfter = rows
    },
    put(operation: Change['operation'], object: string, writtenAt: number, user = 'user:anne') {
      ids += 1
      const entry: Change & { readonly id: string } = {
        id: `token ${ids}`,
        operation,
        tuple: { user, relation: 'viewer', object, writtenAt },
      }
      stamps.set(entry.id, writtenAt)
      const before = entries.findLastIndex(({ tuple }) => tuple.writtenAt <= writtenAt)
      entries.splice(before + 1, 0, entry)
    },
  }
}

interface Setting {
  readonly clock: { now: number }
  readonly source: ReturnType<typeof createLog>
  readonly follower: LogReader
  readonly replica: Replica
  /** How many changes were told of at once, in turn. */
  readonly slices: number[]
}

function open(
  clock: Setting['clock'],
  source: Setting['source'],
  {
    replica = new Replica(),
    watermarks,
  }: { readonly replica?: Replica; readonly watermarks?: Watermarks } = {},
): Setting {
  const slices: number[] = []
  const follower = new LogReader({
    fga: source.log,
    now: () => clock.now,
    signal: new AbortController().signal,
    ...(watermarks && { watermarks }),
    onChanges(changes) {
      slices.push(changes.length)
      replica.apply(changes)
    },
  })
  return { clock, source, follower, replica, slices }
}

/** After a bulk of `bulk` changes, two a millisecond, read to the end. */
async function afterBulk(bulk: number, readMs = 10): Promise<Setting> {
  const clock = { now: began }
  const setting = open(clock, createLog(clock, readMs))
  const { source, follower, slices } = setting
  for (let at = 0; at < bulk; at++) source.put('write', `document:d${at}`, began - bulk / 2 + (at >> 1))
  follower.start({ position: {}, reconciledAt: clock.now }, { isOld: false })
  await follower.readOn()
  source.reads.length = 0
  slices.length = 0
  return setting
}

/** The process stops and starts again after so long, with what it stored. */
function restarted({ clock, source, follower, replica }: Setting, afterMs: number): Setting {
  const { mark } = follower
  if (mark === undefined) throw new Error('nothing stored')
  clock.now += afterMs
  const setting = open(clock, source, { replica })
  setting.follower.start(mark, { isOld: true })
  return setting
}

/** As while its database is away, for longer than anything is looked at again. */
async function notAnswered(setting: Setting): Promise<Setting> {
  const { clock, source, follower } = setting
  source.fail(new Error('away'))
  await follower.readOn().catch(() => undefined)
  clock.now += 200 * second
  source.fail(undefined)
  return setting
}

const has = ({ replica }: Setting, object: string): boolean =>
  replica.get({ user: 'user:anne', relation: 'viewer', object, writtenAt: 0 }) !== undefined

/** As the index does: to the end of the log, then a moment of looking back, until so much time has passed. */
async function follow({ clock, follower }: Setting, forMs: number): Promise<void> {
  for (const end = clock.now + forMs; clock.now < end; clock.now += 100) {
    await follower.readOn()
    await follower.rescanTail()
  }
}

const unstored: Storage = {
  load: async () => undefined,
  peek: async () => undefined,
  begin: async () => 1,
  save: async ({ version }) => version + 1,
}

const missed = (isCertain: boolean) => expect.objectContaining({ name: 'LogWentBack', isCertain })

describe('looking again at what was read of the log', () => {
  test('never keeps the end of the log waiting for longer than a moment, however much was just written', async () => {
    const setting = await afterBulk(20_000)
    const { clock, follower } = setting
    let longest = 0
    for (const end = clock.now + 40 * second; clock.now < end; clock.now += 100) {
      await follower.readOn()
      const before = clock.now
      await follower.rescanTail()
      longest = Math.max(longest, clock.now - before)
    }
    expect(setting.source.reads.length).toBeGreaterThan(200)
    expect(longest).toBeLessThanOrEqual(50)
  })

  test('tells of nothing where nothing came late', async () => {
    const setting = await afterBulk(10_000)
    await follow(setting, 100 * second)
    expect(setting.slices.filter((size) => size > 0)).toEqual([])
  })

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

  const always = (rows: number): number[] => Array.from({ length: 1_000 }, () => rows)

  /** Five single changes, and the page that has the last of them. */
  async function afterSingles(): Promise<Setting> {
    const setting = await afterBulk(0)
    for (let at = 0; at < 5; at++) {
      setting.source.put('write', `document:single${at}`, setting.clock.now)
      await follow(setting, 100)
    }
    return setting
  }

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
        expect(follower.isDoubted).toBe(false)
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
    expect(follower.isDoubted).toBe(false)
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
    expect([follower.isDoubted, has(setting, 'document:earlier')]).toEqual([false, true])
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
    expect(follower.isDoubted).toBe(false)
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
    expect([has(next, 'document:single4'), next.follower.isDoubted]).toEqual([false, false])
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

  test('reads a page again after OpenFGA did not answer, however much was just written', async () => {
    const { source, follower } = await afterBulk(20_000)
    source.fail(new Error('away'))
    await expect(follower.readOn()).rejects.toThrow('away')
    source.fail(undefined)
    source.reads.length = 0
    await follower.readOn()
    expect(source.reads.length).toBeLessThanOrEqual(4)
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

  test.each<[string, boolean]>([
    ['is noticed once a mark that began later is told of', true],
    ['is waited for where it only lags', false],
  ])('behind a server that may lag, what is missing %s', async (_, isLost) => {
    const clock = { now: began }
    const source = createLog(clock, 10)
    await using watermarks = new Watermarks({
      id: 'own',
      now: () => clock.now,
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
    const setting = open(clock, source, { watermarks })
    setting.follower.start({ position: {}, reconciledAt: clock.now }, { isOld: false })
    await mark()
    for (let at = 0; at < 3; at++) source.put('write', `document:single${at}`, clock.now + at)
    await follow(setting, 100)
    await notAnswered(setting)
    const gone = source.entries.splice(-1)
    source.put('write', 'document:other', clock.now)
    await follow(setting, second)
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

  test('looks at single changes by the page, and at none when nothing was written for long', async () => {
    const setting = await afterBulk(0)
    const { clock, source } = setting
    for (let at = 0; at < 50; at++) {
      source.put('write', `document:single${at}`, clock.now)
      await follow(setting, 100)
    }
    source.reads.length = 0
    await follow(setting, second)
    const looks = source.reads.filter(({ count }) => count > 1)
    expect(looks.length).toBeGreaterThan(0)
    expect(looks.length).toBeLessThanOrEqual(3)
    await follow(setting, 100 * second)
    source.reads.length = 0
    await follow(setting, 60 * second)
    // But for the last change of all, which shows that nothing came after it.
    expect(source.reads.filter(({ count }) => count > 1)).toEqual([])
  })

  test('finds what was committed late in the middle of a bulk', async () => {
    const setting = await afterBulk(20_000)
    setting.source.put('write', 'document:late', began - 9_000)
    setting.source.put('delete', 'document:d19990', began - 5)
    expect(has(setting, 'document:late')).toBe(false)
    await follow(setting, 40 * second)
    expect(has(setting, 'document:late')).toBe(true)
    expect(has(setting, 'document:d19990')).toBe(false)
  })

  test('finds within two seconds what was committed late a moment ago', async () => {
    const setting = await afterBulk(0)
    const { clock, source } = setting
    await follow(setting, 200 * second)
    const stamp = clock.now
    clock.now += 50
    source.put('write', 'document:after', clock.now)
    await follow(setting, 300)
    source.put('write', 'document:late', stamp)
    await follow(setting, 2 * second)
    expect(has(setting, 'document:late')).toBe(true)
  })

  test('tells of what came late with what was changed after it: memory never goes back', async () => {
    const setting = await afterBulk(400)
    const { clock, source, replica } = setting
    source.put('delete', 'document:d10', clock.now)
    await follow(setting, 100)
    expect(has(setting, 'document:d10')).toBe(false)
    source.put('write', 'document:late', began - 190)
    const seen: boolean[] = []
    const apply = replica.apply.bind(replica)
    Object.assign(replica, {
      apply(changes: Iterable<Change>) {
        const effects = apply(changes)
        seen.push(has(setting, 'document:d10'))
        return effects
      },
    })
    await follow(setting, 40 * second)
    expect(has(setting, 'document:late')).toBe(true)
    expect(seen).not.toContain(true)
  })

  test('gives others a turn between slices where much is told of at once', async () => {
    const setting = await afterBulk(20_000)
    setting.source.put('write', 'document:late', began - 9_900)
    let turns = 0
    const count = (): void => {
      turns += 1
      timer = setImmediate(count)
    }
    let timer = setImmediate(count)
    await follow(setting, 40 * second)
    clearImmediate(timer)
    expect(has(setting, 'document:late')).toBe(true)
    expect(Math.max(...setting.slices)).toBeLessThanOrEqual(200)
    expect(turns).toBeGreaterThan(50)
  })

  test('looks again where the log failed before what came late was in', async () => {
    const setting = await afterBulk(1_000)
    const { source, follower, clock } = setting
    source.put('write', 'document:late', began - 400)
    clock.now += 31 * second
    source.fail(new Error('down'))
    await expect(follower.rescanTail()).rejects.toThrow('down')
    source.fail(undefined)
    await follow(setting, 2 * second)
    expect(has(setting, 'document:late')).toBe(true)
  })

  test('finds after a restart what came late while nobody looked, however long that was', async () => {
    const first = await afterBulk(2)
    const { source } = first
    source.put('write', 'document:late', began - 50)
    source.put('write', 'document:news', began + 600 * second)
    const next = restarted(first, 601 * second)
    await next.follower.readOn()
    expect(has(next, 'document:news')).toBe(true)
    expect(has(next, 'document:late')).toBe(true)
  })

  test('finds after a restart what comes late only then', async () => {
    const setting = restarted(await afterBulk(2), second)
    await follow(setting, second)
    setting.source.put('write', 'document:late', began - 50)
    await follow(setting, 3 * second)
    expect(has(setting, 'document:late')).toBe(true)
  })

  test('looks at once, and as often as ever, where the clock was set back', async () => {
    const setting = await afterBulk(2)
    setting.clock.now -= 3_600 * second
    setting.source.put('write', 'document:late', began - 50)
    await follow(setting, second)
    expect(has(setting, 'document:late')).toBe(true)
    setting.source.reads.length = 0
    await follow(setting, 200 * second)
    expect(setting.source.reads.filter(({ count }) => count > 1).length).toBeLessThan(20)
  })
})

describe('where there is more to look at again than there is time', () => {
  const isDue = ({ follower }: Setting): boolean => follower.mark?.reconciledAt === 0

  test('what was passed over makes the comparison of all tuples due, in the place that is stored', async () => {
    const setting = await afterBulk(30_000, 200)
    await follow(setting, 85 * second)
    expect(isDue(setting)).toBe(false)
    await follow(setting, 10 * second)
    expect(isDue(setting)).toBe(true)
  })

  test('also where the process stood still: before anybody can store the place after it', async () => {
    const setting = await afterBulk(200)
    const { clock, source, follower } = setting
    clock.now += 70 * second
    source.put('write', 'document:news', clock.now)
    await follower.readOn()
    expect(isDue(setting)).toBe(true)
  })

  test('what was looked at in time does not, nor what was read when nothing could come late any more', async () => {
    const setting = await afterBulk(10_000)
    const { clock, source } = setting
    for (let at = 0; at < 1_000; at++) {
      source.put('write', `document:single${at}`, clock.now)
      await follow(setting, 300)
    }
    await follow(setting, 200 * second)
    expect(isDue(setting)).toBe(false)
    for (let at = 0; at < 10_000; at++) source.put('write', `document:m${at}`, clock.now + at * 60)
    const next = restarted(setting, 700 * second)
    await follow(next, 200 * second)
    expect(has(next, 'document:m9999')).toBe(true)
    expect(isDue(next)).toBe(false)
  })

  test('all tuples are compared where the clock was set back: nobody knows how long ago they were', async () => {
    const clock = { now: began }
    let readAll = 0
    await using _ = createPermissionIndex({
      fga: {
        readChanges: createLog(clock, 1).log.readChanges,
        async *readAll() {
          readAll += 1
          yield []
        },
      },
      storage: unstored,
      now: () => clock.now,
      log: () => undefined,
      pollMs: 1,
    })
    for (const reads of [1, 2, 3]) {
      await vi.waitUntil(() => readAll === reads, { timeout: 10_000 })
      clock.now -= 1_000 * second
    }
    expect(readAll).toBe(3)
  })

  test('the comparison finds it within minutes, and is due again for what was passed over meanwhile', async () => {
    const clock = { now: began }
    const source = createLog(clock, 1)
    let whileCompared: (() => Promise<void>) | undefined
    await using index = createPermissionIndex({
      fga: {
        readChanges: source.log.readChanges,
        async *readAll() {
          yield source.entries.map(({ tuple }) => tuple)
          const work = whileCompared
          whileCompared = undefined
          await work?.()
        },
      },
      storage: unstored,
      now: () => clock.now,
      log: () => undefined,
      pollMs: 1,
    })
    const comes = (count: number) => vi.waitUntil(() => index.status().tuples === count, { timeout: 10_000 })
    /** For longer than anything is looked at again; what came late comes into the middle of it. */
    const standStill = (name: string): void => {
      source.put('write', `document:late-${name}`, clock.now - second)
      clock.now += 70 * second
      source.put('write', `document:news-${name}`, clock.now)
    }
    source.put('write', 'document:first', began)
    await comes(1)
    whileCompared = async () => {
      standStill('two')
      await comes(3)
    }
    standStill('one')
    await comes(4)
    await vi.waitUntil(() => whileCompared === undefined, { timeout: 10_000 })
    expect(index.status().tuples).toBe(4)
    // Step by step: nothing else is passed over.
    for (let step = 0; step < 31; step++) {
      clock.now += 10 * second
      const { length } = source.reads
      await vi.waitUntil(() => source.reads.length >= length + 4, { interval: 2, timeout: 10_000 })
    }
    await comes(5)
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
