import { readFileSync } from 'node:fs'
import { transformer } from '@openfga/syntax-transformer'
import { describe, expect, test } from 'vitest'
import type { Change, ChangePosition, Fga, StoredTuple } from '../../../src/authz/fga.ts'
import { isAtTail } from '../../../src/authz/gate/precheck.ts'
import { createPermissionIndex } from '../../../src/authz/index/create.ts'
import type { Storage } from '../../../src/authz/index/storage.ts'
import { createElapsed } from '../../../src/kernel/elapsed.ts'

const model = transformer.transformDSLToJSONObject(
  readFileSync(new URL('../../../model.fga', import.meta.url), 'utf8'),
)
const began = 1_800_000_000_000
const unstored: Storage = {
  load: async () => undefined,
  peek: async () => undefined,
  begin: async () => 1,
  save: async ({ version }) => version,
}

/**
 * OpenFGA's log, in which a change may appear before others that were read, and the index that follows it.
 */
async function follow(...lines: readonly string[]) {
  const clock = { now: began, steady: 0 }
  const entries: (Change & { readonly id: number })[] = []
  let ids = 0
  let reads = 0
  let before: () => void | Promise<void> = () => undefined
  const put = (operation: Change['operation'], line: string, writtenAt = clock.now): void => {
    const [user = '', relation = '', object = ''] = line.split(' ')
    const tuple: StoredTuple = { user, relation, object, writtenAt }
    ids += 1
    entries.splice(entries.findLastIndex((one) => one.tuple.writtenAt <= writtenAt) + 1, 0, {
      id: ids,
      operation,
      tuple,
    })
  }
  const fga: Pick<Fga, 'readAll' | 'readChanges'> = {
    async *readAll() {
      yield entries.map(({ tuple }) => tuple)
    },
    async readChanges({ after, startTime = 0 }: ChangePosition, { limit = 100 } = {}) {
      reads += 1
      const waits = before()
      if (waits !== undefined) await waits
      const from =
        after === undefined
          ? entries.findIndex(({ tuple }) => tuple.writtenAt >= startTime)
          : entries.findIndex(({ id }) => String(id) === after) + 1
      const changes = from < 0 ? [] : entries.slice(from, from + limit)
      const last = changes.at(-1)
      return {
        changes,
        position: last ? { after: String(last.id) } : { after, startTime },
        isEnd: changes.length < limit,
      } as Awaited<ReturnType<Fga['readChanges']>>
    },
  }
  for (const line of lines) put('write', line)
  const index = createPermissionIndex({
    fga,
    storage: unstored,
    now: () => clock.now,
    elapsed: createElapsed(
      () => clock.now,
      () => clock.steady,
    ),
    log: () => undefined,
    pollMs: 1e6,
  })
  index.useModel('m', model)
  await index.catchUp()
  // Long ago: nothing of it can get company any more.
  clock.now += 60_000
  await index.catchUp()
  return {
    index,
    clock,
    put,
    get reads() {
      return reads
    },
    beforeRead(then: () => void | Promise<void>) {
      before = then
    },
    [Symbol.asyncDispose]: () => index[Symbol.asyncDispose](),
  }
}

const filed = [
  'folder:inner parent document:a',
  'folder:inner parent document:b',
  'group:team#member viewer folder:inner',
  'user:anne member group:team',
  'user:bob viewer document:c',
]
const all = ['a', 'b', 'c']

test('nothing is worked out by a replica whose clock was set back before the log is read to its end again', async () => {
  await using world = await follow(...filed)
  expect(world.index.view()).toBeDefined()
  world.clock.now -= 3_600_000
  expect(world.index.view()).toBeUndefined()
  await world.index.catchUp()
  expect(world.index.view()).toBeDefined()
})

test('a clock that was set back makes a replica no younger that cannot read the log: it is out of use, and at no tail', async () => {
  await using world = await follow(...filed)
  const { index, clock } = world
  const isKnown = () => [index.view() !== undefined, isAtTail(index.status(), clock.now)]
  const pass = (ms: number) => {
    clock.now += ms
    clock.steady += ms
  }
  clock.now -= 100
  pass(900)
  expect(isKnown()).toEqual([true, true])
  pass(100)
  expect(isKnown()).toEqual([true, false])
  clock.now -= 4_900
  pass(5_200)
  // By the machine's clock the log was read 1.2 seconds ago.
  expect(clock.now - (index.status().tailReadAt ?? 0)).toBe(1_200)
  expect(index.status().lagMs).toBe(6_200)
  expect(isKnown()).toEqual([false, false])
  await index.catchUp()
  expect(isKnown()).toEqual([true, true])
})

