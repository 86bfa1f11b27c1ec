import { afterAll, beforeAll, describe, expect, test } from 'vitest'
import { record } from '../../src/audit/record.ts'
import { readThread, threadMax } from '../../src/audit/thread.ts'
import type { Database } from '../../src/store/sql.ts'
import { openTestDatabase } from '../support/database.ts'
import { needsPostgres } from '../support/native.ts'

describe.each([
  { kind: 'pglite', options: {} },
  { kind: 'postgres', options: needsPostgres },
] as const)('the thread of an action', ({ kind, options }) => {
  describe(`on ${kind}`, options, () => {
    let database: Database
    beforeAll(async () => {
      database = await openTestDatabase(kind)
    })
    afterAll(() => database?.close())

    const step = (txn: string, trace: string) =>
      record(
        database,
        { subject: 'user:anne', actors: [], client: 'bot', txn, trace },
        { event: 'agent_blocked', agent: 'thief' },
      )
    /** As many other actions of one trace. */
    const others = (count: number, trace: string, txn: string | null = null) =>
      database.query(
        `insert into decision_records (txn, event, subject, actors, client, trace_id, detail)
         select coalesce($3, 't_noise' || n), 'agent_blocked', 'user:anne', '{}', 'bot', $2, '{}'
         from generate_series(1, $1::int) n`,
        [count, trace, txn],
      )
    const txnsOf = async (id: string) => {
      const { steps, isComplete } = await readThread(database, id)
      const seqs = steps.map(({ seq }) => seq)
      expect(seqs).toEqual(seqs.toSorted((a, b) => a - b))
      return { txns: steps.map(({ txn }) => txn), isComplete }
    }

    test('has the action first, whatever else shares its trace, then what is nearest; and says that it cut', async () => {
      await others(threadMax, 'trace_a')
      await step('t_theft', 'trace_a')
      await step('t_next', 'trace_a')
      await step('t_theft', 'trace_a')
      await others(5, 'trace_a')
      const { txns, isComplete } = await txnsOf('t_theft')
      expect(isComplete).toBe(false)
      expect(txns).toHaveLength(threadMax)
      expect(txns.filter((txn) => txn === 't_theft')).toHaveLength(2)
      const first = txns.indexOf('t_theft')
      expect(txns.slice(first, first + 3)).toEqual(['t_theft', 't_next', 't_theft'])
      expect(txns.slice(-5)).toEqual(['t_noise1', 't_noise2', 't_noise3', 't_noise4', 't_noise5'])
    })

    test('has the first and the last of one that did more than is listed', async () => {
      await step('t_busy', 'trace_first')
      await others(threadMax, 'trace_d', 't_busy')
      await step('t_busy', 'trace_last')
      const { steps, isComplete } = await readThread(database, 't_busy')
      expect([isComplete, steps.length]).toEqual([false, threadMax])
      expect([steps[0]?.trace, steps.at(-1)?.trace]).toEqual(['trace_first', 'trace_last'])
    })

    test('is complete up to its bound, of a trace as of an action, and not beyond', async () => {
      await others(threadMax - 1, 'trace_b')
      await step('t_own', 'trace_b')
      expect(await txnsOf('t_own')).toMatchObject({ isComplete: true, txns: { length: threadMax } })
      expect(await txnsOf('trace_b')).toMatchObject({ isComplete: true, txns: { length: threadMax } })
      await step('t_own', 'trace_b')
      expect(await txnsOf('t_own')).toMatchObject({ isComplete: false, txns: { length: threadMax } })
      expect(await txnsOf('trace_b')).toMatchObject({ isComplete: false, txns: { length: threadMax } })
      await step('t_alone', 'trace_c')
      expect(await txnsOf('t_alone')).toEqual({ isComplete: true, txns: ['t_alone'] })
    })
  })
})
