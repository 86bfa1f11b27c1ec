import { afterAll, beforeAll, describe, expect, test } from 'vitest'
import { openPostgres } from '../../src/store/postgres.ts'
import type { Database } from '../../src/store/sql.ts'
import { native } from '../support/native.ts'
import { needsPgbouncer, type Pgbouncer, startPgbouncer } from '../support/pgbouncer.ts'

describe('a database behind pgbouncer in session mode', needsPgbouncer, () => {
  let pooler: Pgbouncer
  let database: Database
  beforeAll(async () => {
    pooler = await startPgbouncer(native.databaseUrl ?? '')
    database = await openPostgres({ url: pooler.url, poolSize: 2, idleMsMax: 7_000 })
  })
  afterAll(async () => {
    await database?.close()
    await pooler?.[Symbol.asyncDispose]()
  })

  const limits = `select current_setting('statement_timeout') as statement,
    current_setting('idle_in_transaction_session_timeout') as idle`
  const kept = [{ statement: '1min', idle: '7s' }]

  test('ends statements and transactions that take too long, as without it', async () => {
    expect(await database.query(limits)).toEqual(kept)
    expect(await database.queryFixedPlan({ name: 'limits', text: limits }, [])).toEqual(kept)
  })

  test('tells of changes', async () => {
    const { promise, resolve } = Promise.withResolvers<string>()
    await using listener = await database.openListener?.(resolve)
    expect(await listener?.query(limits)).toEqual([{ statement: '2s', idle: '7s' }])
    await database.query(`select pg_notify('remit_revocation_feed', '7')`)
    expect(await promise).toBe('7')
  })
})
