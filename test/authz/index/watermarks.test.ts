import { readFileSync } from 'node:fs'
import { transformer } from '@openfga/syntax-transformer'
import { afterEach, beforeEach, describe, expect, test, vi } from 'vitest'
import {
  type Change,
  type ChangePosition,
  type Fga,
  type Tuple,
  type TupleKey,
  tupleId,
} from '../../../src/authz/fga.ts'
import { isRecent } from '../../../src/authz/gate/precheck.ts'
import { createPermissionIndex } from '../../../src/authz/index/create.ts'
import type { Storage } from '../../../src/authz/index/storage.ts'
import { Watermarks } from '../../../src/authz/index/watermarks.ts'
import { anne } from '../double.ts'
import { gateOf } from '../parts.ts'

const json = transformer.transformDSLToJSONObject(
  readFileSync(new URL('../../../model.fga', import.meta.url), 'utf8'),
)
const unstored: Storage = {
  load: async () => undefined,
  peek: async () => undefined,
  begin: async () => 1,
  save: async ({ version }) => version,
}
const anneReads: Tuple = { user: 'user:anne', relation: 'viewer', object: 'document:a' }

beforeEach(() => {
  vi.useFakeTimers({ toFake: ['Date', 'setTimeout', 'clearTimeout'] })
})
afterEach(() => {
  vi.useRealTimers()
})

/**
 * OpenFGA whose log is read from a secondary that shows what was committed until `shown()`; all else is the
 * primary's.
 */
function openSecondary() {
  const log: { readonly id: number; readonly change: Change }[] = []
  const stored = new Map<string, Tuple>()
  let shown = (): number => Date.now()
  let writes = true
  const put = (operation: Change['operation'], tuple: Tuple): void => {
    if (stored.has(tupleId(tuple)) === (operation === 'write')) return
    if (operation === 'write') stored.set(tupleId(tuple), tuple)
    else stored.delete(tupleId(tuple))
    log.push({
      id: log.length + 1,
      change: { operation, tuple: { ...tuple, writtenAt: Date.now() } },
    })
  }
  const fga = {
    storeId: 's',
    modelId: 'm',
    async *readAll() {
      yield [...stored.values()].map((tuple) => ({ ...tuple, writtenAt: Date.now() }))
    },
    async readChanges({ after, startTime = 0 }: ChangePosition, { limit = 100 } = {}) {
      const visible = log.filter(({ change }) => change.tuple.writtenAt <= shown())
      const rest = visible.filter(({ id, change }) =>
        after === undefined ? change.tuple.writtenAt >= startTime : id > Number(after),
      )
      const changes = rest.slice(0, limit)
      const last = changes.at(-1)
      return {
        changes: changes.map(({ change }) => change),
        position: last ? { after: String(last.id) } : after === undefined ? { startTime } : { after },
        isEnd: changes.length < limit,
      }
    },
    async write({ writes: added = [], deletes = [] }: Parameters<Fga['write']>[0]) {
      if (!writes) throw new Error('read only')
      for (const tuple of deletes) put('delete', tuple)
      for (const tuple of added) put('write', tuple)
    },
    async batchCheck(checks: Parameters<Fga['batchCheck']>[0]) {
      return {
        verdicts: checks.map(({ user, relation, object }) =>
          relation === 'can_read' && stored.has(tupleId({ user, relation: 'viewer', object }))
            ? ('allowed' as const)
            : ('denied' as const),
        ),
        requestIds: [],
      }
    },
  } as unknown as Fga
  return {
    fga,
    put,
    stored,
    rows: () => log.length,
    show(until: () => number) {
      shown = until
    },
    refuseWrites() {
      writes = false
    },
  }
}

