import { randomBytes } from 'node:crypto'
import { setTimeout } from 'node:timers/promises'
import type { DecisionEvent } from '@remit/contract/decision-event'
import { expect, test } from 'vitest'
import { operator, record } from '../../src/audit/record.ts'
import { aliasOf } from '../../src/audit/seal/canonical.ts'
import { createErasures } from '../../src/audit/seal/erase.ts'
import { readHeads } from '../../src/audit/seal/heads.ts'
import { createRetention } from '../../src/audit/seal/retention.ts'
import { peopleChanged } from '../../src/sources/people/recorded.ts'
import { createSeal } from '../../src/store/encryption.ts'
import type { Database, Sql } from '../../src/store/sql.ts'
import { describeDatabases } from '../support/backends.ts'
import {
  asked,
  asOwner,
  clock,
  database,
  newTxn,
  numbers,
  openSealed,
  read,
  seal,
  sealed,
  verify,
  who,
} from './world-seal.ts'

describeDatabases('the sealed record, of which somebody is erased,', (kind) => {
  openSealed(kind)
  const erasures = (on = database) => createErasures({ database: on, clock, newTxn, seal, pauseMs: 1 })

  test.each([
    ['is erased in them, with the record whole', false],
    ['stays in those of before, with the record whole', true],
  ])('somebody whom the kept words of a question name %s', async (_, isOlder) => {
    const words = ['what did user:anne do?', 'user:anne', 'user:anne and user:carol\nuser:dan\tuser:dan']
    for (const query of words)
      await record(database, who('user:bob'), { ...asked, query, ...(!isOlder && { erasable: true }) })
    await seal()
    const heads = await readHeads(database, { after: 0, limit: 100 })
    const kept = async () => JSON.stringify(await database.query('select detail from decision_records'))
    for (const [erased, others] of [
      ['anne', ['bob', 'carol']],
      ['dan', ['bob', 'carol']],
      ['bob', ['carol']],
      ['carol', []],
    ] as const) {
      await erasures().erase(`user:${erased}`)
      await seal()
      expect(await verify(heads)).toMatchObject({ found: 0 })
      const left = await kept()
      if (!isOlder) expect(left).not.toContain(`user:${erased}`)
      if ((others as readonly string[]).includes('bob')) expect(left).toContain('what did ')
      else expect(left).not.toContain('what did ')
    }
  })

  test('a person is erased by the destruction of their key, and the chain stays whole', async () => {
    await sealed()
    await record(database, who('user:carol', 't_c'), {
      event: 'access_changed',
      writes: ['user:anne viewer document:x', 'user:annex viewer document:x'],
      deletes: [],
      ends: ['user:anne viewer document:x until 2027-01-01T00:00:00Z'],
    })
    await record(database, operator('t_op'), {
      event: 'command',
      command: 'person_add',
      arguments: { key: 'anne', name: 'Anne Berger' },
    })
    await record(database, who('user:anne'), {
      event: 'connection_made',
      connection: 'c_1',
      provider: 'mail',
      account: 'anne@mail.example',
    })
    await record(database, operator('t_lost'), {
      event: 'connection_broken',
      connection: 'c_1',
      provider: 'mail',
      account: 'anne@mail.example',
      user: 'user:anne',
    })
    const people = [
      { account: 'anne.berger@corp.example', subject: 'user:anne' },
      { account: 'bob@corp.example', subject: 'user:bob' },
    ]
    const source = { source: 'wiki', people, erasable: true } as const
    await record(database, who('user:carol'), { event: 'source_people_proposed', ...source })
    await record(
      database,
      who('user:dan'),
      peopleChanged(
        createSeal(randomBytes(32)),
        'wiki',
        people.map((one) => ({ ...one, state: 'linked' })),
      ),
    )
    await seal()
    await record(database, who('user:anne'), read('not sealed yet'))
    const heads = await readHeads(database, { after: 0, limit: 100 })
    const { alias, records } = await erasures().erase('user:anne')
    expect(records).toBe(11)
    const left = JSON.stringify(await database.query('select * from decision_records'))
    expect(left).not.toMatch(/user:anne\b|Anne Berger|anne@mail|anne\.berger|"anne"/)
    expect(left).toContain('user:annex')
    expect(left).toContain('bob@corp.example')
    expect(left).toContain(alias)
    expect(await database.query('select subject, key from record_people where alias = $1', [alias])).toEqual([
      { subject: null, key: null },
    ])
    const after = await verify()
    expect(after).toMatchObject({ found: 0 })
    expect((await verify(heads)).found).toBe(0)
    await seal()
    expect(await verify()).toMatchObject({ found: 0, waiting: 0 })
    // Whoever comes back is somebody else.
    await record(database, who('user:anne'), read('again'))
    await seal()
    expect((await erasures().erase('user:anne')).alias).not.toBe(alias)
    expect(await verify()).toMatchObject({ found: 0 })
  })

  test('keeps older records of a source’s people as they were sealed, but for the person', async () => {
    const people = [{ account: 'anne.berger@corp.example', subject: 'user:anne' }]
    await asOwner(
      `insert into decision_records (txn, event, subject, actors, client, detail) values ('t_1', 'source_people_proposed',
       'user:carol', '{}', 'console', '${JSON.stringify({ source: 'wiki', people })}')`,
    )
    await seal()
    const { alias } = await erasures().erase('user:anne')
    expect(await database.query(`select detail from decision_records where txn = 't_1'`)).toEqual([
      { detail: { source: 'wiki', people: [{ account: 'anne.berger@corp.example', subject: alias }] } },
    ])
    expect(await verify()).toMatchObject({ found: 0 })
  })

  test('shows a record that was hidden by an erasure of which the record says nothing', async () => {
    const [, second = 0] = await sealed()
    await database.query(`update record_people set erasing_since = now() where subject = 'user:anne'`)
    await database.query(
      `select record_erase(alias, array[record_no], array[alias], array[detail])
       from decision_records, record_people p where record_no = $1 and p.subject = 'user:anne'`,
      [second],
    )
    expect((await verify()).findings).toMatchObject([{ kind: 'erased_without_erasure', record: second }])
  })

  const retrieved = (query: string): DecisionEvent => ({ ...asked, query })
  const inWords = { provider: 'mail', connection: 'c_1', account: 'mallory@mail.example' }
  const commandOf = (command: string, given: object): DecisionEvent => ({
    event: 'command',
    command,
    arguments: { ...given },
  })
  /** Each names mallory, or something of hers, in its detail; all but two in nothing else. */
  const naming: readonly DecisionEvent[] = [
    { event: 'access_changed', writes: ['user:mallory viewer document:secret'], deletes: [] },
    commandOf('admin_add', { subject: 'user:mallory', roles: ['security.write'] }),
    commandOf('person_add', { key: 'mallory', name: 'Mallory Berg' }),
    { event: 'person_disabled', user: 'user:mallory' },
    { event: 'account_linked', issuer: 'https://idp.example', sub: 'x-77', person: 'mallory' },
    retrieved('the merger'),
    { event: 'connection_made', ...inWords },
  ]
  async function namingSealed(): Promise<void> {
    for (const decision of naming) {
      const isHers = decision.event === 'retrieved' || decision.event === 'connection_made'
      await record(database, isHers ? who('user:mallory') : operator('t_op'), decision)
    }
    await seal()
  }

  test('shows each alias of nobody erased that stands in a detail, with her key at hand and without', async () => {
    await namingSealed()
    const heads = await readHeads(database, { after: 0, limit: 100 })
    expect((await verify(heads)).found).toBe(0)
    const [mallory] = await database.query<{ alias: string; key: Uint8Array }>(
      `select alias, key from record_people where subject = 'user:mallory'`,
    )
    if (mallory === undefined) throw new Error('She has no key.')
    const { alias, key: hers } = mallory
    const masks: readonly (readonly [string, string])[] = [
      ['user:mallory', alias],
      ['"mallory"', `"${alias}"`],
      ...Object.entries({
        name: 'Mallory Berg',
        sub: 'x-77',
        query: 'the merger',
        account: inWords.account,
      }).map(([name, value]) => [value, aliasOf(hers, `${name} ${value}`)] as const),
    ]
    const all = await numbers()
    for (const [from, to] of masks)
      await asOwner(`update decision_records set detail = replace(detail::text, '${from}', '${to}')::jsonb`)
    const hidden = all.map((number) => ({ kind: 'erased_without_erasure', record: number }))
    expect((await verify(heads)).findings).toMatchObject(hidden)
    // Without her key nobody can tell whose they were; her own two rows name her still, and do not fit.
    await asOwner(`delete from record_people where subject = 'user:mallory'`)
    expect((await verify(heads)).findings).toEqual(
      expect.arrayContaining(hidden.slice(0, 5).map((finding) => expect.objectContaining(finding))),
    )
    expect((await verify(heads)).found).toBe(all.length)
  })

  test('finds nothing where they were erased, nor in words of somebody that look like an alias', async () => {
    await namingSealed()
    await record(database, who('user:anne'), retrieved(`erased:${'a'.repeat(22)}`))
    await seal()
    await erasures().erase('user:mallory')
    const left = JSON.stringify(await database.query('select * from decision_records'))
    expect(left).not.toMatch(/mallory|Berg|x-77|merger/)
    expect(left).toContain(`erased%3A${'a'.repeat(22)}`)
    expect(await verify()).toMatchObject({ found: 0 })
  })

  test('what is sealed while the erasing process stands still before its last statement is erased as well', async () => {
    await sealed()
    let transactions = 0
    const late = async () => {
      await record(database, who('user:anne'), read('late'))
      await seal()
    }
    const standing: Database = {
      ...database,
      query: async (text, values) => {
        if (text.includes('erased_at = $2')) await late()
        return database.query(text, values)
      },
      transaction: async (work) => {
        transactions += 1
        // The one that drops the key, after the beginning, two batches, and one with nothing in it.
        if (transactions === 5) await late()
        return database.transaction(work)
      },
    }
    const { records } = await erasures(standing).erase('user:anne')
    expect(records).toBe(5)
    expect(JSON.stringify(await database.query('select * from decision_records'))).not.toMatch(/user:anne\b/)
    expect(await verify()).toMatchObject({ found: 0 })
  })

  test('two people whom one record names are erased at once, and neither comes back', async () => {
    const writes = ['user:anne viewer document:x', 'user:bob viewer document:x']
    await record(database, who('user:carol'), { event: 'access_changed', writes, deletes: [] })
    await record(database, who('user:carol'), { ...asked, query: 'user:anne and user:bob', erasable: true })
    await seal()
    const met = Promise.withResolvers<void>()
    const other = met.promise.then(() => erasures().erase('user:bob'))
    // Between what the first one reads and what it writes, as far as the second one gets.
    const meeting = (sql: Sql): Sql => ({
      query: async (text, values) => {
        if (text.includes('record_erase')) {
          met.resolve()
          await Promise.race([other, setTimeout(1_000)])
        }
        return sql.query(text, values)
      },
    })
    const standing: Database = {
      ...database,
      ...meeting(database),
      transaction: (work, options) => database.transaction((sql) => work(meeting(sql)), options),
    }
    await erasures(standing).erase('user:anne')
    await other
    expect(JSON.stringify(await database.query('select * from decision_records'))).not.toMatch(
      /user:(anne|bob)/,
    )
    await seal()
    expect(await verify()).toMatchObject({ found: 0 })
  })

  test('what was sealed while they were erased stays excused when retention takes what was sealed before', async () => {
    await record(database, who('user:anne'), read('before'))
    const makeOld = () => asOwner(`update decision_records set at = at - interval '40 days'`)
    let seals = 0
    const sealMeanwhile = async () => {
      seals += 1
      if (seals > 1) return seal()
      await makeOld()
      const sealed = await seal()
      await record(database, who('user:anne'), read('meanwhile'))
      return sealed
    }
    const { alias } = await createErasures({
      database,
      clock,
      newTxn,
      seal: sealMeanwhile,
      pauseMs: 1,
    }).erase('user:anne')
    await seal()
    expect(await createRetention({ database, newTxn, days: 30 })()).toBe(2)
    await seal()
    expect(await verify()).toMatchObject({ found: 0, dropped: { seals: 1, records: 2 } })
    // It is the record's word that excuses, not that there is no key.
    await asOwner(`delete from decision_records where event = 'person_erased'`)
    expect((await verify()).findings).toMatchObject([
      { kind: 'erased_without_erasure', seal: 2 },
      { kind: 'removed', seal: 3 },
    ])
    expect(await database.query('select 1 from record_people where alias = $1', [alias])).toHaveLength(1)
  })

  test('an erasure that a crash cut short goes on by itself', async () => {
    await sealed()
    const failing: Database = {
      ...database,
      transaction: (work) =>
        database.transaction((sql) =>
          work({
            query: async (text, values) => {
              if (text.includes('erased_at = $2')) throw new Error('crash')
              return sql.query(text, values)
            },
          }),
        ),
    }
    await expect(erasures(failing).erase('user:anne')).rejects.toThrow('crash')
    expect(await verify()).toMatchObject({ found: 0 })
    await erasures().mend()
    expect(await database.query('select 1 from record_people where subject = $1', ['user:anne'])).toEqual([])
    expect(await verify()).toMatchObject({ found: 0 })
  })
})
