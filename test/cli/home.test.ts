import { existsSync } from 'node:fs'
import { copyFile, mkdir, mkdtemp, readdir, readFile, rm, writeFile } from 'node:fs/promises'
import { tmpdir } from 'node:os'
import { join } from 'node:path'
import { pathToFileURL } from 'node:url'
import { afterEach, beforeEach, expect, test } from 'vitest'
import { createDemoTokens } from '../../src/cli/demo-tokens.ts'
import { assertSameDatabase, lockHome, rememberDatabase } from '../../src/store/home.ts'
import { migrate } from '../../src/store/migrate.ts'
import { openPglite } from '../../src/store/pglite.ts'
import { remit as process, startCommand, startService } from '../e2e/process.ts'
import { freePort } from '../support/port.ts'
import { openCommands, remit, serving } from './world.ts'

let folder: string
beforeEach(async () => {
  folder = await mkdtemp(join(tmpdir(), 'remit-test-'))
})
afterEach(() => rm(folder, { recursive: true, force: true }))

test.each([['person', 'disable', 'hugo'], ['agent', 'list'], ['token', '--user', 'anne'], ['reembed']])(
  'remit %s %s in a folder where no service was ever started fails and makes nothing',
  async (...argv) => {
    const home = join(folder, 'mistyped')
    const ran = await process(argv, { REMIT_HOME: home, PORT: '1', XDG_CONFIG_HOME: folder })
    expect(ran).toMatchObject({ code: 1, stdout: '' })
    expect(ran.stderr).toContain(`There is no Remit in ${home}. Set REMIT_HOME`)
    expect(existsSync(home)).toBe(false)
  },
)

test.each([{}, { REMIT_DEMO: '' }])(
  'remit start without settings (%o) is not the demo: it names what is missing and remit demo, and makes nothing',
  async (given) => {
    const home = join(folder, 'home')
    const [port, opsPort] = [await freePort(), await freePort()]
    await using running = startCommand(['start'], {
      ...{ REMIT_HOME: home, PORT: String(port), OPS_PORT: String(opsPort), EMBEDDINGS_MODEL_PATH: folder },
      ...given,
    })
    expect(await Promise.race([running.exit, running.said('First start')])).toMatchObject({ code: 1 })
    expect(running.stderr()).toContain('TRUSTED_ISSUERS is required outside the demo (remit demo)')
    expect(existsSync(home)).toBe(false)
  },
)

test.each([['recover', '--anyway'], ['reembed']])(
  'remit %s in a folder without a database, where DATABASE_URL was forgotten, says both ways out and makes none',
  async (...argv) => {
    await mkdir(join(folder, 'keys'))
    const ran = await process(argv, {
      REMIT_HOME: folder,
      XDG_CONFIG_HOME: folder,
      EMBEDDINGS_MODEL_PATH: folder,
    })
    expect(ran).toMatchObject({ code: 1, stdout: '' })
    expect(ran.stderr).toContain(
      'Give DATABASE_URL as the service has it, or start the service once (npm start)',
    )
    expect(existsSync(join(folder, 'db'))).toBe(false)
  },
)

test('neither a command nor a start without DATABASE_URL opens an embedded database beside the native one of its folder', async () => {
  const env = { REMIT_HOME: folder, XDG_CONFIG_HOME: folder, EMBEDDINGS_MODEL_PATH: folder }
  await mkdir(join(folder, 'keys'))
  await rememberDatabase(folder, 'postgres://remit:hush@db.example/remit')
  expect(await readFile(join(folder, 'database'), 'utf8')).toBe('db.example:5432/remit\n')
  const [port, opsPort] = [await freePort(), await freePort()]
  const start = { ...env, PORT: String(port), OPS_PORT: String(opsPort) }
  // One after the other: the folder is one process's at a time.
  for (const begin of [() => startCommand(['recover'], env), () => startService(start)]) {
    await using running = begin()
    expect((await running.exit).code).toBe(1)
    expect(running.stderr()).toContain(
      `${folder} belongs to the database db.example:5432/remit, but DATABASE_URL is not set.`,
    )
    expect(existsSync(join(folder, 'db'))).toBe(false)
  }
})

test('another database than the last one is opened once the mark of that is removed, and not before', async () => {
  const asked = (databaseUrl: string | undefined) =>
    assertSameDatabase({ home: folder, databaseUrl, mayMake: true })
  await asked('postgres://remit:hush@db.example/remit')
  await rememberDatabase(folder, 'postgres://remit:hush@db.example/remit')
  await asked('postgres://other:new@db.example:5432/remit?keepalives=1')
  for (const other of [
    'postgres://remit:hush@db.example/remitt',
    'postgres://remit:hush@db2.example/remit',
  ]) {
    const error = await asked(other).then(String, String)
    expect(error).toContain(`if you mean to change the database, remove ${join(folder, 'database')} first`)
    expect(error).not.toContain('hush')
  }
  await rm(join(folder, 'database'))
  await asked('postgres://remit:hush@db2.example/remit')
  await asked(undefined)
})

test('commands find the service by its folder, wherever it listens, unless the shell names another', async () => {
  const world = await openCommands()
  await using _closing = { [Symbol.asyncDispose]: () => world.database.close() }
  const asked = async (env: Readonly<Record<string, string>>) => {
    const ran = await process(['whoami'], { REMIT_HOME: world.home, XDG_CONFIG_HOME: folder, ...env })
    return /for (\S+);/.exec(ran.stderr)?.[1]
  }
  const publicUrl = 'http://localhost:4711'
  {
    await using _server = await serving({ home: world.home, deps: { ...world.deps, publicUrl } })
    expect(await asked({})).toBe(publicUrl)
    expect(await asked({ PORT: '', PUBLIC_URL: '' })).toBe(publicUrl)
    expect(await asked({ PORT: '8797' })).toBe('http://localhost:8797')
    expect(await asked({ PUBLIC_URL: 'http://remit.test' })).toBe('http://remit.test')
  }
  expect(await asked({})).toBe('http://localhost:8787')
})

