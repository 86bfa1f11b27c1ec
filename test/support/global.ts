import { randomBytes } from 'node:crypto'
import { mkdtemp, rm, writeFile } from 'node:fs/promises'
import { tmpdir } from 'node:os'
import { join } from 'node:path'
import type { TestProject } from 'vitest/node'
import { migrate } from '../../src/store/migrate.ts'
import { openPglite } from '../../src/store/pglite.ts'
import { openPostgres } from '../../src/store/postgres.ts'
import { administer } from './administer.ts'
import { native } from './native.ts'

declare module 'vitest' {
  interface ProvidedContext {
    /** Path of a tar of a migrated, empty PGlite data directory. */
    readonly pgliteDump: string
    /** Name of a migrated, empty database on native Postgres, where there is one. */
    readonly postgresTemplate: string | undefined
  }
}

const migrations = { dir: new URL('../../migrations/', import.meta.url), dimensions: 384 }

/**
 * Migrates one database of each kind for the whole run: a fresh one costs seconds, a copy of it a fraction of
 * one.
 */
export default async function setup(project: TestProject): Promise<() => Promise<void>> {
  const dir = await mkdtemp(join(tmpdir(), 'remit-test-'))
  await using database = await openPglite({ socketDir: dir })
  await migrate(database, migrations)
  // Nobody connects to these two, and each copy would unpack them.
  await database.query(`update pg_database set datistemplate = false where datname like 'template_'`)
  for (const name of ['template0', 'template1']) await database.query(`drop database ${name}`)
  const dump = join(dir, 'pglite.tar')
  await writeFile(dump, await database.dump())
  project.provide('pgliteDump', dump)
  const template = await migrateNative()
  project.provide('postgresTemplate', template?.name)
  return async () => {
    await rm(dir, { recursive: true, force: true })
    await template?.drop()
  }
}

async function migrateNative() {
  const { databaseUrl } = native
  if (databaseUrl === undefined) return undefined
  const name = `remit_template_${randomBytes(6).toString('hex')}`
  await administer(databaseUrl, `create database ${name}`)
  const url = new URL(databaseUrl)
  url.pathname = `/${name}`
  await using database = await openPostgres({ url: url.href, poolSize: 1 })
  await migrate(database, migrations)
  return { name, drop: () => administer(databaseUrl, `drop database ${name}`) }
}
