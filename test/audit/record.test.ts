import { afterAll, beforeAll, describe, expect, test } from 'vitest'
import { operator, record } from '../../src/audit/record.ts'
import type { Database } from '../../src/store/sql.ts'
import { openTestDatabase } from '../support/database.ts'
import { needsPostgres } from '../support/native.ts'

const who = {
  subject: 'user:anne',
  actors: ['agent:research-bot', 'agent:inner'],
  client: 'bot',
  txn: 't_1',
  delegation: 'd_1',
} as const
const saved = { event: 'collection_saved', collection: 'handbook' } as const

describe.each([
  { kind: 'pglite', options: {} },
  { kind: 'postgres', options: needsPostgres },
] as const)('the decision record', ({ kind, options }) => {
  describe(`on ${kind}`, options, () => {
    let database: Database
    beforeAll(async () => {
      database = await openTestDatabase(kind)
    })
    afterAll(() => database?.close())

    const rows = (txn: string) =>
      database.query(
        'select event, subject, actors, client, delegation, detail from decision_records where txn = $1 order by record_no',
        [txn],
      )

    test('holds who, for whom, by which agents and consent, and what', async () => {
      await record(database, who, saved)
      expect(await rows('t_1')).toEqual([
        {
          event: 'collection_saved',
          subject: 'user:anne',
          actors: ['agent:research-bot', 'agent:inner'],
          client: 'bot',
          delegation: 'd_1',
          detail: { collection: 'handbook' },
        },
      ])
    })

    test('names the machine where nobody asked', async () => {
      await record(database, operator('t_op'), { event: 'command', command: 'drift', arguments: {} })
      expect(await rows('t_op')).toMatchObject([
        { subject: 'service:remit', actors: [], client: 'machine', delegation: null },
      ])
    })

    test('goes with the transaction of what it records', async () => {
      const work = database.transaction(async (sql) => {
        await record(sql, { ...who, txn: 't_undone' }, saved)
        throw new Error('undone')
      })
      await expect(work).rejects.toThrow('undone')
      expect(await rows('t_undone')).toEqual([])
    })

    test.each([
      `update decision_records set subject = 'user:bob'`,
      'delete from decision_records',
      'truncate decision_records',
      `insert into decision_records (record_no, txn, event, subject, actors, client, detail)
       overriding system value
       select record_no, txn, event, 'user:bob', actors, client, detail from decision_records limit 1
       on conflict (record_no) do update set subject = excluded.subject`,
      `with gone as (delete from decision_records returning *) select count(*) from gone`,
    ])('refuses %s', async (statement) => {
      await record(database, { ...who, txn: 't_kept' }, saved)
      const [before] = await database.query('select count(*) as n from decision_records')
      await expect(database.query(statement)).rejects.toThrow('append-only')
      expect(await database.query('select count(*) as n from decision_records')).toEqual([before])
      expect(await database.query(`select 1 from decision_records where subject = 'user:bob'`)).toEqual([])
    })
  })
})
