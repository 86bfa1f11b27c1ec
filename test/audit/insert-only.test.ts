import { randomBytes } from 'node:crypto'
import { readFile } from 'node:fs/promises'
import pg from 'pg'
import { afterAll, beforeAll, describe, expect, test } from 'vitest'
import { operator, record } from '../../src/audit/record.ts'
import { guardRecord } from '../../src/store/guard-record.ts'
import { migrate } from '../../src/store/migrate.ts'
import { openPostgres } from '../../src/store/postgres.ts'
import type { Database } from '../../src/store/sql.ts'
import { native, needsPostgres } from '../support/native.ts'

describe('the record of a service with a role of its own', needsPostgres, () => {
  const name = `remit_role_${randomBytes(5).toString('hex')}`
  let admin: pg.Client
  let inside: pg.Client
  let service: Database
  const urlOf = (database: string, role?: string): string => {
    const url = new URL(native.databaseUrl ?? '')
    url.pathname = `/${database}`
    if (role !== undefined) [url.username, url.password] = [role, 'secret']
    return url.href
  }

  beforeAll(async () => {
    admin = new pg.Client({ connectionString: native.databaseUrl })
    await admin.connect()
    await admin.query(`create role ${name} login password 'secret'`)
    await admin.query(`create database ${name} owner ${name}`)
    inside = new pg.Client({ connectionString: urlOf(name) })
    await inside.connect()
    await inside.query('create extension vector')
    const script = await readFile(new URL('../../docker/record-owner.sql', import.meta.url), 'utf8')
    await inside.query(script.replaceAll(':"service"', name))
    service = await openPostgres({ url: urlOf(name, name), poolSize: 2 })
    await migrate(service, { dir: new URL('../../migrations/', import.meta.url), dimensions: 3 })
    expect(await guardRecord(service)).toEqual({ isInsertOnly: true })
    await record(service, operator('t_1'), { event: 'command', command: 'drift', arguments: {} })
  })
  afterAll(async () => {
    await service?.close()
    await inside?.end()
    await admin?.query(`drop database if exists ${name} with (force)`)
    await admin?.query(`drop role if exists ${name}`)
    await admin?.end()
  })

  test.each([
    `update decision_records set subject = 'user:bob'`,
    'delete from decision_records',
    'truncate decision_records',
    'drop table decision_records cascade',
    'alter table decision_records disable trigger all',
    'drop trigger decision_records_append_only on decision_records',
    'alter table decision_records owner to current_user',
    'delete from record_seals',
    'delete from record_leaves',
    'create or replace function refuse_change() returns trigger language plpgsql as $$ begin return new; end $$',
    'set role remit_record',
    'grant all on decision_records to current_user',
  ])('is not changed by: %s', async (statement) => {
    await service.query(`select set_config('remit.record_change', 'erasure', false)`)
    // Granting nothing is a warning in Postgres: what counts is that the row stands.
    await service.query(statement).catch((error: unknown) => {
      expect(String(error)).toMatch(/permission denied|must be owner|must be able to SET ROLE/)
    })
    expect(await service.query('select subject from decision_records')).toEqual([
      { subject: 'service:remit' },
    ])
    expect((await guardRecord(service)).isInsertOnly).toBe(true)
  })

  test('is added to, and erased from by the one way that there is', async () => {
    await record(service, { ...operator('t_2'), subject: 'user:anne' }, { event: 'signed_out' })
    await service.query(
      `insert into record_people (alias, subject, key, erasing_since) values ('erased:a', 'user:anne', '\\x00', now())`,
    )
    const [row] = await service.query<{ n: number }>(
      `select record_erase('erased:a', array[record_no], array['erased:a'], array[detail]) as n
       from decision_records where txn = 't_2'`,
    )
    expect(row?.n).toBe(1)
    await expect(service.query(`select record_drop_oldest(now())`)).rejects.toThrow('30 days')
  })

  test('is guarded again at the next start, and a service that owns it is told so', async () => {
    expect(await guardRecord(service)).toEqual({ isInsertOnly: true })
    const owner = await openPostgres({ url: urlOf(name), poolSize: 1 })
    expect(await guardRecord(owner)).toEqual({ isInsertOnly: false })
    await owner.close()
  })
})
