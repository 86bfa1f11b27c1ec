import { randomBytes } from 'node:crypto'
import { readFile } from 'node:fs/promises'
import { setTimeout as delay } from 'node:timers/promises'
import { expect, test, vi } from 'vitest'
import type { Fga } from '../../src/authz/fga.ts'
import { createPermissionIndex } from '../../src/authz/index/create.ts'
import { createStorage } from '../../src/authz/index/storage.ts'
import { deployModel } from '../../src/authz/model/deploy.ts'
import { createFga, createFgaApi } from '../../src/authz/openfga.ts'
import { createDelegations } from '../../src/delegation/lending/delegations.ts'
import { recover } from '../../src/delegation/recovery/recover.ts'
import { openRestoreDetection, readMarker } from '../../src/delegation/recovery/restore-detection.ts'
import { openRevocationFeed } from '../../src/delegation/revocation/revocation-feed.ts'
import type { Clock } from '../../src/kernel/clock.ts'
import type { Database } from '../../src/store/sql.ts'
import { native, needsOpenfga } from '../support/native.ts'
import { movableClock, openMigrated } from './world.ts'
import { openFga } from './world-fga.ts'

const modelFile = new URL('../../model.fga', import.meta.url)

/** A store of its own on a real OpenFGA. */
async function openOpenfga(database: Database, clock: Clock): Promise<Fga> {
  const api = createFgaApi({
    apiUrl: native.openfga?.url ?? '',
    apiToken: native.openfga?.token ?? '',
    timeoutMs: 4_000,
  })
  const dsl = await readFile(modelFile, 'utf8')
  const newTxn = () => 't_test'
  const deployed = await deployModel({ api, database, dsl, redeploy: false, newTxn, now: clock.now })
  return createFga(api, deployed.storeId, () => deployed.model.id)
}

/**
 * A process on OpenFGA, with its index and what tells older copies. `cut.rows`: its answers about the
 * log end after so many, and say that this is all, as v1.22.1's do where its link to its database is cut.
 */
async function openProcess(openFga: typeof openOpenfga) {
  const clock = movableClock()
  const database = await openMigrated()
  const fga = await openFga(database, clock)
  const cut: { rows: number | undefined; until: Promise<void> | undefined } = {
    rows: undefined,
    until: undefined,
  }
  const readChanges: Fga['readChanges'] = async (position, options) => {
    await cut.until
    const page = await fga.readChanges(position, options)
    if (cut.rows === undefined || page.changes.length <= cut.rows) return page
    if (cut.rows === 0) return { changes: [], position, isEnd: true }
    return { ...(await fga.readChanges(position, { ...options, limit: cut.rows })), isEnd: true }
  }
  const told: string[] = []
  const log = (event: string) => void told.push(event)
  const storage = createStorage(database, fga.storeId)
  const index = createPermissionIndex({
    fga: { ...fga, readChanges },
    storage,
    now: clock.now,
    elapsed: clock.now,
    log,
    pollMs: 20,
  })
  const authority = await openRevocationFeed({ database, clock, log })
  const shared = { database, fga, authority, clock, log, isApart: true, everyMs: 50 }
  const epoch = await openRestoreDetection({ ...shared, followed: index })
  // Beside it, on the same database: its own log is whole.
  const other = await openRestoreDetection(shared)
  return {
    database,
    clock,
    fga,
    cut,
    told,
    index,
    epoch,
    other,
    count: () => index.status().tuples,
    isNoted: async () =>
      (await database.query<{ log_went_back: boolean }>('select log_went_back from epochs'))[0]
        ?.log_went_back,
    async [Symbol.asyncDispose]() {
      for (const part of [other, epoch, index, authority]) await part[Symbol.asyncDispose]()
      await database.close()
    },
  }
}

type Process = Awaited<ReturnType<typeof openProcess>>

const write = ({ fga }: Process, ...names: string[]) =>
  fga.write({
    writes: names.map((name) => ({
      user: 'user:anne',
      relation: 'viewer',
      object: `document:${name}` as const,
    })),
  })

const until = (isSo: () => boolean) => vi.waitUntil(isSo, { timeout: 10_000 })

/** Follows three changes that came one by one. */
async function openFollowing(openFga = openOpenfga): Promise<Process> {
  const process = await openProcess(openFga)
  for (const [at, name] of ['one', 'two', 'three'].entries()) {
    await write(process, name)
    await until(() => process.count() === at + 1)
  }
  await process.epoch.raise()
  process.epoch.assertSound()
  return process
}