async function openWorld() {
  const openfga = openSecondary()
  openfga.put('write', anneReads)
  const logged: string[] = []
  const now = Date.now
  const index = createPermissionIndex({
    fga: openfga.fga,
    storage: unstored,
    now,
    steady: now,
    log: (event) => void logged.push(event),
    pollMs: 100,
    marks: { fga: openfga.fga, id: 'p1' },
  })
  index.useModel('m', json)
  const gate = gateOf({ fga: openfga.fga, now, index, ttlMs: 60_000 })
  const ask = async () => {
    const clearing = gate.open(anne, { consistency: 'fast' })
    await clearing.clear([{ documentId: 'a' }])
    return clearing.proofOf('a')?.kind ?? 'refused'
  }
  /** Asks every 100 ms, and gives the answers. */
  async function askFor(ms: number): Promise<string[]> {
    const answers: string[] = []
    for (let passed = 0; passed < ms; passed += 100) {
      answers.push(await ask())
      await vi.advanceTimersByTimeAsync(100)
    }
    return answers
  }
  await vi.advanceTimersByTimeAsync(200)
  return {
    ...openfga,
    index,
    logged,
    ask,
    askFor,
    [Symbol.asyncDispose]: () => index[Symbol.asyncDispose](),
  }
}

describe('where OpenFGA reads its log from a secondary', () => {
  test('a yes is held while that keeps up', async () => {
    await using world = await openWorld()
    const answers = await world.askFor(3_000)
    expect(answers.slice(10).filter((one) => one !== 'held')).toEqual([])
    expect(world.index.status().lagMs).toBeLessThan(1_000)
  })

  test.each([500, 2_000, 20_000])(
    'that is %i ms behind: what another process took away is said by nobody a second later',
    async (lag) => {
      await using world = await openWorld()
      expect(await world.askFor(2_000)).toContain('held')
      world.show(() => Date.now() - lag)
      await world.askFor(lag + 1_000)
      world.put('delete', anneReads)
      await world.askFor(1_000)
      expect(new Set(await world.askFor(lag + 2_000))).toEqual(new Set(['refused']))
    },
  )

  test('that stands still for 20 s between two looks: no held yes after a second, and it is said how old all is', async () => {
    await using world = await openWorld()
    expect(await world.askFor(2_000)).toContain('held')
    const stopped = Date.now()
    world.show(() => stopped)
    world.put('delete', anneReads)
    await world.askFor(1_000)
    expect(new Set(await world.askFor(19_000))).toEqual(new Set(['refused']))
    expect(world.index.status().lagMs).toBeGreaterThan(19_000)
    world.show(Date.now)
    await world.askFor(1_000)
    expect(world.index.status().lagMs).toBeLessThan(1_000)
  })

  test('that knows less than another one did: only what is written from then on shows how far it is', async () => {
    await using world = await openWorld()
    await world.askFor(2_000)
    const behind = Date.now() - 1_500
    world.show(() => behind)
    // The looks back find that changes which were read are gone.
    await vi.advanceTimersByTimeAsync(1_500)
    expect(world.index.status().tailReadAt).toBeUndefined()
    world.show(Date.now)
    await world.askFor(1_000)
    expect(world.index.status().lagMs).toBeLessThan(1_000)
  })

  test('nothing is asked in parts: no read of it tells what changed meanwhile', async () => {
    await using world = await openWorld()
    const question = { user: 'user:anne', relation: 'can_read', contextual: [] } as const
    world.put('write', { user: 'folder:f', relation: 'parent', object: 'document:b' })
    world.put('write', { user: 'group:g#member', relation: 'viewer', object: 'folder:f' })
    world.put('write', { user: 'user:anne', relation: 'member', object: 'group:g' })
    await vi.advanceTimersByTimeAsync(300)
    expect(world.index.evaluate(question, ['b'], Date.now())?.get('b')?.allowed).toBe(true)
    expect([...world.index.decompose(question, ['b'], Date.now())]).toEqual([])
  })
})

