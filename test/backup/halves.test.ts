import { randomBytes } from 'node:crypto'
import { cp, mkdtemp, readdir, readFile, rm, writeFile } from 'node:fs/promises'
import { tmpdir } from 'node:os'
import { join } from 'node:path'
import { afterAll, beforeAll, beforeEach, describe, expect, test } from 'vitest'
import { fileOf, makeIdentity } from '../../src/backup/archive.ts'
import { type BackupOptions, backup } from '../../src/backup/backup.ts'
import { type RestoreOptions, restore } from '../../src/backup/restore.ts'
import { runStatements, userTables } from '../../src/store/barrier.ts'
import { migrate } from '../../src/store/migrate.ts'
import { openPostgres } from '../../src/store/postgres.ts'
import { loadSecret } from '../../src/store/secret.ts'
import { administer } from '../support/administer.ts'
import { native, needsPostgres } from '../support/native.ts'
import { needsPostgresProgram } from '../support/postgres.ts'

const prefix = `remit_test_${randomBytes(6).toString('hex')}`
const needs = [needsPostgres, needsPostgresProgram].find(({ skip }) => skip) ?? {}
const env = { ...process.env, PATH: `${native.postgres?.programs}:${process.env['PATH']}` }
const migrations = new URL('../../migrations/', import.meta.url)

