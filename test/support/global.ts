import { mkdtemp, rm, writeFile } from 'node:fs/promises'
import { tmpdir } from 'node:os'
import { join } from 'node:path'
import type { TestProject } from 'vitest/node'
import { migrate } from '../../src/store/migrate.ts'
import { openPglite } from '../../src/store/pglite.ts'

declare module 'vitest' {
  interface ProvidedContext {
    /** Path of a tar of a migrated, empty PGlite data directory. */
    readonly pgliteDump: string
  }
}

/** Migrates one PGlite for the whole run: a fresh one costs seconds, restoring its dump a fraction of one. */
export default async function setup(project: TestProject): Promise<() => Promise<void>> {
  const dir = await mkdtemp(join(tmpdir(), 'remit-test-'))
  await using database = await openPglite({ socketDir: dir })
  await migrate(database, { dir: new URL('../../migrations/', import.meta.url), dimensions: 384 })
  const dump = join(dir, 'pglite.tar')
  await writeFile(dump, await database.dump())
  project.provide('pgliteDump', dump)
  return () => rm(dir, { recursive: true, force: true })
}