describe('the marks', () => {
  test('one row of the log each time, at most one is stored, and none is written while nobody asks', async () => {
    await using world = await openWorld()
    expect(world.rows()).toBe(1)
    await world.askFor(3_000)
    const rows = world.rows()
    expect(rows).toBeGreaterThan(6)
    expect(rows).toBeLessThan(14)
    expect(
      [...world.stored.values()].filter(({ object }) => object.startsWith('watermark:')).length,
    ).toBeLessThan(2)
    await vi.advanceTimersByTimeAsync(61_000)
    const after = world.rows()
    await vi.advanceTimersByTimeAsync(600_000)
    expect(world.rows()).toBe(after)
    // Asked again, it is answered without what is held, and a moment later with it.
    expect(await world.ask()).not.toBe('held')
    expect((await world.askFor(1_000)).at(-1)).toBe('held')
  })

  test('go with their process', async () => {
    const world = await openWorld()
    await world.askFor(400)
    await world.index[Symbol.asyncDispose]()
    expect([...world.stored.keys()].filter((one) => one.includes('watermark:'))).toEqual([])
  })

  test.each([
    ['', 0],
    [', and none before by a clock that is an hour ahead', 3_600_000],
  ])('of processes that left them behind are taken away after an hour%s', async (_, aheadMs) => {
    const { fga, stored, put } = openSecondary()
    await using marks = new Watermarks({
      fga,
      now: () => Date.now() + aheadMs,
      id: 'p1',
      onWritten: () => undefined,
      onError: () => undefined,
    })
    const mark = (id: string, age: number) => {
      const tuple = { user: 'turn:1', relation: 'at', object: `watermark:${id}` } as const
      put('write', tuple)
      return { ...tuple, writtenAt: Date.now() - age }
    }
    await marks.sweep([mark('gone', 3_700_000), mark('young', 1_000), mark('p1', 3_700_000)])
    expect([...stored.values()].map(({ object }) => object)).toEqual(['watermark:young', 'watermark:p1'])
  })

  test('whose Write failed is never taken for one that was written later', async () => {
    let isLost = true
    const { fga, stored } = openSecondary()
    const told: Change[] = []
    await using marks = new Watermarks({
      fga: {
        async write(change) {
          await fga.write(change)
          const at = (tuple: TupleKey) => ({ ...tuple, writtenAt: Date.now() })
          told.push(
            ...(change.deletes ?? []).map((tuple): Change => ({ operation: 'delete', tuple: at(tuple) })),
            ...(change.writes ?? []).map((tuple): Change => ({ operation: 'write', tuple: at(tuple) })),
          )
          // In, and its answer lost.
          if (isLost) throw new Error('lost')
        },
      },
      now: Date.now,
      id: 'p1',
      onWritten: () => undefined,
      onError: () => undefined,
    })
    const began = Date.now()
    marks.wake()
    await vi.advanceTimersByTimeAsync(250)
    marks.see(told)
    expect(marks.seenAt?.at).toBe(began)
    isLost = false
    await vi.advanceTimersByTimeAsync(900)
    // Told once more of what was told already.
    marks.see(told.slice(0, 1))
    expect(marks.seenAt?.at).toBe(began)
    marks.see(told)
    expect(marks.seenAt?.at).toBeGreaterThan(began + 500)
    expect(stored.size).toBeLessThan(2)
  })

  test('get no younger where the machine’s clock was set back, and count as of the future where it says so', async () => {
    const clocks = { wall: Date.now(), steady: 0 }
    await using marks = new Watermarks({
      fga: { write: async () => undefined },
      now: () => clocks.wall,
      elapsed: () => clocks.steady,
      id: 'p1',
      onWritten: () => undefined,
      onError: () => undefined,
    })
    const began = clocks.wall
    marks.wake()
    const told = () => marks.begunAt('write turn:1')
    expect(told()).toBe(began)
    clocks.wall -= 5_000
    expect(told()).toBe(began)
    clocks.wall += 5_500
    clocks.steady += 5_500
    expect(told()).toBe(clocks.wall - 5_500)
    expect(isRecent(told(), clocks.wall)).toBe(false)
  })

  test('that cannot be written: no held yes, and it is said once', async () => {
    await using world = await openWorld()
    await world.askFor(1_000)
    world.refuseWrites()
    await world.askFor(1_500)
    expect(await world.askFor(2_000)).not.toContain('held')
    expect(world.logged.filter((event) => event === 'watermark_not_written')).toHaveLength(1)
  })
})
