import { transformer } from '@openfga/syntax-transformer'
import { describe, expect, test, vi } from 'vitest'
import type { Change, TupleKey } from '../../../src/authz/fga.ts'
import { createPermissionIndex } from '../../../src/authz/index/create.ts'
import { catchUpAfterWrites } from '../../../src/authz/index/own-writes.ts'
import { holdsShare } from '../../../src/authz/index/share.ts'
import { createAnswerer } from '../../../src/retrieval/nominators/answer.ts'
import { afterBulk, began, createLog, follow, has, restarted, type Setting, second, unstored } from './log.ts'

const model = transformer.transformDSLToJSONObject(`model
  schema 1.1
type user
type document
  relations
    define viewer: [user]
`)

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

  test('reads a page again after OpenFGA did not answer, however much was just written', async () => {
    const { source, follower } = await afterBulk(20_000)
    source.fail(new Error('away'))
    await expect(follower.readOn()).rejects.toThrow('away')
    source.fail(undefined)
    source.reads.length = 0
    await follower.readOn()
    expect(source.reads.length).toBeLessThanOrEqual(4)
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

  test('a writer goes on when the index has its write, however many others were numbered after it', async () => {
    const clock = { now: began }
    const source = createLog(clock, 1)
    await using index = createPermissionIndex({
      fga: { readChanges: source.log.readChanges, async *readAll() {} },
      storage: unstored,
      now: () => clock.now,
      elapsed: () => clock.now,
      log: (event, details) => expect.unreachable(`${event} ${JSON.stringify(details)}`),
      pollMs: 1e6,
    })
    for (let at = 0; at < 400; at++) source.put('write', `document:d${at}`, began + at)
    await index.catchUp()
    index.useModel('m', model)
    const written = catchUpAfterWrites(index, () => undefined)
    const tuple = (name: string): TupleKey => ({
      user: 'user:anne',
      relation: 'viewer',
      object: `document:${name}`,
    })
    for (const [name, stamp] of [
      ['behind', 200],
      ['right-behind', 390],
    ] as const) {
      source.put('write', `document:${name}`, began + stamp)
      await written({ writes: [tuple(name)] })
      expect(index.holds({ writes: [tuple(name)] })).toBe(true)
    }
    source.put('delete', 'document:d7', began + 100)
    await written({ deletes: [tuple('d7')] })
    expect(index.view()?.tuples.get(tuple('d7'))).toBeUndefined()
  })

  test.each([
    ['', undefined],
    [', also where OpenFGA may lag', { fga: { write: async () => undefined }, id: 'one' }],
  ])('a nominator that is asked to read on has what was committed late as well%s', async (_, marks) => {
    const clock = { now: began }
    const source = createLog(clock, 1)
    await using index = createPermissionIndex({
      fga: { readChanges: source.log.readChanges, async *readAll() {} },
      storage: unstored,
      now: () => clock.now,
      elapsed: () => clock.now,
      log: (event, details) => expect.unreachable(`${event} ${JSON.stringify(details)}`),
      pollMs: 1e6,
      part: holdsShare({ number: 1, of: 1 }),
      ...(marks && { marks }),
    })
    await index.catchUp()
    index.useModel('m', model)
    const answer = createAnswerer({
      index,
      corpus: { refresh: async () => undefined },
      snapshots: { of: () => expect.unreachable() },
      share: { number: 1, of: 1 },
      modelId: () => 'm',
      now: () => clock.now,
    })
    let turn = 0
    const isLateOneSeen = async () => {
      turn += 1
      source.put('write', `document:d${turn}`, began + 10 * turn)
      await index.catchUp()
      source.put('write', `document:late${turn}`, began + 10 * turn - 5)
      const said = await answer(
        {
          nonce: 'n'.repeat(22),
          share: '1/1',
          model_id: 'm',
          user: 'user:anne',
          contextual: [],
          visible: [],
          allowed: [{ relation: 'viewer', object: `document:late${turn}` }],
          marks: 'none',
          read_on: true,
        },
        new AbortController().signal,
      )
      return typeof said === 'string' ? said : said.allowed
    }
    // Reading on may take half a second, which a machine that stands still may be for.
    await expect.poll(isLateOneSeen, { timeout: 10_000 }).toEqual([true])
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
      elapsed: () => clock.now,
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
      elapsed: () => clock.now,
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
})
