import { randomBytes } from 'node:crypto'
import { mkdtemp, readFile, rm } from 'node:fs/promises'
import { tmpdir } from 'node:os'
import { join } from 'node:path'
import { inject } from 'vitest'
import { openPglite } from '../../src/store/pglite.ts'
import { openPostgres } from '../../src/store/postgres.ts'
import type { Database } from '../../src/store/sql.ts'
import { administer } from './administer.ts'
import { native } from './native.ts'

/** A migrated, empty database of its own. Close it: an unclosed one keeps the process alive. */
export async function openTestDatabase(kind: Database['kind'] = 'pglite'): Promise<Database> {
  return kind === 'pglite' ? openTestPglite() : openTestPostgres()
}

async function openTestPglite(): Promise<Database> {
  const socketDir = await mkdtemp(join(tmpdir(), 'remit-test-'))
  const database = await openPglite({ socketDir, loadDump: await readFile(inject('pgliteDump')) })
  return closing(database, () => rm(socketDir, { recursive: true, force: true }))
}

async function openTestPostgres(): Promise<Database> {
  if (native.databaseUrl === undefined)
    throw new Error('This test needs native Postgres (TEST_DATABASE_URL).')
  const name = `remit_test_${randomBytes(6).toString('hex')}`
  await administer(native.databaseUrl, `create database ${name} template ${inject('postgresTemplate')}`)
  const url = new URL(native.databaseUrl)
  url.pathname = `/${name}`
  const database = await openPostgres({ url: url.href, poolSize: 5 })
  return closing(database, () =>
    administer(native.databaseUrl ?? '', `drop database if exists ${name} with (force)`),
  )
}

function closing(database: Database, after: () => Promise<unknown>): Database {
  const close = async () => {
    await database.close()
    await after()
  }
  return { ...database, close, [Symbol.asyncDispose]: close }
}