describe('an archive of both databases', { ...needs, timeout: 60_000 }, () => {
  let folder: string
  let recipient: string
  /** One of some megabytes. */
  let long: string
  const source = { databaseUrl: urlOf('source'), openfgaUrl: urlOf('source_fga') }
  const target = { databaseUrl: urlOf('target'), openfgaUrl: urlOf('target_fga') }

  const taking = (to: string, more: Partial<BackupOptions> = {}): BackupOptions => ({
    ...source,
    keysDir: join(folder, 'keys'),
    to: join(folder, to),
    recipient,
    version: 'tests',
    env,
    ...more,
  })
  const restoring = (more: Partial<RestoreOptions> = {}): RestoreOptions => ({
    ...target,
    keysDir: join(folder, 'keys'),
    from: join(folder, 'whole'),
    identity: join(folder, 'key.txt'),
    env,
    migrations,
    ...more,
  })
  /** A PATH whose program of this name does this, with the real one in `$real` but for questions about it. */
  async function standingIn(name: string, script: string): Promise<string> {
    const programs = await mkdtemp(join(folder, 'programs-'))
    const real = `real='${native.postgres?.programs}/${name}'`
    const text = `#!/bin/sh\n${real}\ncase "$*" in *--file=-*) ${script};; *) exec "$real" "$@";; esac\n`
    await writeFile(join(programs, name), text, { mode: 0o755 })
    return `${programs}:${env.PATH}`
  }
  const tuples = () => runStatements(target.openfgaUrl, 'select x from tuple')

  beforeAll(async () => {
    folder = await mkdtemp(join(tmpdir(), 'remit-halves-'))
    recipient = await makeIdentity(join(folder, 'key.txt'))
    await loadSecret(join(folder, 'keys'), 'oauth.key')
    await makeAnew('source', 'source_fga')
    await using database = await openPostgres({ url: source.databaseUrl, poolSize: 2 })
    await migrate(database, { dir: migrations, dimensions: 384 })
    await runStatements(
      source.openfgaUrl,
      `create table changelog (ulid text); create table tuple (x text); insert into tuple values ('kept')`,
    )
    await backup(taking('whole'))
    long = join(folder, 'long')
    await runStatements(source.databaseUrl, 'create table long (bytes bytea)')
    await runStatements(
      source.databaseUrl,
      `insert into long select decode(string_agg(md5(random()::text), ''), 'hex') from generate_series(1, 262144)`,
    )
    await backup(taking('long'))
    await runStatements(source.databaseUrl, 'drop table long')
  }, 80_000)
  beforeEach(() => makeAnew('target', 'target_fga'))
  afterAll(async () => {
    for (const one of ['source', 'source_fga', 'target', 'target_fga']) await drop(one)
    await rm(folder, { recursive: true, force: true })
  })

  test('is restored by a second run where the first heard no answer after OpenFGA’s half was in', async () => {
    const unheard = await standingIn('psql', `"$real" "$@" || exit; case "$*" in *target_fga*) exit 2;; esac`)
    const first = restore(restoring({ env: { ...env, PATH: unheard } }))
    await expect(first).rejects.toThrow('psql failed')
    expect(await tuples()).toEqual([{ x: 'kept' }])
    expect(await restore(restoring())).toMatchObject({ openfga: 'restored' })
    expect(await tuples()).toEqual([{ x: 'kept' }])
  })

  test('fills an OpenFGA’s database that was made anew after a first run had died', async () => {
    const die = async (name: string) => {
      if (name === 'openfga') throw new Error('died')
    }
    await expect(restore(restoring({ step: die }))).rejects.toThrow('died')
    await makeAnew('target_fga')
    expect(await restore(restoring())).toMatchObject({ openfga: 'restored' })
    expect(await tuples()).toEqual([{ x: 'kept' }])
  })

  test('is not restored into an OpenFGA’s database that somebody else filled after a first run had died', async () => {
    const die = async (name: string) => {
      if (name === 'marked') throw new Error('died')
    }
    await expect(restore(restoring({ step: die }))).rejects.toThrow('died')
    await runStatements(target.openfgaUrl, 'create table changelog (ulid text)')
    await expect(restore(restoring())).rejects.toThrow('OPENFGA_DATASTORE_URI is not empty')
    expect(await userTables(target.databaseUrl)).toEqual(['public.restore_under_way'])
  })

  test.each([
    ['the whole of it', 0],
    ['its third megabyte', 2 * 1_048_576],
  ])('passes on no byte of what is put in its place between the two readings: %s', async (_, offset) => {
    const seen = join(folder, `seen-${offset}`)
    // Slow, so that it is ended while somebody waits for it.
    const programs = await standingIn('pg_restore', `tee -a '${seen}' | { sleep 0.3; exec "$real" "$@"; }`)
    const from = join(folder, `swapped-${offset}`)
    await cp(long, from, { recursive: true })
    const path = fileOf(from, 'remit')
    const whole = await readFile(path)
    const step = async (name: string) => {
      if (name !== 'openfga') return
      const other = Buffer.concat([whole.subarray(0, offset), Buffer.alloc(whole.length - offset, 'x')])
      await writeFile(path, other)
    }
    const restored = restore(restoring({ from, step, env: { ...env, PATH: programs } }))
    await expect(restored).rejects.toThrow(/remit\.dump\.age was altered while it was read/)
    // OpenFGA's half, and what came before.
    const passed = await readFile(seen)
    expect(passed.length).toBeGreaterThan(offset / 8)
    expect(passed.length).toBeLessThan(offset + 1_048_576)
    expect(await userTables(target.databaseUrl)).toEqual(['public.restore_under_way'])
  })

  test('says that nothing of it is there, or that nobody knows, as it is', async () => {
    const refusing = await standingIn(
      'psql',
      `case "$*" in *target_fga*) exec "$real" "$@";; esac; cat > '${join(folder, 'all')}'; exit 3`,
    )
    const refused = restore(restoring({ env: { ...env, PATH: refusing } }))
    await expect(refused).rejects.toThrow(/^psql failed: 3$/)
    const dying = await standingIn(
      'psql',
      `case "$*" in *target_fga*) exec "$real" "$@";; esac; cat > '${join(folder, 'all')}'; exit 2`,
    )
    const died = restore(restoring({ env: { ...env, PATH: dying } }))
    await expect(died).rejects.toThrow(/psql failed: 2\. Whether it is there is not known: run it again/)
    expect(await restore(restoring())).toMatchObject({ openfga: 'restored' })
  })

  test('is there and whole, and says that nobody noted it, where the table of backups takes no more', async () => {
    await using database = await openPostgres({ url: source.databaseUrl, poolSize: 1 })
    await database.query(
      `create function refuse() returns trigger language plpgsql as 'begin raise exception ''full''; end'`,
    )
    await database.query(
      'create trigger refuse before update on backup_run for each row execute function refuse()',
    )
    try {
      expect(await backup(taking('unnoted'))).toMatchObject({
        openfga: true,
        not_noted: expect.stringContaining('full'),
      })
    } finally {
      await database.query('drop function refuse cascade')
    }
    expect(await restore(restoring({ from: join(folder, 'unnoted') }))).toMatchObject({ openfga: 'restored' })
  })

  test('is not made of a database that waits for the end of a recovery', async () => {
    await using database = await openPostgres({ url: source.databaseUrl, poolSize: 1 })
    await database.query('update epochs set recovering_since = now()')
    try {
      await expect(backup(taking('half'))).rejects.toThrow(/waits for the end of `remit recover`/)
    } finally {
      await database.query('update epochs set recovering_since = null')
    }
    expect(await readdir(folder)).not.toContain('half')
    expect(await backup(taking('whole-again'))).not.toHaveProperty('not_noted')
  })
})

async function makeAnew(...names: readonly string[]): Promise<void> {
  for (const one of names) {
    await drop(one)
    await administer(native.databaseUrl ?? '', `create database ${prefix}_${one}`)
  }
}

async function drop(name: string): Promise<void> {
  await administer(native.databaseUrl ?? '', `drop database if exists ${prefix}_${name} with (force)`)
}

function urlOf(name: string): string {
  const url = new URL(native.databaseUrl ?? 'postgres://nobody')
  url.pathname = `/${prefix}_${name}`
  return url.href
}
