import { mkdtemp, rm } from 'node:fs/promises'
import { tmpdir } from 'node:os'
import { join } from 'node:path'
import { afterAll, beforeAll, describe, expect, test } from 'vitest'
import { record } from '../../src/audit/record.ts'
import { readHeads } from '../../src/audit/seal/heads.ts'
import { openSealKey } from '../../src/audit/seal/key.ts'
import { createRetention } from '../../src/audit/seal/retention.ts'
import { createSealer } from '../../src/audit/seal/sealer.ts'
import { verifyRecord } from '../../src/audit/seal/verify.ts'
import { openRecord } from '../../src/compose/record.ts'
import { loadConfig } from '../../src/config/config.ts'
import type { Database } from '../../src/store/sql.ts'
import { describeDatabases } from '../support/backends.ts'
import { openTestDatabase } from '../support/database.ts'
import { needsPostgres } from '../support/native.ts'
import {
  asOwner,
  clock,
  database,
  folder,
  key,
  newTxn,
  numbers,
  openSealed,
  read,
  seal,
  sealed,
  verify,
  who,
} from './world-seal.ts'

describeDatabases('sealing', (kind) => {
  openSealed(kind)

  test('passes by what was rolled back, and a crash leaves a batch sealed or not at all', async () => {
    await record(database, who('user:anne'), read('a'))
    await database
      .transaction(async (sql) => {
        await record(sql, who('user:anne'), read('b'))
        throw new Error('rolled back')
      })
      .catch(() => undefined)
    await record(database, who('user:anne'), read('c'))
    for (const statement of [
      'insert into record_seals',
      'insert into record_leaves',
      'insert into record_gaps',
    ]) {
      const failing: Database = {
        ...database,
        transaction: (work) =>
          database.transaction((sql) =>
            work({
              query: async (text, values) => {
                if (text.includes(statement)) throw new Error('crash')
                return sql.query(text, values)
              },
            }),
          ),
      }
      await expect(createSealer({ database: failing, key, clock }).seal()).rejects.toThrow('crash')
      expect(await verify()).toMatchObject({ seals: 0, waiting: 2, found: 0 })
    }
    expect(await seal()).toBe(2)
    expect(await verify()).toMatchObject({ records: 2, seals: 1, found: 0 })
    const [first] = await numbers()
    const gaps = await database.query('select from_no, to_no from record_gaps where from_no > $1', [
      first ?? 0,
    ])
    expect(gaps).toEqual([{ from_no: (first ?? 0) + 1, to_no: (first ?? 0) + 1 }])
    // Nobody can have that number any more, once no transaction of the whole server is older.
    clock.pass(3_600_001)
    const left = async () => {
      await record(database, who('user:anne'), read('d'))
      await seal()
      return database.query('select 1 from record_gaps')
    }
    await expect.poll(left, { timeout: 30_000, interval: 100 }).toEqual([])
  }, 60_000)

  test('retention takes whole seals off the beginning, says so, and the chain still verifies', async () => {
    const all = await sealed()
    const heads = await readHeads(database, { after: 0, limit: 100 })
    const drop = createRetention({ database, newTxn, days: 30 })
    await asOwner(
      `update decision_records set at = at - interval '40 days' where record_no <= ${all[3]}; delete from record_leaves; delete from record_seals`,
    )
    await seal()
    expect(await drop()).toBe(0)
    await asOwner(
      `delete from record_leaves; delete from record_seals; delete from decision_records; delete from record_given`,
    )
    await record(database, who('user:anne'), read('old'))
    await asOwner(`update decision_records set at = at - interval '40 days'`)
    await seal()
    await record(database, who('user:anne'), read('new'))
    await seal()
    expect(await drop()).toBe(1)
    await seal()
    expect(await verify()).toMatchObject({
      found: 0,
      dropped: { seals: 1, records: 1 },
      records: 2,
      seals: 3,
    })
    // Not by a word that the record does not hold, and not what is younger than any retention may be.
    await asOwner(`delete from decision_records where event = 'records_dropped'`)
    expect((await verify()).findings).toContainEqual(expect.objectContaining({ kind: 'removed', seal: 1 }))
    await expect(database.query('select record_drop_oldest(now())')).rejects.toThrow('30 days')
    expect(heads).toHaveLength(2)
  })

  test('no clock but the database’s says how old a record is', async () => {
    await record(database, who('user:anne'), read('younger'))
    await asOwner(`update decision_records set at = at - interval '40 days'`)
    await seal()
    const ahead = { now: () => Date.now() + 365 * 86_400_000 }
    const config = loadConfig({ REMIT_HOME: folder, AUDIT_RETENTION_DAYS: '400' })
    const { tasks } = await openRecord({ config, database, clock: ahead, log: () => undefined, newTxn })
    expect(await tasks['record_retention']?.()).toBe(0)
    await asOwner(`delete from record_leaves; delete from record_seals`)
    await asOwner(`update decision_records set at = at - interval '365 days'`)
    await seal()
    expect(await tasks['record_retention']?.()).toBe(1)
    const dropped = await database.query(
      `select abs(extract(epoch from at - (detail ->> 'before')::timestamptz) / 86400 - 400) < 0.1 as is_right
      from decision_records where event = 'records_dropped'`,
    )
    expect(dropped).toEqual([{ is_right: true }])
  })

  test.each([
    'update record_seals set records = 1',
    'delete from record_leaves',
    'truncate record_seals cascade',
    `select record_erase('erased:x', '{1}', '{user:bob}', '{}')`,
  ])('refuses %s', async (statement) => {
    await sealed()
    await expect(database.query(statement)).rejects.toThrow(/append-only|being erased/)
  })

  test('agents’ reach is counted once for each record, by day', async () => {
    await sealed()
    await record(database, who('user:anne'), read('a'))
    await record(database, { ...who('user:anne'), actors: [] }, read('a'))
    await seal()
    const rows = await database.query<{ document_id: string; reads: number }>(
      `select agent, document_id, reads from agent_baselines where document_id in ('a', 'b') order by document_id`,
    )
    expect(rows).toEqual([
      { agent: 'agent:research-bot', document_id: 'a', reads: 2 },
      { agent: 'agent:research-bot', document_id: 'b', reads: 1 },
    ])
  })
})

