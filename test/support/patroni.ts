import { type ChildProcess, spawn } from 'node:child_process'
import { randomBytes } from 'node:crypto'
import { once } from 'node:events'
import { chownSync, createWriteStream, existsSync } from 'node:fs'
import { mkdir, mkdtemp, rm, writeFile } from 'node:fs/promises'
import { tmpdir } from 'node:os'
import { join } from 'node:path'
import { setTimeout as sleep } from 'node:timers/promises'
import { administer } from './administer.ts'
import { native, needs } from './native.ts'
import { hasPgbouncer, startPgbouncer } from './pgbouncer.ts'
import { freePort } from './port.ts'
import { signalPostgres } from './postgres-processes.ts'

const programs = { etcd: '/usr/bin/etcd', haproxy: '/usr/sbin/haproxy' }

/** Options of a test that runs a cluster of Postgres; its `meta.needs` says what is missing. */
export const needsPatroni = needs(
  native.patroni !== undefined &&
    hasPgbouncer &&
    Object.values(programs).every((program) => existsSync(program)),
  'Patroni (PATRONI_PATH, POSTGRES_PATH), etcd, HAProxy and pgbouncer (Debian: etcd-server haproxy pgbouncer)',
)

/**
 * Three nodes of Postgres under Patroni, one of them a synchronous standby, with an etcd; before them
 * HAProxy, which asks Patroni who is primary, and pgbouncer in session mode. On loopback, in a folder that
 * goes at the end. Killed processes lose nothing; a power cut would.
 */
export interface Cluster extends AsyncDisposable {
  /** A superuser's, through pgbouncer and HAProxy. */
  readonly url: string
  /** The same past both, to one node. */
  urlOf(node: string): string
  /** Logs of all programs lie here. */
  readonly folder: string
  /** Who holds the leader key and answers as primary. */
  primary(): Promise<string>
  /** SIGKILL for Patroni, then the postmaster and each of its processes. */
  kill(node: string): void
  /** SIGSTOP for all of them. */
  freeze(node: string): void
  /** SIGCONT. */
  thaw(node: string): void
  /** Starts Patroni of a node that was killed. */
  start(node: string): void
  /** Resolves once one is primary and another its synchronous standby, of so many that stream or lead. */
  whole(nodes?: number): Promise<void>
  /** Has HAProxy balance servers of HTTP at one address, which it gives. */
  balance(ports: readonly number[]): Promise<string>
}

interface Node {
  readonly name: string
  readonly port: number
  readonly rest: number
  patroni: ChildProcess | undefined
}

/** Settings that the documentation names. */
const dynamic = {
  ttl: 20,
  loop_wait: 5,
  retry_timeout: 5,
  // A primary that crashed may hold what no standby has: another one takes over, it does not come back.
  primary_start_timeout: 0,
  synchronous_mode: true,
  synchronous_mode_strict: true,
  postgresql: {
    use_pg_rewind: true,
    parameters: {
      max_connections: 200,
      shared_buffers: '64MB',
      wal_log_hints: 'on',
      // Kills end processes, not the machine.
      fsync: 'off',
    },
  },
}

export interface ClusterOptions {
  /** Seconds that a fourth node `late` is behind, which never becomes primary or a synchronous standby. */
  readonly lateSeconds?: number
}

