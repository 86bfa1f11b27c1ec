import { AsyncLocalStorage } from 'node:async_hooks'
import type { SourceAccount } from '@remit/connector'
import { afterAll, beforeAll, beforeEach, describe, expect, test } from 'vitest'
import { operator } from '../../../src/audit/record.ts'
import { createAddressBook } from '../../../src/directory/addresses.ts'
import { linkAccounts } from '../../../src/sources/people/linking.ts'
import { createSeal } from '../../../src/store/encryption.ts'
import type { Database, Sql } from '../../../src/store/sql.ts'
import { openTestDatabase } from '../../support/database.ts'
import { needsPostgres } from '../../support/native.ts'

// A connection of its own, as another process has.
const outside = AsyncLocalStorage.snapshot()

describe('a person who is deactivated while a reading links their account', needsPostgres, () => {
  let database: Database
  beforeAll(async () => {
    database = await openTestDatabase('postgres')
    await database.query(
      `insert into sources (id, kind, origin, settings, collections, state, proposed_by, poll_seconds, crawl_seconds, max_age_seconds, purge_days)
       values ('wiki', 'none', 'file:///srv/none', '{}', '{}', 'active', 'user:dan', 1, 1, 1000, 1)`,
    )
    await database.query(
      `insert into directories (name, issuer, namespace, prefix, key_attribute, created_at)
       values ('acme', 'https://id.acme.test', 'acme', 'acme/', 'externalId', now())`,
    )
  })
  beforeEach(async () => {
    for (const table of ['source_people', 'directory_addresses', 'directory_users'])
      await database.query(`delete from ${table}`)
    for (const key of ['anne', 'bob'])
      await database.query(
        `insert into directory_users (id, directory, sub, account, login, attributes, is_active, created_at, changed_at)
         values ($1, 'acme', $1, 'acme/' || $1, $1, $2, true, now(), now())`,
        [key, { emails: [{ value: `${key}@acme.test` }] }],
      )
  })
  afterAll(() => database?.close())

  const deactivate = (sql: Sql) => sql.query(`update directory_users set is_active = false where id = 'anne'`)
  const read = (told: readonly SourceAccount[], before: (text: string) => unknown = () => undefined) =>
    linkAccounts(told, {
      source: 'wiki',
      addresses: {
        ...createAddressBook({ trustedIssuers: [{ issuer: 'https://id.acme.test', namespace: 'acme' }] }),
        directoryOf: () => 'acme',
      },
      verifiesAddresses: true,
      onNobody: () => undefined,
      actor: operator('t_1'),
      seal: createSeal(new Uint8Array(32)),
      transaction: (work) =>
        database.transaction((sql) =>
          work({
            query: async (text, values) => {
              await before(text)
              return sql.query(text, values)
            },
          }),
        ),
    })
  const rows = () =>
    database.query<{ account: string; state: string; is_held: boolean }>(
      'select account, state, is_held from source_people order by account',
    )
  const anne = { id: '7', email: 'anne@acme.test' }

  test('is waited for, and the account is nobody', async () => {
    let reading: ReturnType<typeof read> | undefined
    await database.transaction(async (sql) => {
      await deactivate(sql)
      reading = outside(() => read([anne]))
      await new Promise((resolve) => setTimeout(resolve, 300))
    })
    expect(await reading).toEqual([anne])
    expect(await rows()).toEqual([{ account: '7', state: 'unknown', is_held: false }])
  })

  test('stays suspended where the reading began before, and only had a name to write', async () => {
    expect(await read([anne])).toMatchObject([{ subject: 'user:acme/anne' }])
    let isDone = false
    const named = await read([{ ...anne, name: 'Anne' }], async (text) => {
      if (isDone || !text.includes('update source_people')) return
      isDone = true
      await outside(() => deactivate(database))
    })
    expect(isDone).toBe(true)
    expect(named).toEqual([{ ...anne, name: 'Anne' }])
    expect(await rows()).toEqual([{ account: '7', state: 'suspended', is_held: true }])
  })

  test('and 5,000 accounts that nothing changed of cost a few statements and no write', async () => {
    await database.query(
      `insert into directory_users (id, directory, sub, account, login, attributes, is_active, created_at, changed_at)
       select 'p' || n, 'acme', 'p' || n, 'acme/p' || n, 'p' || n,
         jsonb_build_object('emails', jsonb_build_array(jsonb_build_object('value', 'p' || n || '@acme.test'))), true, now(), now()
       from generate_series(1, 5000) as n`,
    )
    const told = Array.from({ length: 5_000 }, (_, index) => ({
      id: String(index),
      email: `p${index + 1}@acme.test`,
    }))
    expect((await read(told)).filter(({ subject }) => subject !== undefined)).toHaveLength(5_000)
    const recorded = () =>
      database.query<{ count: number }>(
        `select count(*) as count from decision_records where event = 'source_people_changed'`,
      )
    const [first] = await recorded()
    expect(first?.count).toBeGreaterThanOrEqual(10)
    const texts: string[] = []
    const before = performance.now()
    await read(told, (text) => texts.push(text))
    process.stdout.write(`5,000 accounts of before: ${Math.round(performance.now() - before)} ms\n`)
    expect(texts.length).toBeLessThan(10)
    expect(texts.filter((text) => text.includes('insert into'))).toEqual([])
    expect(await recorded()).toEqual([first])
  })
})
