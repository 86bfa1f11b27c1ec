import { mkdtemp, rm } from 'node:fs/promises'
import { tmpdir } from 'node:os'
import { join } from 'node:path'
import { afterAll, beforeAll, describe, expect, test } from 'vitest'
import { operator, record } from '../../src/audit/record.ts'
import { readHeads } from '../../src/audit/seal/heads.ts'
import { openSealKey } from '../../src/audit/seal/key.ts'
import { createRetention } from '../../src/audit/seal/retention.ts'
import { createSealer } from '../../src/audit/seal/sealer.ts'
import { verifyRecord } from '../../src/audit/seal/verify.ts'
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

describeDatabases('the sealed record', (kind) => {
  openSealed(kind)

  test('is whole where nobody touched it, and seals nothing twice', async () => {
    const [, , , , , , , last] = await sealed()
    expect(await seal()).toBe(0)
    const verified = await verify()
    expect(verified).toMatchObject({ records: 8, seals: 2, waiting: 0, found: 0, findings: [] })
    expect(verified.head?.seal).toBe(2)
    await record(database, who('user:anne'), read('late'))
    expect(await verify()).toMatchObject({ records: 8, waiting: 1, found: 0 })
    expect((await numbers()).at(-1)).toBeGreaterThan(last ?? 0)
  })

  test.each([
    ['its subject', `subject = 'user:bob'`],
    ['its time', `at = at + interval '1 microsecond'`],
    ['its agents', `actors = '{agent:other}'`],
    ['how it went', `decision = 'denied'`],
    ['what it was about', `objects = '{}'`],
    ['its detail', `detail = detail || '{"document_id": "x"}'`],
    ['its trace', `trace_id = 'x'`],
    ['to whom it looks erased', `subject = (select alias from record_people where subject = 'user:anne')`],
  ])('shows a record that was edited in %s, and which', async (_, change) => {
    const [, second] = await sealed()
    await asOwner(`update decision_records set ${change} where record_no = ${second}`)
    const { found, findings } = await verify()
    expect(found).toBe(1)
    expect(findings).toMatchObject([{ seal: 1, record: second }])
  })

  test('shows a record that was removed, one at the end too', async () => {
    const all = await sealed()
    await asOwner(`delete from decision_records where record_no in (${all[2]}, ${all[7]})`)
    expect((await verify()).findings).toEqual([
      { kind: 'removed', seal: 1, record: all[2] },
      { kind: 'removed', seal: 2, record: all[7] },
    ])
  })

  test('shows two records that changed places, within a seal and across', async () => {
    const all = await sealed()
    const columns = ['at', 'txn', 'subject', 'objects', 'detail'].map((one) => `${one} = o.${one}`).join(', ')
    const swap = (one = 0, other = 0) =>
      asOwner(
        `update decision_records d set ${columns} from decision_records o
         where (d.record_no, o.record_no) in ((${one}, ${other}), (${other}, ${one}))`,
      )
    await swap(all[0], all[1])
    await swap(all[2], all[6])
    expect((await verify()).findings).toEqual([
      { kind: 'swapped', seal: 1, record: all[0], other: all[1] },
      { kind: 'swapped', seal: 1, record: all[2], other: all[6] },
    ])
  })

  test('shows a record that was put between others, and one that nobody seals', async () => {
    const all = await sealed()
    await asOwner(
      `insert into decision_records (record_no, at, txn, event, subject, actors, client, detail)
       overriding system value select record_no - 100000, at - interval '1 hour', txn, event, subject, actors, client, detail
       from decision_records where record_no = ${all[0]}`,
    )
    expect((await verify()).findings).toEqual([{ kind: 'unsealed', record: (all[0] ?? 0) - 100_000 }])
    clock.pass(120_000)
    await record(database, who('user:anne'), read('x'))
    await asOwner(`update decision_records set at = at - interval '1 minute' where record_no > ${all[7]}`)
    expect((await verify()).findings).toContainEqual(
      expect.objectContaining({ kind: 'unsealed', detail: '1 record was never sealed' }),
    )
  })

  test.each([
    ['leaves somebody out', `delete from record_given where record_no = `, 1],
    ['has another document', `update record_given set document_id = 'x' where record_no = `, 1],
    ['has another time', `update record_given set at = at - interval '1 us' where record_no = `, 1],
    [
      'has somebody else',
      `insert into record_who (subject, actors, client) select 'user:bob', actors, client from record_who limit 1;
       update record_given set who = (select max(who) from record_who) where record_no = `,
      1,
    ],
    [
      'calls a person erased who is not',
      `update record_who set subject = (select alias from record_people where subject = 'user:anne') where subject = 'user:anne' or 0 = `,
      4,
    ],
    [
      'has what was never given',
      `insert into record_given select 'secret', at, record_no, who from record_given where record_no = `,
      1,
    ],
    [
      'has a record that does not exist',
      `insert into record_given select document_id, at, record_no - 1000000, who from record_given where record_no = `,
      0,
    ],
  ])('shows a list of who was given what that %s', async (_, change, count) => {
    const [, second = 0] = await sealed()
    await asOwner(`${change.replace(/;\n */, '; ')}${second}`)
    const { findings, found } = await verify()
    expect(found).toBe(Math.max(count, 1))
    expect(findings.every(({ kind }) => kind === 'listed_otherwise')).toBe(true)
  })

  test('shows seals that were edited, left out or made with another key', async () => {
    await sealed()
    await asOwner(`update record_seals set sealed_at = sealed_at - interval '1 day' where seal_no = 1`)
    expect((await verify()).findings).toMatchObject([{ kind: 'seal_changed', seal: 1 }])
    await asOwner(`update record_seals set sealed_at = sealed_at + interval '1 day' where seal_no = 1`)
    expect((await verify()).found).toBe(0)
    await asOwner(
      'update record_leaves set digests = set_byte(digests, 2, (get_byte(digests, 2) + 1) % 256) where seal_no = 2',
    )
    expect((await verify()).findings).toContainEqual(
      expect.objectContaining({ kind: 'seal_changed', seal: 2 }),
    )
    await asOwner('delete from record_leaves where seal_no = 1; delete from record_seals where seal_no = 1')
    expect((await verify()).findings).toContainEqual(
      expect.objectContaining({ kind: 'seal_missing', seal: 1 }),
    )

    await asOwner('delete from record_leaves; delete from record_seals')
    const other = await openSealKey(await mkdtemp(join(folder, 'other-')))
    await createSealer({ database, key: other, clock }).seal()
    expect((await verify()).findings).toMatchObject([{ kind: 'foreign_key', seal: 1 }])
  })

  test('shows against a head kept elsewhere that its tail was cut off, or that it was all sealed anew', async () => {
    const all = await sealed()
    const heads = await readHeads(database, { after: 0, limit: 100 })
    expect((await verify(heads)).found).toBe(0)
    await asOwner(
      `delete from record_leaves where seal_no = 2; delete from record_seals where seal_no = 2; delete from decision_records where record_no > ${all[3]}; delete from record_given where record_no > ${all[3]}`,
    )
    expect((await verify()).found).toBe(0)
    expect((await verify(heads)).findings).toMatchObject([{ kind: 'truncated', seal: 2 }])
    // By somebody who has the key as well.
    await asOwner(
      `delete from record_leaves; delete from record_seals; delete from record_given; update decision_records set subject = 'user:bob'`,
    )
    await seal()
    expect((await verify()).found).toBe(0)
    expect((await verify(heads)).findings).toContainEqual(
      expect.objectContaining({ kind: 'head_differs', seal: 1 }),
    )
  })

  test('goes on from a head that was kept: what was done since is found, and the head is compared first', async () => {
    const all = await sealed()
    const heads = await readHeads(database, { after: 1, limit: 1 })
    const resume = (from = heads) =>
      verifyRecord(database, { publicKey: key.publicKey, heads: from, from: 2, now: clock.now() })
    expect(await resume()).toMatchObject({ found: 0, records: 4, seals: 1 })
    await record(database, who('user:anne'), read('later'))
    await seal()
    expect(await resume()).toMatchObject({ found: 0, records: 5, seals: 2, waiting: 0 })
    await asOwner(`update decision_records set client = 'x' where record_no in (${all[0]}, ${all[5]})`)
    expect((await resume()).findings).toEqual([{ kind: 'changed', seal: 2, record: all[5] }])
    const [head] = heads
    const other = head === undefined ? [] : [{ ...head, head: '0'.repeat(64) }]
    expect((await resume(other)).findings).toContainEqual(
      expect.objectContaining({ kind: 'head_differs', seal: 2 }),
    )
    // Of what was never sealed, that which came since.
    await asOwner(
      `insert into decision_records (record_no, at, txn, event, subject, actors, client, detail)
       overriding system value select record_no + 1000, at - interval '1 hour', txn, event, subject, actors, client, detail
       from decision_records where record_no = ${all[7]}`,
    )
    expect((await resume()).findings).toContainEqual(expect.objectContaining({ kind: 'unsealed' }))
  })

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

  test('shows a seal before the first, and a drop of what no retention takes', async () => {
    const all = await sealed()
    await asOwner(`insert into record_seals select 0, sealed_at, records, first_no, last_no, sealed_to, newest_at, digest, head,
      public_key, signature from record_seals where seal_no = 1`)
    expect((await verify()).findings).toMatchObject([{ kind: 'seal_changed', seal: 0 }])
    await asOwner(
      `delete from record_seals where seal_no = 0; delete from record_leaves where seal_no = 1;
      delete from decision_records where record_no <= ${all[3]}`.replaceAll(';\n', '; '),
    )
    await record(database, operator('t_9'), {
      event: 'records_dropped',
      to_seal: 1,
      records: 4,
      before: new Date(clock.now()).toISOString(),
    })
    await seal()
    const { findings } = await verify()
    expect(findings).toContainEqual(expect.objectContaining({ kind: 'removed', seal: 1 }))
    // Who was given the four is listed still.
    expect(findings.filter(({ kind }) => kind === 'listed_otherwise')).toHaveLength(4)
  })

  test('retention takes whole seals off the beginning, says so, and the chain still verifies', async () => {
    const all = await sealed()
    const heads = await readHeads(database, { after: 0, limit: 100 })
    const drop = createRetention({ database, clock, newTxn, days: 30 })
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