describe('what the log told of since something was asked', () => {
  test('is nothing where it is read to its end and tells of nothing', async () => {
    await using world = await follow(...filed)
    const changed = world.index.watch()
    expect([...(await changed(all))]).toEqual([])
  })

  test.each<[string, Change['operation'], string, string[]]>([
    ['a tuple that came', 'write', 'user:zoe member group:team', ['a', 'b']],
    ['a tuple that went', 'delete', 'user:anne member group:team', ['a', 'b']],
    ['a tuple on the document', 'write', 'user:zoe blocked document:c', ['c']],
    ['a step on the way that went', 'delete', 'group:team#member viewer folder:inner', ['a', 'b']],
    ['what nothing leads to', 'write', 'user:zoe member group:other', []],
  ])('%s', async (_, operation, line, expected) => {
    await using world = await follow(...filed)
    const changed = world.index.watch()
    world.put(operation, line)
    expect([...(await changed(all))]).toEqual(expected)
  })

  test('a tuple that came and went again between two reads', async () => {
    await using world = await follow(...filed)
    const changed = world.index.watch()
    world.put('write', 'user:zoe member group:team')
    world.put('delete', 'user:zoe member group:team')
    expect([...(await changed(all))]).toEqual(['a', 'b'])
  })

  test('what another reader of the log heard meanwhile', async () => {
    await using world = await follow(...filed)
    const changed = world.index.watch()
    world.put('delete', 'user:anne member group:team')
    await world.index.catchUp()
    expect([...(await changed(all))]).toEqual(['a', 'b'])
    // And not what was heard before it was watched.
    expect([...(await world.index.watch()(all))]).toEqual([])
  })

  test('what was stamped before others that were read, and came after them', async () => {
    await using world = await follow(...filed)
    world.put('write', 'user:zoe member group:other')
    await world.index.catchUp()
    const changed = world.index.watch()
    world.put('delete', 'user:anne member group:team', world.clock.now - 5)
    expect([...(await changed(all))]).toEqual(['a', 'b'])
  })
})

test('nothing has changed however much was written just before', async () => {
  await using world = await follow(...filed)
  for (let n = 0; n < 500; n++) world.put('write', `user:zoe member group:g${n}`)
  await world.index.catchUp()
  expect([...(await world.index.watch()(all))]).toEqual([])
})

test.each([0, 40, 99])(
  'one page of the log tells that nothing has changed, where %i changes came just before',
  async (count) => {
    await using world = await follow(...filed)
    for (let n = 0; n < count; n++) world.put('write', `user:zoe member group:g${n}`)
    await world.index.catchUp()
    const { reads } = world
    expect([...(await world.index.watch()(all))]).toEqual([])
    expect(world.reads - reads).toBe(1)
  },
)

describe('all may have changed', () => {
  test('where the log cannot be read', async () => {
    await using world = await follow(...filed)
    const changed = world.index.watch()
    world.beforeRead(() => {
      throw new Error('gone')
    })
    expect([...(await changed(all))]).toEqual(all)
  })

  test('where it was built anew meanwhile', async () => {
    await using world = await follow(...filed)
    const changed = world.index.watch()
    await world.index.rebuild()
    expect([...(await changed(all))]).toEqual(all)
  })

  test('where the log is not answered for', async () => {
    await using world = await follow(...filed)
    const changed = world.index.watch()
    const { promise, resolve } = Promise.withResolvers<void>()
    world.beforeRead(() => promise)
    try {
      expect([...(await changed(all))]).toEqual(all)
    } finally {
      resolve()
    }
  })

  test('where nobody waits for the log any more', async () => {
    await using world = await follow(...filed)
    const changed = world.index.watch()
    expect([...(await changed(all, { signal: AbortSignal.abort() }))]).toEqual(all)
  })
})

test('a read of the log that began before the call is not counted, and those who wait share the next one', async () => {
  await using world = await follow(...filed)
  const changed = world.index.watch()
  const { reads } = world
  let then: Promise<ReadonlySet<string>[]> | undefined
  world.beforeRead(() => {
    world.beforeRead(() => undefined)
    // While the first one is under way.
    queueMicrotask(() => {
      world.put('delete', 'user:anne member group:team')
      then = Promise.all(Array.from({ length: 20 }, () => changed(all)))
    })
  })
  await changed(all)
  for (const found of (await then) ?? []) expect([...found]).toEqual(['a', 'b'])
  expect(then).toBeDefined()
  expect(world.reads - reads).toBeLessThanOrEqual(3)
})
