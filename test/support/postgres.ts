import { type ChildProcess, execFile, spawn } from 'node:child_process'
import { once } from 'node:events'
import { chownSync } from 'node:fs'
import { appendFile, mkdtemp, rm } from 'node:fs/promises'
import { tmpdir } from 'node:os'
import { join } from 'node:path'
import { promisify } from 'node:util'
import { administer } from './administer.ts'
import { native, needs } from './native.ts'
import { freePort } from './port.ts'
import { signalPostgres } from './postgres-processes.ts'

/** Options of a test that runs a server of Postgres of its own. */
export const needsPostgresProgram = needs(
  native.postgres !== undefined,
  'the programs of Postgres (POSTGRES_PATH)',
)

/** A server of Postgres whose settings a test may change; it trusts loopback, and is gone at the end. */
export interface OwnPostgres extends AsyncDisposable {
  readonly url: string
  /** To all of its processes. */
  signal(kind: NodeJS.Signals): void
  /** After SIGKILL: resolves once it answers again. */
  startAgain(): Promise<void>
}

export async function startPostgres(settings = ''): Promise<OwnPostgres> {
  if (native.postgres === undefined) throw new Error('This needs POSTGRES_PATH.')
  const { programs, user } = native.postgres
  await using stack = new AsyncDisposableStack()
  const data = await mkdtemp(join(tmpdir(), 'remit-postgres-'))
  stack.defer(() => rm(data, { recursive: true, force: true, maxRetries: 20 }))
  if (user !== undefined) chownSync(data, user.uid, user.gid)
  const options = { cwd: data, env: { PATH: process.env['PATH'] ?? '', HOME: data }, ...user }
  const initdb = [
    '--pgdata',
    data,
    '--username',
    'postgres',
    '--auth',
    'trust',
    '--encoding',
    'UTF8',
    '--no-sync',
  ]
  const locale = ['--locale-provider', 'builtin', '--builtin-locale', 'C.UTF-8']
  await promisify(execFile)(join(programs, 'initdb'), [...initdb, ...locale], options)
  const port = await freePort()
  await appendFile(
    join(data, 'postgresql.conf'),
    `listen_addresses = '127.0.0.1'\nport = ${port}\nunix_socket_directories = ''\nfsync = off\n${settings}`,
  )
  const start = () => spawn(join(programs, 'postgres'), ['-D', data], { ...options, stdio: 'ignore' })
  let child = start()
  stack.defer(() => end(child))
  const url = `postgres://postgres@127.0.0.1:${port}/postgres`
  await answers(url)
  const owned = stack.move()
  return {
    url,
    signal: (kind) => signalPostgres(data, kind),
    async startAgain() {
      await end(child)
      child = start()
      await answers(url, () => {
        // Where a process that was killed is not quite gone, the new server ends at once.
        if (child.exitCode !== null) child = start()
      })
    },
    [Symbol.asyncDispose]: () => owned.disposeAsync(),
  }
}

async function answers(url: string, onSilence: () => void = () => undefined): Promise<void> {
  for (let tries = 0; ; tries += 1) {
    try {
      await administer(url, 'select 1')
      return
    } catch (error) {
      if (tries > 200) throw error
      onSilence()
      await new Promise((resolve) => setTimeout(resolve, 50))
    }
  }
}

/** At once: whatever waits for a standby would be waited for. */
async function end(child: ChildProcess): Promise<void> {
  if (child.exitCode !== null || child.signalCode !== null) return
  const ended = once(child, 'exit')
  child.kill('SIGQUIT')
  await ended
}
