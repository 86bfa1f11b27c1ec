import { execFile } from 'node:child_process'
import { randomBytes } from 'node:crypto'
import {
  chmod,
  mkdir,
  mkdtemp,
  readdir,
  readFile,
  rm,
  stat,
  symlink,
  truncate,
  writeFile,
} from 'node:fs/promises'
import { tmpdir } from 'node:os'
import { join } from 'node:path'
import { fileURLToPath } from 'node:url'
import { promisify } from 'node:util'
import pg from 'pg'
import { afterAll, beforeAll, describe, expect, test } from 'vitest'
import { openBrowser } from '../../delegation/issuer/browser.ts'
import { native, needsOpenfgaProgram, needsPostgres } from '../../support/native.ts'
import { freePort } from '../../support/port.ts'
import { listens, modelFolder, startShell } from '../process.ts'

const root = fileURLToPath(new URL('../../../', import.meta.url))
const page = await readFile(join(root, 'docs/production.md'), 'utf8')
const { start } = (
  JSON.parse(await readFile(join(root, 'package.json'), 'utf8')) as { scripts: { start: string } }
).scripts
// Other tests run beside these, on few cores.
const slow = 240_000

/** The shell commands below a heading of the page, block by block. */
function blocksOf(heading: string): string[] {
  const [, section = ''] = page.split(heading === '' ? '\n\n' : `\n## ${heading}\n`, 2)
  const text = heading === '' ? page.split('\n## ')[0] : section.split('\n## ')[0]
  return [...(text ?? '').matchAll(/^```sh\n([\s\S]*?)^```$/gm)].map(([, block = '']) => block)
}

