import { mkdtemp, rm, writeFile } from 'node:fs/promises'
import { tmpdir } from 'node:os'
import { join } from 'node:path'
import { text } from 'node:stream/consumers'
import { afterAll, beforeAll, expect, test } from 'vitest'
import { assertPrograms, startProgram } from '../../src/backup/programs.ts'

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

test.each([
  ['sslmode=require', {}, 'sslmode=verify-full', 'system'],
  ['sslmode=prefer', {}, 'sslmode=verify-full', 'system'],
  ['ssl=true', {}, 'sslmode=verify-full', 'system'],
  ['sslmode=verify-full', { NODE_EXTRA_CA_CERTS: '/ca' }, 'sslmode=verify-full', '/ca'],
  ['sslmode=require', { NODE_EXTRA_CA_CERTS: '/ca', PGSSLROOTCERT: '/pg' }, 'sslmode=verify-full', '/pg'],
  ['sslmode=require&sslmode=disable', { PGSSLROOTCERT: '/pg' }, 'sslmode=require&sslmode=disable', '/pg'],
  ['application_name=x', {}, 'application_name=x', ''],
] as const)(
  'a program looks at the certificate where the service does: %s, %o',
  async (query, env, asked, root) => {
    expect(await started(query, env)).toBe(`postgres://remit@db.example/remit?${asked} hush ${root}`)
  },
)

test('the authority that the URL names counts, as for the service', async () => {
  const ca = join(folder, 'ca.pem')
  await writeFile(ca, '')
  expect(await started(`sslmode=require&sslrootcert=${ca}`, { PGSSLROOTCERT: '/pg' })).toBe(
    `postgres://remit@db.example/remit?sslmode=verify-full hush ${ca}`,
  )
})

test('a certificate that is not trusted is never answered with the advice to look at none', async () => {
  await writeFile(join(folder, 'psql'), '#!/bin/sh\necho "certificate verify failed" >&2\nexit 2\n', {
    mode: 0o755,
  })
  const { ended } = startProgram('psql', { url: 'postgres://db.example/remit', env: { PATH: folder } }, [])
  await expect(ended).rejects.toThrow('Name the file of the authority in PGSSLROOTCERT')
})

/** With which address, password and authorities a program is started. */
async function started(query: string, env: Readonly<Record<string, string>>): Promise<string> {
  await writeFile(join(folder, 'psql'), '#!/bin/sh\nprintf "%s" "$2 $PGPASSWORD $PGSSLROOTCERT"\n', {
    mode: 0o755,
  })
  const url = `postgres://remit:hush@db.example/remit?${query}`
  const { stdout, ended } = startProgram('psql', { url, env: { ...env, PATH: folder } }, [])
  const said = await text(stdout)
  await ended
  return said
}
