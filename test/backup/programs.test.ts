import { mkdtemp, rm, writeFile } from 'node:fs/promises'
import { tmpdir } from 'node:os'
import { join } from 'node:path'
import { afterAll, beforeAll, expect, test } from 'vitest'
import { assertPrograms } from '../../src/backup/programs.ts'

// Programs of Postgres 17 that say what they can, and do nothing.
let folder: string
beforeAll(async () => {
  folder = await mkdtemp(join(tmpdir(), 'remit-programs-'))
})
afterAll(() => rm(folder, { recursive: true }))

const program = (name: string, help: string) =>
  writeFile(
    join(folder, name),
    `#!/bin/sh\nif [ "$1" = --version ]; then echo '${name} (PostgreSQL) 17.5'; else printf '%s\\n' '${help}'; fi\n`,
    { mode: 0o755 },
  )
const tried = (...names: Parameters<typeof assertPrograms>[0]) => assertPrograms(names, 17, { PATH: folder })

test('what would have a dump run commands restores nothing, whichever of both programs it is', async () => {
  const [restricts, restricted] = ['  --restrict-key=RESTRICT_KEY', '  \\restrict RESTRICT_KEY']
  for (const [ofRestore, ofPsql, refused] of [
    [restricts, restricted, undefined],
    ['  --no-owner', restricted, /pg_restore could run commands/],
    [restricts, '  \\echo', /psql could run commands/],
  ] as const) {
    await program('pg_restore', ofRestore)
    await program('psql', ofPsql)
    const outcome = tried('pg_restore', 'psql')
    await (refused === undefined
      ? expect(outcome).resolves.toBeUndefined()
      : expect(outcome).rejects.toThrow(refused))
  }
})

test('what is older than the server takes no copy', async () => {
  await program('pg_dump', '')
  await expect(tried('pg_dump')).resolves.toBeUndefined()
  await expect(assertPrograms(['pg_dump'], 18, { PATH: folder })).rejects.toThrow('is of Postgres 17')
})