describe('sealing beside others', needsPostgres, () => {
  let database: Database
  let folder: string
  beforeAll(async () => {
    folder = await mkdtemp(join(tmpdir(), 'remit-seal-'))
    database = await openTestDatabase('postgres')
  })
  afterAll(async () => {
    await database?.close()
    await rm(folder, { recursive: true, force: true })
  })

  test('seals a record that is committed after later ones, and two sealers make one chain', async () => {
    const key = await openSealKey(folder)
    const clock = { now: Date.now }
    const seal = () => createSealer({ database, key, clock }).seal()
    const { promise: mayCommit, resolve: commit } = Promise.withResolvers<void>()
    const { promise: isWritten, resolve: written } = Promise.withResolvers<void>()
    const slow = database.transaction(async (sql) => {
      await record(sql, who('user:anne'), read('slow'))
      written()
      await mayCommit
    })
    await isWritten
    await record(database, who('user:anne'), read('fast'))
    expect(await seal()).toBe(1)
    commit()
    await slow
    for (let count = 0; count < 20; count += 1) await record(database, who('user:anne'), read(`d${count}`))
    const both = await Promise.all([seal(), seal(), seal()])
    await seal()
    expect(both.reduce((sum, one) => sum + one, 0)).toBe(21)
    expect(await verifyRecord(database, { publicKey: key.publicKey, now: Date.now() })).toMatchObject({
      records: 22,
      waiting: 0,
      found: 0,
    })
  })
})
