import { readFile } from 'node:fs/promises'
import { expect, test, vi } from 'vitest'
import type { Fga } from '../../src/authz/fga.ts'
import { createPermissionIndex } from '../../src/authz/index/create.ts'
import { createStorage } from '../../src/authz/index/storage.ts'
import { deployModel } from '../../src/authz/model/deploy.ts'
import { createFga, createFgaApi } from '../../src/authz/openfga.ts'
import { openRestoreDetection, readMarker } from '../../src/delegation/recovery/restore-detection.ts'
import { openRevocationFeed } from '../../src/delegation/revocation/revocation-feed.ts'
import { native, needsOpenfga } from '../support/native.ts'
import { movableClock, openMigrated } from './world.ts'

const modelFile = new URL('../../model.fga', import.meta.url)

/**
 * A process on a real OpenFGA, with its index and what tells older copies. `cut.rows`: its answers about the
 * log end after so many, and say that this is all, as v1.22.1's do where its link to its database is cut.
 */
async function openProcess() {
  const clock = movableClock()
  const database = await openMigrated()
  const api = createFgaApi({
    apiUrl: native.openfga?.url ?? '',
    apiToken: native.openfga?.token ?? '',
    timeoutMs: 4_000,
  })
  const dsl = await readFile(modelFile, 'utf8')
  const newTxn = () => 't_test'
  const deployed = await deployModel({ api, database, dsl, redeploy: false, newTxn, now: clock.now })
  const fga = createFga(api, deployed.storeId, () => deployed.model.id)
  const cut: { rows: number | undefined } = { rows: undefined }
  const readChanges: Fga['readChanges'] = async (position, options) => {
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
    log,
    pollMs: 20,
  })
  const authority = await openRevocationFeed({ database, clock, log })
  const shared = { database, fga, authority, clock, log, isApart: true, everyMs: 50 }
  const epoch = await openRestoreDetection({ ...shared, followed: index })
  // Beside it, on the same database: its own log is whole.
  const other = await openRestoreDetection(shared)
  return {
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
async function openFollowing(): Promise<Process> {
  const process = await openProcess()
  for (const [at, name] of ['one', 'two', 'three'].entries()) {
    await write(process, name)
    await until(() => process.count() === at + 1)
  }
  await process.epoch.raise()
  process.epoch.assertSound()
  return process
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
  'an OpenFGA that lacks what it told of at each look is older for good, in every process',
  needsOpenfga,
  async () => {
    await using process = await openFollowing()
    const { epoch, other, cut, clock } = process
    cut.rows = 0
    await until(() => process.index.isLogDoubted)
    clock.move(60_000)
    await until(() => epoch.older === 'openfga')
    cut.rows = undefined
    await other.check()
    for (const one of [epoch, other]) {
      await one.check()
      expect([one.needsRecovery, one.older]).toEqual([true, 'openfga'])
      expect(() => one.assertSound()).toThrow(refused)
    }
    expect(await process.isNoted()).toBe(true)
  },
)