// No daemon runs containers here: what stands in for `docker compose` starts this machine's programs by
// docker-compose.yml.
describe(
  'every command of docs/production.md, in its order',
  needsPostgres.skip ? needsPostgres : needsOpenfgaProgram,
  () => {
    const prefix = `p${randomBytes(4).toString('hex')}_`
    const names = ['remit', 'openfga'].map((one) => `${prefix}${one}`)
    const ran = new Set<string>()
    let folder: string
    let clone: string
    let url: string
    let ports: { readonly remit: number; readonly ops: number }
    let programs: string

    beforeAll(async () => {
      folder = await mkdtemp(join(tmpdir(), 'remit-test-'))
      clone = join(folder, 'clone')
      for (const one of ['clone', 'bin', 'stand/home', 'no-model'])
        await mkdir(join(folder, one), { recursive: true, mode: 0o700 })
      await symlink(join(root, 'docker'), join(clone, 'docker'))
      ports = { remit: await freePort(), ops: await freePort() }
      url = `http://localhost:${ports.remit}`
      const openfga = { program: native.openfgaProgram, port: await freePort(), grpcPort: await freePort() }
      const stand = { folder: join(folder, 'stand'), prefix, postgres: native.databaseUrl, openfga }
      await writeFile(join(folder, 'stand.json'), JSON.stringify(stand))
      await program('docker', `exec ${process.execPath} ${join(root, 'test/e2e/production/docker.ts')} "$@"`)
      await program('git', '[ "$*" = pull ]')
      const settings = { REMIT_PORT: ports.remit, REMIT_OPS_PORT: ports.ops }
      const model = { EMBEDDINGS_MODEL_PATH: modelFolder ?? join(folder, 'no-model') }
      const lines = Object.entries({ ...settings, ...model }).map(([name, value]) => `${name}=${value}\n`)
      await writeFile(join(clone, '.env'), lines.join(''))
      // Those of the server's own version: an older pg_dump refuses it.
      const [row] = await query(`select setting from pg_config where name = 'BINDIR'`)
      programs = String(row?.['setting'])
    })
    afterAll(async () => {
      if (folder === undefined) return
      await shell('docker compose stop remit openfga').catch(() => undefined)
      await dropDatabases()
      for (const one of names) await query(`drop role if exists ${one}`)
      await rm(folder, { recursive: true, force: true })
    })

    /** Those too that a restore has put aside. */
    async function dropDatabases(): Promise<void> {
      const all = 'select datname from pg_database where starts_with(datname, $1)'
      for (const { datname } of await query(all, [prefix]))
        await query(`drop database if exists ${String(datname)} with (force)`)
    }

    async function program(name: string, script: string): Promise<void> {
      await writeFile(join(folder, 'bin', name), `#!/bin/sh\n${script}\n`)
      await chmod(join(folder, 'bin', name), 0o755)
    }

    const env = () => ({
      PATH: `${join(folder, 'bin')}:${programs}:${process.env['PATH']}`,
      HOME: folder,
      STAND: join(folder, 'stand.json'),
    })
    const shell = async (script: string): Promise<string> =>
      (await promisify(execFile)('sh', ['-euc', script], { cwd: clone, env: env() })).stdout

    /** When the dumps that are there were made: they have it in their names. */
    const dumped = async (): Promise<string> =>
      (await readdir(clone)).flatMap((name) => /^remit-(.+)\.dump$/.exec(name)?.[1] ?? []).join()
    const signing = async (): Promise<string | undefined> =>
      ((await (await fetch(`${url}/oauth/jwks`)).json()) as { keys: { kid: string }[] }).keys[0]?.kid

    /** Runs what stands below a heading, with this machine's addresses. */
    async function run(heading: string): Promise<string> {
      let said = ''
      for (const block of blocksOf(heading)) {
        ran.add(block)
        const here = block
          .replaceAll('https://remit.example.com', url)
          .replaceAll(':8788/', `:${ports.ops}/`)
          .replaceAll('2026-03-01-0930', await dumped())
        said += await shell(here)
      }
      return said
    }

    const command = (line: string): Promise<string> =>
      shell(`docker compose exec -T remit node src/cli/main.js ${line}`)
    const ready = async (): Promise<unknown> => {
      const bearer = await readFile(join(clone, 'ops_bearer'), 'utf8')
      const headers = { authorization: `Bearer ${bearer}` }
      return (await fetch(`http://127.0.0.1:${ports.ops}/readyz`, { headers })).json()
    }
    /** Where somebody stands after they signed in to see their passkeys. */
    async function signIn(user: string, password: string): Promise<string> {
      const browser = openBrowser(url)
      const asked = await browser.open(`${url}/passkeys`)
      return (await browser.submit(asked, '/sign-in?next=%2Fpasskeys', { user, password })).url.pathname
    }

    let password: string

    test('starts, and its first administrator signs in', { timeout: slow }, async () => {
      await run('')
      const said = await run('The first administrator')
      password = /^[\w-]{20}$/m.exec(said)?.[0] ?? said
      expect(await command('admin list')).toMatch(
        /user:kim\n {2}roles: agents.write, security.read, security.write/,
      )
      expect(await signIn('kim', 'wrong')).toBe('/sign-in')
      expect(await signIn('kim', password)).toBe('/passkeys')
    })

    test('gives its metrics to whoever brings the token, and to nobody else', { timeout: slow }, async () => {
      expect(await run('Metrics')).toMatch(/^remit_index_following 1$/m)
      expect((await fetch(`http://127.0.0.1:${ports.ops}/metrics`)).status).toBe(401)
      expect(await ready()).toMatchObject({ status: 'ok', record: { insert_only_by_role: true } })
    })

    test('gives back what was dumped, OpenFGA included, and nothing that came later', {
      timeout: 2 * slow,
    }, async () => {
      await command('collection add kept --title Kept')
      await command('service add loader --collection kept')
      expect(await run('Dump')).toMatch(/^openfga-\S+\.dump can be read\.\nremit-\S+\.dump can be read\.\n$/)
      await command('collection add later --title Later')
      await command('service add late --collection kept')
      await command('keys rotate')
      const rotated = await signing()
      await run('Restore')
      // The key that was rotated away may be the reason for it: it signs no more.
      expect(await signing()).toBe(rotated)
      const collections = await command('collection list')
      expect([collections.includes('kept'), collections.includes('later')]).toEqual([true, false])
      // Only OpenFGA holds this.
      const writers = (await tuplesOf('collection:kept')).filter((one) => one.endsWith(' writer'))
      expect(writers).toEqual(['service:loader writer'])
      expect(await command('audit verify')).toContain('found: 0')
      expect(await signIn('kim', password)).toBe('/passkeys')
      expect(await ready()).toMatchObject({ status: 'ok', record: { insert_only_by_role: true } })
    })

    test('restores nothing from a dump that is cut short, and what is there stays', {
      timeout: slow,
    }, async () => {
      const path = join(clone, `remit-${await dumped()}.dump`)
      await truncate(path, (await stat(path)).size - 100)
      await expect(run('Restore')).rejects.toThrow(/1 computed checksum did NOT match/)
      expect(await command('collection list')).toContain('kept')
      expect(await signIn('kim', password)).toBe('/passkeys')
    })

    test('leaves dumps, keys and the token to their owner alone, and git does not know them', async () => {
      const files = (await readdir(clone)).filter((name) => /dump|tar|bearer/.test(name))
      expect(files.length).toBe(5)
      for (const name of files)
        expect([name, (await stat(join(clone, name))).mode & 0o077]).toEqual([name, 0])
      const ignored = await promisify(execFile)('git', ['check-ignore', '--no-index', ...files], {
        cwd: root,
      })
      expect(ignored.stdout.trim().split('\n')).toEqual(files)
    })

    test('is upgraded with its record in the hands of its own owner', { timeout: slow }, async () => {
      await run('Upgrade')
      expect(await ready()).toMatchObject({ status: 'ok', record: { insert_only_by_role: true } })
      expect(await signIn('kim', password)).toBe('/passkeys')
    })

    test('starts without compose', { timeout: slow }, async () => {
      const [block = ''] = blocksOf('Without compose')
      ran.add(block)
      await shell('docker compose stop remit')
      await dropDatabases()
      await query(`drop role if exists ${prefix}remit`)
      const server = new URL(native.databaseUrl ?? '')
      const { url: openfgaUrl = '', token = '' } = native.openfga ?? {}
      const script = block
        .replaceAll('https://remit.example.com', url)
        .replaceAll(/(?<![./])\bremit\b/g, `${prefix}remit`)
        .replace(
          'postgres://remit:SECRET@localhost/remit',
          `postgres://${prefix}remit:SECRET@${server.host}/${prefix}remit`,
        )
        .replace('http://localhost:8080', openfgaUrl)
        .replace('KEY', token)
        // The shell becomes it: what ends the one ends the other.
        .replace('npm start', `exec env ${start}`)
      await using service = startShell(script, {
        ...env(),
        PGHOST: server.hostname,
        PGPORT: server.port,
        PGPASSWORD: server.password,
        PORT: String(ports.remit),
        OPS_PORT: String(ports.ops),
        REMIT_HOME: join(folder, 'home'),
        EMBEDDINGS_MODEL_PATH: modelFolder ?? join(folder, 'no-model'),
      })
      await listens(service)
      expect(await (await fetch(`${url}/healthz`)).json()).toMatchObject({ status: 'ok' })
    })

    test('leaves no block of the page untried', () => {
      const all = [...page.matchAll(/^```sh\n([\s\S]*?)^```$/gm)].map(([, block = '']) => block)
      expect([...ran]).toEqual(expect.arrayContaining(all))
    })

    /** `user relation` of an object's tuples in the database of OpenFGA. */
    async function tuplesOf(object: string): Promise<string[]> {
      const [type, id] = object.split(':')
      const text = 'select _user, relation from tuple where object_type = $1 and object_id = $2'
      const rows = await query(text, [type, id], names[1])
      return rows.map((row) => `${String(row['_user'])} ${String(row['relation'])}`)
    }
  },
)

async function query(
  text: string,
  values: readonly unknown[] = [],
  database?: string,
): Promise<Readonly<Record<string, unknown>>[]> {
  const url = new URL(native.databaseUrl ?? '')
  if (database !== undefined) url.pathname = `/${database}`
  const client = new pg.Client({ connectionString: url.href })
  await client.connect()
  try {
    return (await client.query(text, [...values])).rows
  } finally {
    await client.end()
  }
}