/** Looks for more than a minute, as what polls does. */
async function lookOn({ clock, index }: Process): Promise<void> {
  for (let looks = 0; looks < 15; looks++) {
    clock.move(5_000)
    await index.catchUp().catch(() => undefined)
  }
}

const refused = expect.objectContaining({ code: 'authorization_unavailable' })

test.each([0, 1])(
  'where OpenFGA tells %i rows of its log as all of it, nobody is answered until a look that skips nothing',
  needsOpenfga,
  async (rows) => {
    await using process = await openFollowing()
    const { epoch, other, cut, fga, told } = process
    const number = await readMarker(fga)
    cut.rows = rows
    await write(process, 'four', 'five')
    await fga.write({ deletes: [{ user: 'user:anne', relation: 'viewer', object: 'document:one' }] })
    // By which it looks for what came late.
    process.clock.move(1_000)
    await until(() => process.index.isLogDoubted)
    expect(() => epoch.assertSound()).toThrow(refused)
    let began = false
    await epoch.whenSound(async () => {
      began = true
    })
    await epoch.raise()
    await epoch.check()
    expect([epoch.isSound, epoch.needsRecovery, began]).toEqual([false, false, false])
    // Nothing lasts: neither in OpenFGA nor in the database, nor for anybody else.
    expect([await readMarker(fga), await process.isNoted()]).toEqual([number, false])
    other.assertSound()
    cut.rows = undefined
    await until(() => epoch.isSound && began)
    let stored = 0
    for await (const page of fga.readAll()) stored += page.length
    expect(process.count()).toBe(stored)
    expect(told.filter((event) => event === 'openfga_log_cut')).toHaveLength(1)
    expect(told).not.toContain('openfga_older')
  },
)

test(
  'an OpenFGA that lacks what it told of at each look is older in every process, until who noticed finds it again',
  needsOpenfga,
  async () => {
    await using process = await openFollowing()
    const { epoch, other, cut } = process
    cut.rows = 0
    await until(() => process.index.isLogDoubted)
    await lookOn(process)
    await until(() => epoch.older === 'openfga')
    for (const one of [epoch, other]) {
      await one.check()
      expect([one.needsRecovery, one.older]).toEqual([true, 'openfga'])
      expect(() => one.assertSound()).toThrow(refused)
    }
    expect(await process.isNoted()).toBe(true)
    cut.rows = undefined
    await until(() => epoch.isSound && other.isSound)
    expect(await process.isNoted()).toBe(false)
  },
)

test('that OpenFGA is older stays noted by a process that ended, and one that misses nothing leaves it', async () => {
  await using process = await openFollowing(openFga)
  const { database, epoch, other } = process
  await database.query('update epochs set log_went_back = true')
  for (const one of [epoch, other, epoch]) {
    await one.check()
    expect([one.older, await process.isNoted()]).toEqual(['openfga', true])
  }
})

test('recovering waits while the log is doubted: which of the two is older decides what is believed', async () => {
  await using process = await openFollowing(openFga)
  const { database, fga, clock, epoch, index, cut } = process
  cut.rows = 0
  await until(() => index.isLogDoubted)
  const mended: string[] = []
  const recovering = recover(
    {
      database,
      fga,
      epoch,
      clock,
      delegations: createDelegations({ database, fga, clock, randomBytes }),
      async mendAccess(older) {
        mended.push(older)
        cut.rows = undefined
        return 0
      },
      rebuildIndex: () => index.rebuild(),
      forgetSearched: async () => undefined,
      areClocksApart: () => false,
      countMissing: async () => undefined,
      endAccess: async () => 0,
      agents: { enabled: async () => [], disable: async () => undefined },
    },
    't_tests',
  )
  await epoch.check()
  expect(await database.query('select recovering_since from epochs')).toEqual([{ recovering_since: null }])
  await lookOn(process)
  expect(await recovering).toMatchObject({ older: 'openfga' })
  expect(mended).toEqual(['openfga'])
  epoch.assertSound()
})

test('a process that stood still while a recovery ended misses nothing of before it', async () => {
  await using process = await openFollowing(openFga)
  const { database, epoch, index, cut } = process
  const standing = Promise.withResolvers<void>()
  cut.until = standing.promise
  cut.rows = 0
  await database.query('update epochs set tokens_from = now()')
  const checked = epoch.check()
  await Promise.race([checked, delay(300)])
  standing.resolve()
  await checked
  await lookOn(process)
  await epoch.check()
  expect([index.logWentBack, await process.isNoted()]).toEqual([false, false])
  epoch.assertSound()
})
