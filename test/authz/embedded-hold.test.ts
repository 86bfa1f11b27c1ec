import { readFile } from 'node:fs/promises'
import { afterAll, beforeAll, describe, expect, test } from 'vitest'
import { embeddedUrl, openEmbedded } from '../../src/authz/embedded.ts'
import type { Fga, Tuple } from '../../src/authz/fga.ts'
import { deployModel } from '../../src/authz/model/deploy.ts'
import { createFga, createFgaApi } from '../../src/authz/openfga.ts'
import type { Database } from '../../src/store/sql.ts'
import { openTestDatabase } from '../support/database.ts'
import { needsPostgres } from '../support/native.ts'

const dsl = await readFile(new URL('../../model.fga', import.meta.url), 'utf8')
const membership: Tuple = { user: 'user:anne', relation: 'member', object: 'group:leads' }
const own: Tuple = { user: 'user:bob', relation: 'member', object: 'group:leads' }

/** Each believes that it is alone, as after a look at a lock that was lost since. */
describe('of two processes that write the embedded engine’s tables', needsPostgres, () => {
  let database: Database
  beforeAll(async () => {
    database = await openTestDatabase('postgres')
  })
  afterAll(() => database?.close())

  async function aProcess(): Promise<Fga> {
    const { adapter } = await openEmbedded(database, Date.now, () => undefined, {
      hold: async () => ({ renewed: false }),
      [Symbol.asyncDispose]: async () => undefined,
    })
    const api = createFgaApi({ apiUrl: embeddedUrl, timeoutMs: 4_000, adapter })
    const { storeId, model } = await deployModel({
      api,
      database,
      dsl,
      redeploy: false,
      now: Date.now,
      newTxn: () => 't_test',
    })
    return createFga(api, storeId, () => model.id)
  }
  const members = async (fga: Fga): Promise<string[]> => {
    const found: string[] = []
    for await (const { user } of fga.read({ object: membership.object })) found.push(user)
    return found
  }

  test('one that stood still while the other took away writes nothing, and then goes on from what is there', async () => {
    const first = await aProcess()
    await first.write({ writes: [membership] })
    const second = await aProcess()
    await second.write({ deletes: [membership] })
    // It holds the membership still: to its memory this only adds.
    await expect(first.write({ writes: [own] })).rejects.toThrow()
    expect(await database.query('select subject from engine_tuples where relation = $1', ['member'])).toEqual(
      [],
    )
    expect(await members(first)).toEqual([])
    await first.write({ writes: [own] })
    expect(await members(first)).toEqual([own.user])
  })
})
