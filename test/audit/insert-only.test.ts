import { spawnSync } from 'node:child_process'
import { randomBytes } from 'node:crypto'
import { copyFile, mkdtemp, readdir, readFile, rm } from 'node:fs/promises'
import { tmpdir } from 'node:os'
import { join } from 'node:path'
import { fileURLToPath, pathToFileURL } from 'node:url'
import pg from 'pg'
import { afterAll, beforeAll, describe, expect, test } from 'vitest'
import { operator, record } from '../../src/audit/record.ts'
import { OperatorError } from '../../src/kernel/operator-error.ts'
import { guardRecord, migrate } from '../../src/store/migrate.ts'
import { openPostgres } from '../../src/store/postgres.ts'
import type { Database } from '../../src/store/sql.ts'
import { native, needsPostgres } from '../support/native.ts'
import { needsPostgresProgram } from '../support/postgres.ts'
import { recordOwnerFile, recordOwnerSql } from '../support/record-owner.ts'
import { read } from './world-seal.ts'

describe('the record of a service with a role of its own', needsPostgres, () => {
  const name = `remit_role_${randomBytes(5).toString('hex')}`
  let admin: pg.Client
  let inside: pg.Client
  let service: Database
  let script: string
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
    await admin.query(`revoke all on database ${name} from public`)
    inside = new pg.Client({ connectionString: urlOf(name) })
    await inside.connect()
    await inside.query('create extension vector')
    await inside.query(
      `create table witness (record_nos bigint[], who text); alter table witness owner to ${name}`,
    )
    script = await recordOwnerSql(name)
    await inside.query(script)
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
    'delete from record_given',
    `update record_given set document_id = 'x'`,
    `insert into record_given (document_id, at, record_no, who) values ('x', now(), 1, 1)`,
    `insert into record_who (subject, actors, client) values ('user:bob', '{}', 'x')`,
    'truncate record_who',
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

  test('does not go with its database, in which the service may make a schema, as its jobs do, and no more', async () => {
    const { pathname } = new URL(native.databaseUrl ?? '')
    const beside = new pg.Client({ connectionString: urlOf(pathname.slice(1), name) })
    await beside.connect()
    try {
      for (const statement of [
        `drop database ${name} with (force)`,
        `alter database ${name} rename to ${name}_x`,
        `alter database ${name} owner to current_user`,
      ])
        await expect(beside.query(statement)).rejects.toThrow('must be owner of database')
    } finally {
      await beside.end()
    }
    const { rows } = await inside.query(
      `select may, has_database_privilege('${name}', current_database(), may) as has
       from unnest('{connect,create,temporary}'::text[]) as may`,
    )
    expect(rows).toEqual([
      { may: 'connect', has: true },
      { may: 'create', has: true },
      { may: 'temporary', has: false },
    ])
  })

  test('takes the database from nobody but the service: another owner keeps it', async () => {
    const dba = `${name}_dba`
    await admin.query(`create role ${dba}`)
    await admin.query(`create database ${dba} owner ${dba}`)
    const other = new pg.Client({ connectionString: urlOf(dba) })
    try {
      await other.connect()
      await other.query('create extension vector')
      await other.query(script)
      const { rows } = await other.query(
        'select datdba::regrole::text as owner from pg_database where datname = current_database()',
      )
      expect(rows).toEqual([{ owner: dba }])
    } finally {
      await other.end()
      await admin.query(`drop database ${dba} with (force)`)
      await admin.query(`drop role ${dba}`)
    }
  })

  test('can be copied by the service, sequences too, as a backup does', async () => {
    const unread = await service.query(
      `select relname from pg_class where relnamespace = 'public'::regnamespace and case relkind
         when 'r' then not has_table_privilege(oid, 'select')
         when 'S' then not has_sequence_privilege(oid, 'select') else false end`,
    )
    expect(unread).toEqual([])
  })

  test('runs nothing of the service’s as its owner or as a superuser', async () => {
    await service.query('grant all on witness to public')
    const seen = (name: string, returns: string, result: string) =>
      service.query(`create or replace function public.${name} returns ${returns} language plpgsql as $$ begin
        insert into public.witness (who) values (current_user); return ${result}; end $$`)
    await seen('gin_clean_pending_list(text)', 'bigint', '0')
    await seen('format(text, text)', 'text', `pg_catalog.format($1, variadic array[$2])`)
    await service.query('select record_tidy()')
    await expect(
      service.query(
        'create trigger mine after insert on witness for each row execute function record_list()',
      ),
    ).rejects.toThrow('permission denied for function record_list')
    // As at a start: in a session that has looked nothing up yet.
    const started = await openPostgres({ url: urlOf(name, name), poolSize: 1 })
    await guardRecord(started)
    await started.close()
    await seen('looked()', 'boolean', 'true')
    const view = `create view record_people as
      select 'erased:v' as alias, now() as erasing_since, null::timestamptz as erased_at where looked()`
    await service
      .transaction(async (sql) => {
        await sql.query('alter table record_people rename to people_kept')
        await sql.query(view)
        await sql.query('grant select on record_people to public')
        await sql.query(`select record_erase('erased:v', '{}', '{}', '{}')`)
        await sql.query('drop view record_people')
        await sql.query('alter table people_kept rename to record_people')
      })
      .catch((error: unknown) => expect(String(error)).toMatch(/must be owner/))
    expect(await service.query('select distinct who from witness')).toEqual([])
    await service.query('drop function public.gin_clean_pending_list(text), public.format(text, text)')
  })

  test('loses nothing of late to a seal that says that it is old', async () => {
    await service.query(`insert into record_seals select 0, '2000-01-01', 1, max(record_no), max(record_no), 0,
      '2000-01-01', sha256(''), sha256(''), sha256(''), sha512('') from decision_records`)
    await service.query(
      `insert into record_leaves select 0, array[max(record_no)], sha256('') from decision_records`,
    )
    const before = await service.query('select record_no from decision_records')
    await service.query(`select record_drop_oldest(now() - interval '31 days')`).catch((error: unknown) => {
      expect(String(error)).toMatch(/younger/)
    })
    expect(await service.query('select record_no from decision_records')).toEqual(before)
  })

  test('is added to, and erased from by the one way that there is: what is sealed, by the alias, and listed so', async () => {
    const who = { ...operator('t_2'), subject: 'user:anne' } as const
    await record(service, who, read('handbook'))
    await service.query(
      `insert into record_people (alias, subject, key, erasing_since) values ('erased:a', 'user:anne', '\\x00', now())`,
    )
    const erase = async (to: string) => {
      const [row] = await service.query<{ n: number }>(
        `select record_erase('erased:a', array[record_no], array[$1], array[detail || '{"touched": true}']) as n
         from decision_records where txn = 't_2'`,
        [to],
      )
      return row?.n
    }
    const left = () =>
      service.query(`select subject, detail ? 'touched' as touched from decision_records where txn = 't_2'`)
    // Nobody would see that it was changed: it is sealed after that.
    expect(await erase('erased:a')).toBe(0)
    expect(await left()).toEqual([{ subject: 'user:anne', touched: false }])
    await service.query(`insert into record_seals select 1, now(), 1, record_no, record_no, record_no, at,
      sha256(''), sha256(''), sha256(''), sha512('') from decision_records where txn = 't_2'`)
    await service.query(
      `insert into record_leaves select 1, array[record_no], sha256('') from decision_records where txn = 't_2'`,
    )
    const listed = () =>
      service.query('select subject, document_id from record_given join record_who using (who)')
    expect(await listed()).toEqual([{ subject: 'user:anne', document_id: 'handbook' }])
    expect(await erase('user:bob')).toBe(0)
    expect(await erase('erased:a')).toBe(1)
    expect(await left()).toEqual([{ subject: 'erased:a', touched: true }])
    expect(await listed()).toEqual([{ subject: 'erased:a', document_id: 'handbook' }])
    await expect(service.query(`select record_drop_oldest(now())`)).rejects.toThrow('30 days')
  })

  test('is handed back where its owner’s script runs again, and guarded at the next start', async () => {
    await inside.query(script)
    await service.query(`alter function record_tidy() set work_mem = '4MB'`)
    expect(await guardRecord(service)).toEqual({ isInsertOnly: true })
    await expect(service.query('alter function record_tidy() reset work_mem')).rejects.toThrow(
      'must be owner',
    )
  })

  test.each(['file', 'pipe'])(
    'gets its owner by a script that ends at its first error by itself, run as a %s',
    needsPostgresProgram,
    async (how) => {
      const psql = join(native.postgres?.programs ?? '', 'psql')
      const args = ['--no-psqlrc', '--dbname', urlOf(name), '--set', 'service=nobody_has_this_role']
      const { status, stderr } = spawnSync(
        psql,
        how === 'file' ? [...args, '--file', fileURLToPath(recordOwnerFile)] : args,
        { encoding: 'utf8', ...(how === 'pipe' && { input: await readFile(recordOwnerFile) }) },
      )
      expect(stderr.match(/ERROR: .*/g)).toEqual(['ERROR:  role "nobody_has_this_role" does not exist'])
      expect(status).toBe(3)
    },
  )

  test('is guarded again at the next start, and a service that owns it is told so', async () => {
    expect(await guardRecord(service)).toEqual({ isInsertOnly: true })
    const owner = await openPostgres({ url: urlOf(name), poolSize: 1 })
    expect(await guardRecord(owner)).toEqual({ isInsertOnly: false })
    await owner.close()
  })

  test('is guarded once its owner’s script runs on what `remit restore` has filled', async () => {
    const other = `${name}_restored`
    await admin.query(`create database ${other} owner ${name}`)
    const root = new pg.Client({ connectionString: urlOf(other) })
    await root.connect()
    await root.query('create extension vector')
    const restored = await openPostgres({ url: urlOf(other, name), poolSize: 2 })
    try {
      // As a restore leaves it, the guard and the record belong to the service.
      await restored.query(/create function public\.remit_guard_record[^]*?\n\$\$;/.exec(script)?.[0] ?? '')
      await migrate(restored, { dir: new URL('../../migrations/', import.meta.url), dimensions: 3 })
      await root.query(script)
      expect(await guardRecord(restored)).toEqual({ isInsertOnly: true })
      await expect(restored.query('delete from decision_records')).rejects.toThrow('permission denied')
    } finally {
      await restored.close()
      await root.end()
      await admin.query(`drop database ${other} with (force)`)
    }
  })

  test('is not upgraded behind its owner’s back: a start says what to do first, and nothing is half done', async () => {
    const other = `${name}_old`
    const old = await mkdtemp(join(tmpdir(), 'remit-migrations-'))
    const dir = new URL('../../migrations/', import.meta.url)
    const until = '0050_record_definers.sql'
    for (const file of await readdir(dir))
      if (/^\d{4}_/.test(file) && file < until) await copyFile(new URL(file, dir), join(old, file))
    await admin.query(`create database ${other} owner ${name}`)
    const root = new pg.Client({ connectionString: urlOf(other) })
    await root.connect()
    await root.query('create extension vector')
    // As it was then: it knew nothing of what is listed.
    await root.query(
      script
        .replace(/ {2}-- What is listed[^]*?end loop;\n/, '')
        .replace(/ {2}-- Only where a seal[^]*?service\);\n/, ''),
    )
    const upgraded = await openPostgres({ url: urlOf(other, name), poolSize: 2 })
    try {
      await migrate(upgraded, { dir: pathToFileURL(`${old}/`), dimensions: 3 })
      expect(await guardRecord(upgraded)).toEqual({ isInsertOnly: true })
      await record(upgraded, operator('t_1'), { event: 'command', command: 'drift', arguments: {} })
      const start = () => migrate(upgraded, { dir, dimensions: 3 })
      await expect(start()).rejects.toThrow(OperatorError)
      await expect(start()).rejects.toThrow(
        /^0050_record_definers.*docker\/record-owner\.sql.*docs\/audit\.md/,
      )
      expect(await upgraded.query('select 1 from migrations where name >= $1', [until])).toEqual([])
      await root.query(script)
      expect(await start()).toContain(until)
      expect(await guardRecord(upgraded)).toEqual({ isInsertOnly: true })
      await expect(upgraded.query('delete from decision_records')).rejects.toThrow('permission denied')
      await expect(upgraded.query('delete from record_given')).rejects.toThrow('permission denied')
      expect(await upgraded.query('select txn from decision_records')).toEqual([{ txn: 't_1' }])
    } finally {
      await upgraded.close()
      await root.end()
      await admin.query(`drop database ${other} with (force)`)
      await rm(old, { recursive: true })
    }
  })
})
