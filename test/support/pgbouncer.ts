import { spawn } from 'node:child_process'
import { once } from 'node:events'
import { chownSync, createWriteStream, existsSync } from 'node:fs'
import { mkdtemp, rm, writeFile } from 'node:fs/promises'
import { tmpdir } from 'node:os'
import { join } from 'node:path'
import pg from 'pg'
import { native, needs } from './native.ts'
import { freePort } from './port.ts'

const program = '/usr/sbin/pgbouncer'

/** Whether this machine has it, and somebody may run it: root may not. */
export const hasPgbouncer = existsSync(program) && native.postgres !== undefined

/** Options of a test that runs a pgbouncer between. */
export const needsPgbouncer = needs(
  hasPgbouncer && native.databaseUrl !== undefined,
  'native Postgres (TEST_DATABASE_URL), POSTGRES_PATH and pgbouncer (Debian: pgbouncer)',
)

/** A pooler in session mode, with no setting that a service of ours would need. */
export interface Pgbouncer extends AsyncDisposable {
  /** The URL it was given, through it. */
  readonly url: string
}

/** `databaseUrl` names the server that it goes to, and the account by which. */
export async function startPgbouncer(databaseUrl: string): Promise<Pgbouncer> {
  await using stack = new AsyncDisposableStack()
  const folder = await mkdtemp(join(tmpdir(), 'remit-pgbouncer-'))
  stack.defer(() => rm(folder, { recursive: true, force: true }))
  const { user } = native.postgres ?? {}
  const server = new URL(databaseUrl)
  const port = await freePort()
  const users = join(folder, 'users.txt')
  await writeFile(users, `"${server.username}" "${decodeURIComponent(server.password)}"\n`, { mode: 0o600 })
  const settings = join(folder, 'pgbouncer.ini')
  await writeFile(
    settings,
    `[databases]
* = host=127.0.0.1 port=${server.port}
[pgbouncer]
listen_addr = 127.0.0.1
listen_port = ${port}
unix_socket_dir =
auth_type = scram-sha-256
auth_file = ${users}
pool_mode = session
default_pool_size = 60
max_client_conn = 300
server_login_retry = 1
server_connect_timeout = 3
query_wait_timeout = 5
`,
    { mode: 0o600 },
  )
  if (user !== undefined) for (const path of [folder, users, settings]) chownSync(path, user.uid, user.gid)
  const child = spawn(program, [settings], { stdio: ['ignore', 'ignore', 'pipe'], cwd: folder, ...user })
  child.stderr.pipe(createWriteStream(join(folder, 'log')))
  stack.defer(async () => {
    const ended = once(child, 'exit')
    if (child.exitCode === null && child.kill('SIGKILL')) await ended
  })
  const url = Object.assign(new URL(databaseUrl), { port: String(port) }).href
  for (const end = Date.now() + 30_000; !(await answers(url)); )
    if (Date.now() > end) throw new Error('pgbouncer does not open.')
  const owned = stack.move()
  return { url, [Symbol.asyncDispose]: () => owned.disposeAsync() }
}

async function answers(url: string): Promise<boolean> {
  const client = new pg.Client({ connectionString: url, connectionTimeoutMillis: 2_000 })
  client.on('error', () => undefined)
  try {
    await client.connect()
    await client.query('select 1')
    return true
  } catch {
    await new Promise((resolve) => setTimeout(resolve, 50))
    return false
  } finally {
    await client.end()
  }
}
