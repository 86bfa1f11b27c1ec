import pg from 'pg'
import { afterAll, beforeAll, describe, expect, test } from 'vitest'
import { runPrepared } from '../../src/store/prepared.ts'
import type { Database, SqlValue } from '../../src/store/sql.ts'
import { describeDatabases } from '../support/backends.ts'
import { openTestDatabase } from '../support/database.ts'
import { native, needsPostgres } from '../support/native.ts'

describeDatabases('a prepared statement', (kind) => {
  let database: Database
  beforeAll(async () => {
    database = await openTestDatabase(kind)
  })
  afterAll(() => database?.close())

  const values: readonly (readonly [string, SqlValue])[] = [
    ['text', 'Grüße, "quoted" \\ and {braces}, NULL'],
    ['text', ''],
    ['text', null],
    ['int', -7],
    ['float8', 0.1],
    ['bigint', 9_007_199_254_740_991n],
    ['boolean', false],
    ['timestamptz', new Date('2026-11-26T15:04:05.678Z')],
    ['bytea', new Uint8Array([0, 92, 255]).subarray(1)],
    ['int[]', Int32Array.of(3, -1)],
    ['int[]', new Int32Array()],
    ['text[]', ['a', '', 'NULL', 'b "c" \\ {d},e', null]],
    ['text[]', []],
    [
      'int[]',
      [
        [1, 2],
        [3, 4],
      ],
    ],
    ['bytea[]', [new Uint8Array([1, 2]), new Uint8Array([92, 34])]],
    ['jsonb[]', [{ a: '"' }]],
    ['jsonb', { a: [1, null, 'x'], b: { c: '\\' } }],
  ]

  test.each(values)('sends and gives %s as every other statement does: %o', async (type, value) => {
    const text = `select $1::${type} as value, pg_typeof($1::${type})::text as type`
    const expected = await database.query(text, [value])
    const statement = { name: `as_${type.replaceAll('[]', 's')}`, text }
    // Its columns are described the first time, and known the second.
    for (let time = 0; time < 2; time += 1)
      expect(await database.queryFixedPlan(statement, [value])).toEqual(expected)
  })

  test('gives many rows in their order, or none', async () => {
    const statement = { name: 'many', text: 'select n, n::text as text from generate_series(1, $1::int) n' }
    const rows = await database.queryFixedPlan<{ n: number; text: string }>(statement, [1_000])
    expect(rows.map(({ n }) => n)).toEqual(Array.from({ length: 1_000 }, (_, at) => at + 1))
    expect(rows.at(-1)).toEqual({ n: 1_000, text: '1000' })
    expect(await database.queryFixedPlan(statement, [0])).toEqual([])
  })

  test('that fails, at its first run or later, fails alone: the next one runs, on the same connection', async () => {
    const statement = { name: 'fails', text: 'select 1 / $1::int as n' }
    for (const divisor of [0, 1, 0, 1]) {
      const asked = database.queryFixedPlan(statement, [divisor])
      if (divisor === 0) await expect(asked).rejects.toThrow('division by zero')
      else expect(await asked).toEqual([{ n: 1 }])
    }
    await expect(database.queryFixedPlan({ name: 'wrong', text: 'select from nowhere' }, [])).rejects.toThrow(
      'does not exist',
    )
    expect(await database.queryFixedPlan(statement, [1])).toEqual([{ n: 1 }])
  })

  test('does not say what could not be read', async () => {
    const asked = database.queryFixedPlan({ name: 'secret', text: 'select $1::int as n' }, [
      'a secret question',
    ])
    await expect(asked).rejects.toThrow(/^Postgres could not read a value/)
  })

  test('runs many at a time, each with its own answer', async () => {
    const statement = { name: 'echo', text: 'select $1::int as n' }
    const asked = Array.from({ length: 50 }, (_, n) => database.queryFixedPlan(statement, [n]))
    expect(await Promise.all(asked)).toEqual(asked.map((_, n) => [{ n }]))
  })

  test('answers storage_unavailable where its database is gone', async () => {
    const closed = await openTestDatabase(kind)
    await closed.close()
    await expect(closed.queryFixedPlan({ name: 'gone', text: 'select 1' }, [])).rejects.toMatchObject({
      code: 'storage_unavailable',
    })
  })
})

describe('a statement that is prepared on a connection of native Postgres', needsPostgres, () => {
  let client: pg.Client
  beforeAll(async () => {
    client = new pg.Client({ connectionString: native.databaseUrl })
    await client.connect()
  })
  afterAll(() => client?.end())

  test('is not taken for another one of its name', async () => {
    expect(await runPrepared(client, { name: 'one', text: 'select 1 as n' }, [])).toEqual([{ n: 1 }])
    const other = runPrepared(client, { name: 'one', text: 'select 2 as n' }, [])
    await expect(other).rejects.toThrow('Another statement is prepared as one')
    expect(await runPrepared(client, { name: 'one', text: 'select 1 as n' }, [])).toEqual([{ n: 1 }])
  })

  test('is waited for no longer than a connection string says, and is not kept when it has been answered', async () => {
    const connectionString = `${native.databaseUrl}?query_timeout=60000`
    const patient = new pg.Client({ connectionString })
    await patient.connect()
    const timers = () => process.getActiveResourcesInfo().filter((one) => one === 'Timeout').length
    const statement = { name: 'soon', text: 'select $1::int as n' }
    const before = timers()
    for (let n = 0; n < 20; n += 1) expect(await runPrepared(patient, statement, [n])).toEqual([{ n }])
    expect(timers()).toBeLessThan(before + 20)
    await patient.end()
    const hasty = new pg.Client({ connectionString: `${native.databaseUrl}?query_timeout=100` })
    await hasty.connect()
    const late = runPrepared(hasty, { name: 'late', text: 'select pg_sleep(2)' }, [])
    await expect(late).rejects.toThrow('Query read timeout')
    await hasty.end()
  })

  test('fails where its columns are others since they were described', async () => {
    const statement = { name: 'columns', text: 'select * from changing' }
    await client.query('create temp table changing as select 1 as a, 2 as b')
    expect(await runPrepared(client, statement, [])).toEqual([{ a: 1, b: 2 }])
    await client.query('alter table changing drop a')
    await expect(runPrepared(client, statement, [])).rejects.toThrow('must not change result type')
  })

  test('fails alone where what it gave, or what it was given, cannot be read', async () => {
    const unread = { name: 'unread', text: 'select 1::"char" as letter' }
    client.setTypeParser(pg.types.builtins.CHAR, () => {
      throw new Error('no letter')
    })
    await expect(runPrepared(client, unread, [])).rejects.toThrow('no letter')
    const circle: Record<string, unknown> = {}
    circle['self'] = circle
    const statement = { name: 'read', text: 'select $1::int as n' }
    await expect(runPrepared(client, statement, [circle])).rejects.toThrow('circular')
    expect(await runPrepared(client, statement, [2])).toEqual([{ n: 2 }])
  })
})
