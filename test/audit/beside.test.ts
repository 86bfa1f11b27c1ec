import { AsyncLocalStorage } from 'node:async_hooks'
import { expect, test } from 'vitest'
import { record } from '../../src/audit/record.ts'
import { createErasures } from '../../src/audit/seal/erase.ts'
import { createRetention } from '../../src/audit/seal/retention.ts'
import { type VerifyResult, verifyRecord } from '../../src/audit/seal/verify.ts'
import type { Database, Sql } from '../../src/store/sql.ts'
import { describeDatabases } from '../support/backends.ts'
import {
  asOwner,
  clock,
  database,
  empty,
  key,
  newTxn,
  openSealed,
  read,
  seal,
  verify,
  who,
} from './world-seal.ts'

describeDatabases('a verification of the record', (kind) => {
  openSealed(kind)
  const makeOld = () =>
    asOwner(`update decision_records set at = at - interval '40 days' where at > now() - interval '1 day'`)
  const drop = () => createRetention({ database, newTxn, days: 30 })()
  const erase = () => createErasures({ database, clock, newTxn, seal, pauseMs: 1 }).erase('user:anne')
  const readAgain = async () => {
    await record(database, who('user:anne'), read('again'))
    await seal()
  }

  /** Three old seals and four new ones. */
  async function sealedAnew(): Promise<void> {
    await empty()
    for (const old of ['a', 'b', 'c']) {
      await record(database, who('user:anne'), read(old))
      await makeOld()
      await seal()
    }
    for (const person of ['anne', 'bob', 'carol', 'dan'] as const) {
      await record(database, who(`user:${person}`), read('d'))
      await seal()
    }
  }

  /** What it finds where `act` runs before its statement of this number; undefined: it has no such one. */
  async function besides(act: () => Promise<unknown>, at: number): Promise<VerifyResult | undefined> {
    const outside = AsyncLocalStorage.snapshot()
    let statements = 0
    const next = async () => {
      statements += 1
      if (statements === at) await outside(act)
    }
    const counting = (sql: Sql): Sql => ({
      query: async (text, values) => {
        await next()
        return sql.query(text, values)
      },
    })
    const standing: Database = {
      ...database,
      ...counting(database),
      transaction: async (work) => {
        // PGlite has one session: nothing comes between two statements of a transaction there.
        if (kind === 'postgres') return database.transaction((sql) => work(counting(sql)))
        await next()
        return database.transaction(work)
      },
    }
    const result = await verifyRecord(standing, { publicKey: key.publicKey, now: clock.now() })
    return statements < at ? undefined : result
  }

  test.each([
    ['retention takes old seals', drop],
    ['somebody is erased', erase],
    ['somebody is erased and comes back', () => erase().then(readAgain)],
  ])(
    'finds nothing where %s between any two of its statements',
    async (_, act) => {
      for (let at = 1; ; at += 1) {
        await sealedAnew()
        const result = await besides(act, at)
        if (result === undefined) break
        expect(result.findings, `before statement ${at}`).toEqual([])
      }
      expect(await verify()).toMatchObject({ found: 0 })
    },
    120_000,
  )

  test('finds a seal that was removed, a key that was dropped and a row that was changed, also beside both', async () => {
    const wrong = [
      { kind: 'removed', seal: 5 },
      { kind: 'changed', seal: 6 },
      { kind: 'changed', seal: 7 },
    ]
    const places = new Set<number>()
    for (let at = 1; ; at += 1) {
      await sealedAnew()
      await asOwner(
        `delete from record_given where record_no = any((select record_nos from record_leaves where seal_no = 5)::bigint[]); delete from decision_records where record_no = any((select record_nos from record_leaves where seal_no = 5)::bigint[]); delete from record_leaves where seal_no = 5; delete from record_people where subject = 'user:carol'; update decision_records set client = 'x' where subject = 'user:dan'`,
      )
      const alone = await verify()
      expect(alone.findings).toMatchObject(wrong)
      const result = await besides(() => drop().then(erase), at)
      if (result === undefined) break
      expect(result.findings, `before statement ${at}`).toEqual(alone.findings)
      places.add(result.dropped.seals)
    }
    // It met retention where it had gone, and where it had not.
    expect([...places].sort()).toEqual([0, 3])
  }, 120_000)
})