/** A folder of an earlier version, which left this in its database; and how many migrations ran there. */
async function earlierVersion(statement: string) {
  const all = new URL('../../migrations/', import.meta.url)
  const names = (await readdir(all)).filter((name) => /^\d{4}_.*\.sql$/.test(name)).sort()
  const earlier = join(folder, 'earlier')
  await mkdir(earlier)
  for (const name of names.slice(0, -1)) await copyFile(new URL(name, all), join(earlier, name))
  await mkdir(join(folder, 'keys'), { mode: 0o700 })
  const open = () => openPglite({ dataDir: join(folder, 'db'), socketDir: folder })
  const ran = async () => {
    await using database = await open()
    return (await database.query<{ name: string }>('select name from migrations')).length
  }
  await using database = await open()
  await migrate(database, { dir: pathToFileURL(`${earlier}/`), dimensions: 384 })
  await database.query(statement)
  const env = { REMIT_HOME: folder, XDG_CONFIG_HOME: folder, EMBEDDINGS_MODEL_PATH: folder }
  return { env, ran, here: names.length }
}

test('no command changes the tables of an earlier version, unless one says recover --upgrade', async () => {
  const { env, ran, here } = await earlierVersion('select 1')
  for (const command of [['recover', '--anyway'], ['agent', 'list'], ['audit', 'heads'], ['reembed']]) {
    const refused = await process(command, env)
    expect(refused).toMatchObject({ code: 1, stdout: '' })
    expect(refused.stderr).toContain('To go back to that version, use its own commands.')
    expect(await ran()).toBe(here - 1)
  }
  expect(await process(['recover', '--anyway', '--upgrade'], env)).toMatchObject({ code: 0 })
  expect(await ran()).toBe(here)
}, 60_000)

test('a change of model that an earlier version left unfinished shuts nobody out: the start changes the tables, and says to finish it', async () => {
  const { env, ran, here } = await earlierVersion(
    `insert into settings (key, value) values ('embeddings_unfinished', '{"model": "next", "dimensions": 384}')`,
  )
  const refused = await process(['reembed'], env)
  expect(refused).toMatchObject({ code: 1, stderr: expect.stringContaining('start the service') })
  expect(await ran()).toBe(here - 1)
  const ports = { PORT: String(await freePort()), OPS_PORT: String(await freePort()) }
  await using service = startService({ ...env, ...ports })
  expect(await service.exit).toMatchObject({ code: 1 })
  expect(service.stderr()).toContain('Finish it: npm run remit -- reembed')
  expect(await ran()).toBe(here)
  expect((await process(['reembed'], env)).stderr).toContain('There is no embedding model.')
})

test('a folder that holds other things is none either, and is left as it is', async () => {
  const ran = await remit(['drift'], { home: folder, withService: () => Promise.reject(new Error('opened')) })
  expect(ran.stderr).toContain('There is no Remit in')
  expect(existsSync(join(folder, 'lock'))).toBe(false)
})

test.each(['db', 'keys'])('one with %s is', async (made) => {
  await mkdir(join(folder, made))
  await using _lock = await lockHome(folder)
  expect(existsSync(join(folder, 'lock'))).toBe(true)
})

test.each([
  ['token', '--user', 'anne'],
  ['ingest', '.', '--collection', 'handbook', '--viewer', 'user:anne', '--service', 'loader'],
  ['ingest', '.', '--collection', 'handbook', '--viewer', 'user:anne'],
])(
  'remit %s, which only speaks to the service, says that none runs, and holds up no start: it takes no lock and opens nothing',
  async (...argv) => {
    await mkdir(join(folder, 'db'))
    await writeFile(join(folder, 'note.md'), 'A note.')
    const given = argv.map((one) => (one === '.' ? folder : one))
    await using _starting = await lockHome(folder)
    const ran = await remit(given, { home: folder, withService: () => Promise.reject(new Error('opened')) })
    expect(ran).toMatchObject({ code: 1, stdout: '' })
    expect(ran.stderr).toContain(`No service is running with REMIT_HOME=${folder}`)
  },
)

test('remit alone is its help; a command that is none is named, with --help as well', async () => {
  expect(await remit([], { home: folder })).toMatchObject({
    code: 0,
    stdout: expect.stringContaining('ingest [options] <folder>'),
    stderr: '',
  })
  for (const more of [[], ['--help']])
    expect(await remit(['group', ...more], { home: folder })).toMatchObject({
      code: 1,
      stdout: '',
      stderr: expect.stringMatching(/^error: unknown command 'group'\n\(Did you mean groups\?\)\n$/),
    })
  expect((await remit(['groups', '--help'], { home: folder })).stdout).toContain('Usage: remit groups')
})

test('token says which settings it needs where the demo does not answer', async () => {
  const demoUrl = 'http://127.0.0.1:9'
  const admin = { run: async () => ({ url: demoUrl }) }
  const ran = await remit(
    ['token', '--user', 'anne'],
    { home: folder },
    { demoTokens: createDemoTokens({ admin, home: folder, fetch }) },
  )
  expect(ran).toMatchObject({ code: 1, stdout: '' })
  expect(ran.stderr).toContain(`does not answer at ${demoUrl}`)
  expect(ran.stderr).toContain('REMIT_HOME, PORT and PUBLIC_URL')
  expect(ran.stderr).not.toContain('--url')
})
