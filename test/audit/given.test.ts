import { mkdtemp, rm } from 'node:fs/promises'
import { tmpdir } from 'node:os'
import { join } from 'node:path'
import type { DecisionEvent } from '@remit/contract/decision-event'
import { afterAll, beforeAll, describe, expect, test } from 'vitest'
import { createRandom } from '../../benchmarks/kubernetes/random.ts'
import { createRecordQuestions } from '../../src/audit/questions.ts'
import { operator, type RecordActor, record } from '../../src/audit/record.ts'
import { createErasures } from '../../src/audit/seal/erase.ts'
import { openSealKey, type SealKey } from '../../src/audit/seal/key.ts'
import { createRetention } from '../../src/audit/seal/retention.ts'
import { createSealer } from '../../src/audit/seal/sealer.ts'
import type { Database } from '../../src/store/sql.ts'
import { openTestDatabase } from '../support/database.ts'
import { needsPostgres } from '../support/native.ts'
import { asked, read } from './world-seal.ts'

describe.each([
  { kind: 'pglite', options: {} },
  { kind: 'postgres', options: needsPostgres },
] as const)('who was given what', ({ kind, options }) => {
  describe(`on ${kind}`, options, () => {
    let database: Database
    let folder: string
    let key: SealKey
    const clock = { now: Date.now }
    const random = createRandom(7)
    const below = (count: number): number => Math.floor(random.next() * count)
    const documents = ['a', 'b', 'c/d', 'document:e', 'f']
    const people = ['user:anne', 'user:bob', 'user:carol'] as const
    const agents = [[], ['agent:x'], ['agent:y'], ['agent:x', 'agent:y']] as const

    beforeAll(async () => {
      folder = await mkdtemp(join(tmpdir(), 'remit-given-'))
      key = await openSealKey(folder)
      database = await openTestDatabase(kind)
    })
    afterAll(async () => {
      await database?.close()
      await rm(folder, { recursive: true, force: true })
    })

    const seal = () => createSealer({ database, key, clock }).seal()
    const some = (): DecisionEvent => {
      const given = documents.filter(() => below(3) === 0)
      if (below(4) === 0) {
        const one = read(documents[below(documents.length)] ?? 'a')
        return below(2) === 0 ? { ...one, released: null } : one
      }
      return {
        ...asked,
        released: given.map((document_id) => ({ document_id, chunk_ids: [], proof: 'asked' })),
        considered: 6,
        denied: 1,
      }
    }
    const somebody = (): RecordActor => {
      const actors = agents[below(agents.length)] ?? []
      const subject = people[below(people.length)] ?? 'user:anne'
      return { subject, actors, client: `c${below(2)}`, txn: `t_${below(1e6)}`, delegation: 'd' }
    }
    /** Records, of which some were rolled back and some come late, into a number that was passed by. */
    async function happens(count: number): Promise<void> {
      for (let n = 0; n < count; n += 1) {
        if (below(5) > 0) {
          await record(database, somebody(), some())
          continue
        }
        await database
          .transaction(async (sql) => {
            await record(sql, somebody(), some())
            throw new Error('rolled back')
          })
          .catch(() => undefined)
      }
    }
    const comesLate = () =>
      database.query(
        `insert into decision_records (record_no, at, txn, event, subject, actors, client, delegation, detail, decision, objects)
         overriding system value
         select (select min(from_no) from record_gaps where from_no > 1), at, txn || 'late', event, subject, actors, client, delegation, detail,
           decision, objects
         from decision_records where decision = 'allowed' order by record_no desc limit 1`,
      )

    const stamp = (value: string) => `to_char(${value} at time zone 'UTC', 'YYYY-MM-DD"T"HH24:MI:SS.US"Z"')`
    const times = `count(*)::int as answers, ${stamp('min(at)')} as first_at, ${stamp('max(at)')} as last_at`
    const given = `decision = 'allowed' and event in ('retrieved', 'document_read')
      and ($2::timestamptz is null or at >= $2) and ($3::timestamptz is null or at < $3)`
    const ordered = (rows: readonly object[]) => rows.map((row) => JSON.stringify(row)).sort()
    const bare = (rows: readonly { readonly last_txn: string }[]) =>
      ordered(rows.map(({ last_txn: _, ...row }) => row))

    /** Every question, against the whole record counted without any of it. */
    async function expectAsRecorded(): Promise<number> {
      const questions = createRecordQuestions({ database })
      const [{ middle }] = (await database.query(
        `select to_timestamp((extract(epoch from min(at)) + extract(epoch from max(at))) / 2) as middle from decision_records`,
      )) as [{ middle: Date }]
      let rows = 0
      for (const span of [{}, { since: middle }, { until: middle }]) {
        const [since, until] = [span.since ?? null, span.until ?? null]
        for (const document of documents) {
          const answer = await questions.readers(document, span)
          const truth = await database.query(
            `select subject, actors, client, ${times} from decision_records where ${given} and $1 = any(objects)
             group by subject, actors, client`,
            [`document:${document}`, since, until],
          )
          expect(bare(answer.rows)).toEqual(ordered(truth))
          for (const { last_txn, last_at } of answer.rows)
            expect(
              await database.query(`select 1 from decision_records where txn = $1 and ${stamp('at')} = $2`, [
                last_txn,
                last_at,
              ]),
            ).not.toEqual([])
          rows += truth.length
        }
        const [{ subjects }] = (await database.query(
          `select array_agg(distinct subject) as subjects from decision_records`,
        )) as [{ subjects: string[] }]
        for (const subject of subjects)
          for (const agent of [undefined, 'agent:x', 'agent:y']) {
            const answer = await questions.reads({ subject, agent }, span)
            const truth = await database.query(
              `select substr(object, 10) as document_id, 'd' as delegation, ${times}
               from decision_records, unnest(objects) object
               where ${given} and object like 'document:%' and subject = $1
                 and case when $4::text is null then actors = '{}' else $4 = any(actors) end
               group by object`,
              [subject, since, until, agent ?? null],
            )
            expect(bare(answer.rows)).toEqual(ordered(truth))
            rows += truth.length
          }
      }
      return rows
    }

    test('is told as the record has it: sealed or not, rolled back, late, erased, and taken away by retention', async () => {
      await happens(30)
      expect(await expectAsRecorded()).toBeGreaterThan(50)
      await seal()
      await expectAsRecorded()
      await happens(20)
      await comesLate()
      await expectAsRecorded()
      await seal()
      await happens(20)
      const erasures = createErasures({ database, clock, newTxn: () => 't_job', seal })
      await erasures.erase('user:anne')
      await expectAsRecorded()
      await happens(10)
      await seal()
      expect(await database.query(`select 1 from record_who where subject = 'user:anne'`)).not.toEqual([])
      await erasures.erase('user:anne')
      await expectAsRecorded()
      expect(await database.query(`select 1 from record_who where subject = 'user:anne'`)).toEqual([])
    })

    test('names nobody any more whose records retention took, and whom nothing else names', async () => {
      await seal()
      await record(database, { ...somebody(), subject: 'user:gone' }, read('z'))
      await seal()
      // Nobody can take away what is younger than 30 days: so everything until here is older.
      const touch = (statements: readonly string[]) =>
        database.transaction(async (sql) => {
          for (const table of ['decision_records', 'record_given', 'record_seals'])
            await sql.query(`alter table ${table} disable trigger user`)
          for (const one of statements) await sql.query(one)
          for (const table of ['decision_records', 'record_given', 'record_seals'])
            await sql.query(`alter table ${table} enable trigger user`)
        })
      await touch([
        `update decision_records set at = at - interval '40 days'`,
        `update record_given set at = at - interval '40 days'`,
        `update record_seals set newest_at = newest_at - interval '40 days'`,
      ])
      await happens(10)
      await seal()
      const drop = createRetention({ database, newTxn: () => 't_job', days: 30 })
      expect(await drop()).toBeGreaterThan(10)
      expect(await database.query(`select 1 from record_who where subject = 'user:gone'`)).toEqual([])
      expect(
        await database.query(
          'select 1 from record_given where record_no not in (select record_no from decision_records)',
        ),
      ).toEqual([])
      expect(await expectAsRecorded()).toBeGreaterThan(0)
    })

    test('is seen to be told from the list where it is sealed, and from the record where it is not', async () => {
      const questions = createRecordQuestions({ database })
      const before = (await questions.readers('a', {})).rows
      expect(before.length).toBeGreaterThan(0)
      await database.query('alter table record_given disable trigger user')
      await database.query('delete from record_given')
      await database.query('alter table record_given enable trigger user')
      expect((await questions.readers('a', {})).rows).toEqual([])
      await record(database, { ...operator('t_last'), subject: 'user:anne' }, read('a'))
      expect((await questions.readers('a', {})).rows).toMatchObject([
        { subject: 'user:anne', answers: 1, last_txn: 't_last' },
      ])
    })
  })
})
