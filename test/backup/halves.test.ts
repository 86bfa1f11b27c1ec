import { randomBytes } from 'node:crypto'
import { mkdir, mkdtemp, rm, writeFile } from 'node:fs/promises'
import { tmpdir } from 'node:os'
import { join } from 'node:path'
import { afterAll, beforeAll, beforeEach, describe, expect, test } from 'vitest'
import { makeIdentity } from '../../src/backup/archive.ts'
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
  }, 80_000)
  beforeEach(() => makeAnew('target', 'target_fga'))
  afterAll(async () => {
    for (const one of ['source', 'source_fga', 'target', 'target_fga']) await drop(one)
    await rm(folder, { recursive: true, force: true })
  })

  test('is restored by a second run where the first heard no answer after OpenFGA’s half was in', async () => {
    const unheard = join(folder, 'unheard')
    await mkdir(unheard)
    const psql = `#!/bin/sh\n'${native.postgres?.programs}/psql' "$@" || exit\ncase "$*" in *target_fga*) exit 2;; esac\n`
    await writeFile(join(unheard, 'psql'), psql, { mode: 0o755 })
    const first = restore(restoring({ env: { ...env, PATH: `${unheard}:${env.PATH}` } }))
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