export async function startCluster({ lateSeconds }: ClusterOptions = {}): Promise<Cluster> {
  const { patroni: packages, postgres } = native
  if (packages === undefined || postgres === undefined)
    throw new Error('This needs PATRONI_PATH and POSTGRES_PATH.')
  const { programs: bin, user } = postgres
  const folder = await mkdtemp(join(tmpdir(), 'remit-cluster-'))
  await using stack = new AsyncDisposableStack()
  stack.defer(() => rm(folder, { recursive: true, force: true, maxRetries: 20 }))
  const own = (path: string): void => user && chownSync(path, user.uid, user.gid)
  own(folder)
  const write = async (name: string, text: string): Promise<string> => {
    const path = join(folder, name)
    await writeFile(path, text, { mode: 0o600 })
    own(path)
    return path
  }
  function run(name: string, program: string, ...args: readonly string[]): ChildProcess {
    const log = createWriteStream(join(folder, `${name}.log`), { flags: 'a' })
    const { PATH = '' } = process.env
    const child = spawn(program, [...args], {
      cwd: folder,
      env: { PATH, HOME: folder, PYTHONPATH: packages, PYTHONDONTWRITEBYTECODE: '1' },
      stdio: ['ignore', 'pipe', 'pipe'],
      ...user,
    })
    child.stdout?.pipe(log)
    child.stderr?.pipe(log)
    return child
  }
  const ending = (child: ChildProcess): AsyncDisposable => ({ [Symbol.asyncDispose]: () => end(child) })

  const [etcd, peer] = [await freePort(), await freePort()]
  const at = (port: number): string => `http://127.0.0.1:${port}`
  stack.use(
    ending(
      run(
        'etcd',
        programs.etcd,
        ...['--name', 'e', '--data-dir', join(folder, 'etcd'), '--unsafe-no-fsync', '--log-level', 'warn'],
        ...['--listen-client-urls', at(etcd), '--advertise-client-urls', at(etcd)],
        ...['--listen-peer-urls', at(peer), '--initial-advertise-peer-urls', at(peer)],
        ...['--initial-cluster', `e=${at(peer)}`],
      ),
    ),
  )
  await until('etcd answers', async () => (await fetch(`${at(etcd)}/health`)).ok)

  const password = randomBytes(12).toString('hex')
  const nodes: Node[] = []
  const names = ['a', 'b', 'c', ...(lateSeconds === undefined ? [] : ['late'])]
  for (const name of names)
    nodes.push({ name, port: await freePort(), rest: await freePort(), patroni: undefined })
  const byName = (name: string): Node => {
    const node = nodes.find((one) => one.name === name)
    if (node === undefined) throw new Error(`No node ${name}.`)
    return node
  }
  for (const { name, port, rest } of nodes) {
    const account = (username: string) => ({ username, password })
    await mkdir(join(folder, name), { mode: 0o700 })
    own(join(folder, name))
    await write(
      `${name}.yaml`,
      JSON.stringify({
        scope: 'remit',
        name,
        restapi: { listen: `127.0.0.1:${rest}`, connect_address: `127.0.0.1:${rest}` },
        etcd3: { host: `127.0.0.1:${etcd}` },
        // Loopback has no /dev/watchdog. In production: `required`.
        watchdog: { mode: 'off' },
        ...(name === 'late' && { tags: { nofailover: true, nosync: true } }),
        bootstrap: {
          dcs: dynamic,
          initdb: [
            ...[{ encoding: 'UTF8' }, { 'locale-provider': 'builtin' }, { 'builtin-locale': 'C.UTF-8' }],
            'data-checksums',
          ],
        },
        postgresql: {
          listen: `127.0.0.1:${port}`,
          connect_address: `127.0.0.1:${port}`,
          data_dir: join(folder, name, 'data'),
          bin_dir: bin,
          pgpass: join(folder, name, 'pgpass'),
          authentication: {
            superuser: account('postgres'),
            replication: account('replicator'),
            rewind: account('rewinder'),
          },
          parameters: { unix_socket_directories: '' },
          ...(name === 'late' && { recovery_conf: { recovery_min_apply_delay: `${lateSeconds}s` } }),
          pg_hba: [
            'host all all 127.0.0.1/32 scram-sha-256',
            'host replication all 127.0.0.1/32 scram-sha-256',
          ],
        },
      }),
    )
  }
  const start = (name: string): void => {
    byName(name).patroni = run(name, 'python3', '-m', 'patroni', join(folder, `${name}.yaml`))
  }
  const signal = (name: string, kind: NodeJS.Signals): void => {
    byName(name).patroni?.kill(kind)
    signalPostgres(join(folder, name, 'data'), kind)
  }
  const kill = (name: string): void => signal(name, 'SIGKILL')
  stack.defer(() => {
    for (const { name } of nodes) kill(name)
  })

  const roles = async (): Promise<Record<string, string>> => {
    const response = await Promise.any(nodes.map(({ rest }) => fetchSoon(`${at(rest)}/cluster`)))
    const { members } = (await response.json()) as {
      members: readonly { name: string; role: string; state: string }[]
    }
    const isUp = (state: string) => state === 'running' || state === 'streaming'
    return Object.fromEntries(
      members.filter(({ state }) => isUp(state)).map(({ name, role }) => [name, role]),
    )
  }
  const whole = async (count = names.length): Promise<void> =>
    until(`${count} nodes are whole`, async () => {
      const found = Object.values(await roles())
      return found.length === count && found.includes('leader') && found.includes('sync_standby')
    })
  start('a')
  await until('the first node leads', async () => (await roles())['a'] === 'leader')
  for (const name of names.slice(1)) start(name)
  await whole()

  const entry = await freePort()
  await write(
    'haproxy.cfg',
    `${haproxyDefaults('tcp')}
listen primary
  bind 127.0.0.1:${entry}
  option httpchk OPTIONS /primary
  http-check expect status 200
  default-server inter 1s fall 3 rise 2 on-marked-down shutdown-sessions
${nodes.map(({ name, port, rest }) => `  server ${name} 127.0.0.1:${port} check port ${rest}`).join('\n')}
`,
  )
  stack.use(ending(run('haproxy', programs.haproxy, '-db', '-f', join(folder, 'haproxy.cfg'))))
  const urlAt = (port: number): string => `postgres://postgres:${password}@127.0.0.1:${port}/postgres`
  // HAProxy takes each node for the primary until three looks have failed, and asks them in turn.
  await until('the primary alone is reached', async () => {
    for (let tries = 0; tries < 2 * names.length; tries += 1)
      await administer(urlAt(entry), 'create temp table t ()')
    return true
  })
  const { url } = stack.use(await startPgbouncer(urlAt(entry)))
  const owned = stack.move()
  return {
    url,
    folder,
    urlOf: (name) => urlAt(byName(name).port),
    async primary() {
      const answers = await Promise.all(
        nodes.map(async ({ name, rest }) => {
          const answer = await fetchSoon(`${at(rest)}/primary`).catch(() => undefined)
          return answer?.ok === true ? [name] : []
        }),
      )
      const [found, second] = answers.flat()
      if (found === undefined || second !== undefined) throw new Error(`Primaries: ${answers.flat().join()}`)
      return found
    },
    kill,
    freeze: (name) => signal(name, 'SIGSTOP'),
    thaw: (name) => signal(name, 'SIGCONT'),
    start,
    whole,
    async balance(ports) {
      const port = await freePort()
      await write(
        `balance-${port}.cfg`,
        `${haproxyDefaults('http')}
listen servers
  bind 127.0.0.1:${port}
  balance roundrobin
  option httpchk GET /healthz
  default-server inter 1s fall 2 rise 1
${ports.map((one) => `  server s${one} 127.0.0.1:${one} check`).join('\n')}
`,
      )
      owned.use(ending(run('balance', programs.haproxy, '-db', '-f', join(folder, `balance-${port}.cfg`))))
      return at(port)
    },
    [Symbol.asyncDispose]: () => owned.disposeAsync(),
  }
}

const haproxyDefaults = (mode: string): string => `global
  maxconn 1000
defaults
  mode ${mode}
  timeout connect 2s
  timeout check 2s
  timeout client 30m
  timeout server 30m`

const fetchSoon = (url: string): Promise<Response> => fetch(url, { signal: AbortSignal.timeout(2_000) })

async function until(what: string, isSo: () => Promise<boolean>): Promise<void> {
  const end = Date.now() + 120_000
  while (!(await isSo().catch(() => false))) {
    if (Date.now() > end) throw new Error(`It never came that ${what}.`)
    await sleep(200)
  }
}

async function end(child: ChildProcess): Promise<void> {
  if (child.exitCode !== null || child.signalCode !== null) return
  const ended = once(child, 'exit')
  child.kill('SIGKILL')
  await ended
}
