import { readFileSync } from 'node:fs'
import { transformer } from '@openfga/syntax-transformer'
import { afterAll, afterEach, beforeAll, beforeEach, expect, test, vi } from 'vitest'
import { type ChangePage, type Fga, type Tuple, tupleId } from '../../../src/authz/fga.ts'
import { createPermissionIndex, type FollowingIndex } from '../../../src/authz/index/create.ts'
import { toStored } from '../../../src/authz/index/replica.ts'
import { createStorage, type Storage } from '../../../src/authz/index/storage.ts'
import type { FgaObject } from '../../../src/kernel/ids.ts'
import type { Database } from '../../../src/store/sql.ts'
import { describeBackends } from '../../support/backends.ts'
import { openTestDatabase } from '../../support/database.ts'
import { openWorld, type World } from '../../support/world.ts'

const dsl = readFileSync(new URL('../../../model.fga', import.meta.url), 'utf8')

type Log = Pick<Fga, 'readAll' | 'readChanges'>

describeBackends('whatever happens to it, the permission index', (backend) => {
  let world: World
  let database: Database
  let storage: Storage
  let opened: FollowingIndex[] = []
  let count = 0
  beforeAll(async () => {
    world = await openWorld({ backend })
  })
  afterAll(() => world[Symbol.asyncDispose]())
  beforeEach(async () => {
    database = await openTestDatabase(backend.database)
    storage = createStorage(database, world.service.fga.storeId)
    opened = []
  })
  afterEach(async () => {
    for (const index of opened) await index[Symbol.asyncDispose]()
    await database.close()
  })

  function open({
    fga = world.service.fga,
    kept = storage,
    now = Date.now,
  }: {
    readonly fga?: Log
    readonly kept?: Storage
    readonly now?: () => number
  } = {}): FollowingIndex {
    const index = createPermissionIndex({
      fga,
      storage: kept,
      now,
      elapsed: now,
      log: () => undefined,
      pollMs: 20,
    })
    opened.push(index)
    index.useModel(world.service.fga.modelId, transformer.transformDSLToJSONObject(dsl))
    return index
  }

  const fresh = (): Tuple => {
    count += 1
    return { user: 'user:anne', relation: 'viewer', object: `document:d${count}` as FgaObject }
  }
  const write = (...writes: readonly Tuple[]) => world.service.fga.write({ writes })
  const remove = (...deletes: readonly Tuple[]) => world.service.fga.write({ deletes })

  async function inOpenFga(): Promise<string[]> {
    const all: string[] = []
    for await (const page of world.service.fga.readAll()) all.push(...page.map(tupleId))
    return all.sort()
  }
  const held = (index: FollowingIndex): string[] | undefined => {
    const tuples = index.view()?.tuples
    return tuples && [...tuples.after('')].map((tuple) => tupleId(toStored(tuple))).sort()
  }
  /** It may take a second: on a real server a change may be committed after later ones. */
  async function agrees(index: FollowingIndex): Promise<void> {
    const expected = await inOpenFga()
    await vi.waitFor(() => expect(held(index)).toEqual(expected), { timeout: 15_000, interval: 50 })
  }

  const noFullRead = (): Log => ({
    readChanges: world.service.fga.readChanges,
    readAll: () => {
      throw new Error('all tuples were read again')
    },
  })

  test('goes on from what is stored after a stop, and has what was written and removed meanwhile', async () => {
    const [stays, goes, comes] = [fresh(), fresh(), fresh()]
    await write(stays, goes)
    const first = open()
    await agrees(first)
    await first[Symbol.asyncDispose]()
    await remove(goes)
    await write(comes)
    await agrees(open({ fga: noFullRead() }))
  })

  test.each(['before the rows', 'after the rows and before the mark'])(
    'killed in a save, %s, has all of it at the next start',
    async (where) => {
      const [stays, goes] = [fresh(), fresh()]
      await write(stays, goes)
      let isDying = false
      const dying: Storage = {
        ...storage,
        async save(batch) {
          if (!isDying) return storage.save(batch)
          const { mark: _, ...rows } = batch
          if (where.startsWith('after')) await storage.save(rows)
          throw new Error('killed')
        },
      }
      const first = open({ kept: dying })
      await agrees(first)
      await vi.waitUntil(async () => (await storage.peek())?.mark !== undefined, { timeout: 10_000 })
      isDying = true
      await remove(goes)
      await write(fresh(), fresh())
      await agrees(first)
      await first[Symbol.asyncDispose]()
      await agrees(open({ fga: noFullRead() }))
    },
  )

  test('begins anew where the stored place of the log is none of this store', async () => {
    await write(fresh())
    const version = await storage.begin()
    const stale = { ...fresh(), writtenAt: 1 }
    await storage.save({
      version,
      puts: [stale],
      removes: [],
      mark: { position: { after: 'no such token' }, reconciledAt: Date.now() },
    })
    await agrees(open())
  })

  test('says that it is broken while the log cannot be read, gives no view, and mends without a restart', async () => {
    let isDown = false
    const index = open({
      fga: {
        readAll: world.service.fga.readAll,
        readChanges: async (...given) => {
          if (isDown) throw new Error('down')
          return world.service.fga.readChanges(...given)
        },
      },
    })
    await agrees(index)
    isDown = true
    await expect(index.catchUp()).rejects.toThrow('down')
    expect(index.status().state).toBe('broken')
    expect(index.view()).toBeUndefined()
    expect(index.nominate({ user: 'user:anne', relation: 'can_read', contextual: [] })).toBeUndefined()
    expect(index.touched(['x'], Date.now())).toEqual(new Set(['x']))
    await write(fresh())
    isDown = false
    await agrees(index)
    expect(index.status().state).toBe('following')
  })

  const without = (page: ChangePage, { object }: Tuple): ChangePage => ({
    ...page,
    changes: page.changes.filter(({ tuple }) => tuple.object !== object),
  })

  test('finds a change that was committed after later ones were read', async () => {
    const [late, after] = [fresh(), fresh()]
    let isIn = false
    const index = open({
      fga: {
        readAll: world.service.fga.readAll,
        async readChanges(position, options) {
          const page = await world.service.fga.readChanges(position, options)
          return isIn ? page : without(page, late)
        },
      },
    })
    await agrees(index)
    await write(late)
    await write(after)
    await index.catchUp()
    expect(held(index)).toContain(tupleId(after))
    expect(held(index)).not.toContain(tupleId(late))
    isIn = true
    await agrees(index)
  })

  test('counts what this process took away as seen at once, also where the log has passed it already', async () => {
    const goes = fresh()
    await write(goes)
    const index = open({
      fga: {
        readAll: world.service.fga.readAll,
        readChanges: async (...given) => without(await world.service.fga.readChanges(...given), goes),
      },
    })
    await agrees(index)
    const since = Date.now()
    const id = goes.object.slice('document:'.length)
    await remove(goes)
    await index.catchUp()
    expect(index.touched([id], since)).toEqual(new Set())
    index.wrote({ deletes: [goes] })
    expect(index.touched([id], since)).toEqual(new Set([id]))
  })

  test('finds within the hour what the log never told', async () => {
    const silent = fresh()
    let ahead = 0
    const index = open({
      now: () => Date.now() + ahead,
      fga: {
        readAll: world.service.fga.readAll,
        async readChanges(position, options) {
          // The clock that is ahead here is no matter of OpenFGA's.
          return without(await world.service.fga.readChanges(position, options), silent)
        },
      },
    })
    await agrees(index)
    await write(silent)
    await index.catchUp()
    expect(held(index)).not.toContain(tupleId(silent))
    ahead = 2 * 3_600_000
    await agrees(index)
  })

  test('has company on its database: both are right, and so is what they stored', async () => {
    const [one, two] = [open(), open()]
    await agrees(one)
    for (let round = 0; round < 5; round += 1) {
      const goes = fresh()
      await write(goes, fresh())
      await one.catchUp()
      await remove(goes)
      await two.catchUp()
    }
    await agrees(one)
    await agrees(two)
    await one[Symbol.asyncDispose]()
    await two[Symbol.asyncDispose]()
    await agrees(open({ fga: noFullRead() }))
  })
})
