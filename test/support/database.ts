import { createHash, randomBytes } from 'node:crypto'
import { mkdtemp, readFile, rm } from 'node:fs/promises'
import { tmpdir } from 'node:os'
import { join, relative } from 'node:path'
import { seed } from '../../packages/engine/test/support/seed.ts'
import { migrate } from '../../src/store/migrate.ts'
import { openPglite } from '../../src/store/pglite.ts'
import { openPostgres } from '../../src/store/postgres.ts'
import type { Database } from '../../src/store/sql.ts'
import { administer } from './administer.ts'
import { native } from './native.ts'

const migrations = { dir: new URL('../../migrations/', import.meta.url), dimensions: 384 }

/**
 * A migrated, empty database of its own. Close it: an unclosed one keeps the process alive. A benchmark runs
 * outside the test runner, which has one ready to copy, and makes its own.
 */
export async function openTestDatabase(kind?: Database['kind']): Promise<Database> {
  return (kind ?? (await drawKind())) === 'pglite' ? openTestPglite() : openTestPostgres()
}

/**
 * PGlite on a bare machine. Where there is native Postgres, which takes a tenth of PGlite's processor time to
 * open, three of four files get that: the seed draws which. `TEST_DATABASE=pglite`, or `postgres`: one for
 * all.
 */
async function drawKind(): Promise<Database['kind']> {
  if (native.databaseUrl === undefined || process.env['VITEST'] === undefined) return 'pglite'
  const wanted = process.env['TEST_DATABASE']
  if (wanted === 'pglite' || wanted === 'postgres') return wanted
  const { expect } = await import('vitest')
  const path = relative(import.meta.dirname, expect.getState().testPath ?? '')
  const digest = createHash('sha256').update(`${seed} ${path}`).digest()
  return digest.readUInt8() < 64 ? 'pglite' : 'postgres'
}

async function openTestPglite(): Promise<Database> {
  const socketDir = await mkdtemp(join(tmpdir(), 'remit-test-'))
  const dump = await ready('pgliteDump')
  const database = await openPglite({
    socketDir,
    ...(dump !== undefined && { loadDump: await readFile(dump) }),
  })
  if (dump === undefined) await migrate(database, migrations)
  return closing(database, () => rm(socketDir, { recursive: true, force: true }))
}

async function openTestPostgres(): Promise<Database> {
  if (native.databaseUrl === undefined)
    throw new Error('This test needs native Postgres (TEST_DATABASE_URL).')
  const name = `remit_test_${randomBytes(6).toString('hex')}`
  const template = await ready('postgresTemplate')
  const from = template === undefined ? '' : ` template ${template}`
  await administer(native.databaseUrl, `create database ${name}${from}`)
  const url = new URL(native.databaseUrl)
  url.pathname = `/${name}`
  const database = await openPostgres({ url: url.href, poolSize: 5 })
  if (template === undefined) await migrate(database, migrations)
  return closing(database, () =>
    administer(native.databaseUrl ?? '', `drop database if exists ${name} with (force)`),
  )
}

/** What the test runner has ready; undefined outside it. */
async function ready(name: 'pgliteDump' | 'postgresTemplate'): Promise<string | undefined> {
  if (process.env['VITEST'] === undefined) return undefined
  const { inject } = await import('vitest')
  return inject(name)
}

function closing(database: Database, after: () => Promise<unknown>): Database {
  const close = async () => {
    await database.close()
    await after()
  }
  return { ...database, close, [Symbol.asyncDispose]: close }
}
