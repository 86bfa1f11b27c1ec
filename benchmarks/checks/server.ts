import { type ChildProcess, execFileSync, spawn } from 'node:child_process'
import { readdirSync, readFileSync } from 'node:fs'
import { setTimeout as sleep } from 'node:timers/promises'
import pg from 'pg'
import { createFgaApi } from '../../src/authz/openfga.ts'
import { freePort } from '../../test/support/port.ts'

const apiToken = 'key-of-the-benchmark'

/** As docker-compose.yml runs it, but for its caches. */
export const asRun = {
  OPENFGA_RESOLVE_NODE_BREADTH_LIMIT: '1',
  OPENFGA_MAX_CONCURRENT_CHECKS_PER_BATCH_CHECK: '4',
  OPENFGA_DATASTORE_MAX_OPEN_CONNS: '100',
  GOGC: '400',
}

/** OpenFGA servers on one database of their own, with metrics. */
export interface Servers {
  /** Of the database. */
  readonly url: string
  start(env: Readonly<Record<string, string>>): Promise<Server>
  /** Ends those that still run, and drops the database. */
  close(): Promise<void>
}

export interface Server {
  readonly api: ReturnType<typeof createFgaApi>
  readonly process: ChildProcess
  /** Milliseconds so far, of all its threads. */
  processor(): number
  /** Statements sent to its database for checks so far. */
  reads(): Promise<number>
}

/** Makes the database and its tables. */
export async function openServers(binary: string, admin: string): Promise<Servers> {
  const database = `remit_checks_${process.pid}`
  const url = Object.assign(new URL(admin), { pathname: `/${database}` }).href
  await query(admin, `create database ${database}`)
  execFileSync(binary, ['migrate'], { env: environment(url, 0, 0), stdio: 'ignore' })
  const started: Server[] = []
  return {
    url,
    async start(env) {
      const server = await startServer(binary, url, env)
      started.push(server)
      return server
    },
    async close() {
      for (const server of started) server.process.kill()
      await query(admin, `drop database if exists ${database} with (force)`)
    },
  }
}

async function startServer(
  binary: string,
  url: string,
  env: Readonly<Record<string, string>>,
): Promise<Server> {
  const [http, metrics] = [await freePort(), await freePort()]
  const child = spawn(binary, ['run'], {
    stdio: 'ignore',
    env: { ...environment(url, http, metrics), ...env },
  })
  const base = `http://127.0.0.1:${http}`
  for (let tries = 0; tries < 100 && !(await answers(`${base}/healthz`)); tries++) await sleep(100)
  const threads = new Map<string, number>()
  return {
    api: createFgaApi({ apiUrl: base, apiToken, timeoutMs: 30_000 }),
    process: child,
    processor() {
      for (const thread of readdirSync(`/proc/${child.pid}/task`)) {
        const [nanoseconds] = readFileSync(`/proc/${child.pid}/task/${thread}/schedstat`, 'utf8').split(' ')
        threads.set(thread, Number(nanoseconds) / 1e6)
      }
      return [...threads.values()].reduce((sum, one) => sum + one, 0)
    },
    async reads() {
      const text = await (await fetch(`http://127.0.0.1:${metrics}/metrics`)).text()
      const sums = [...text.matchAll(/^openfga_datastore_query_count_sum\S* (\S+)$/gm)]
      return sums.reduce((sum, [, count]) => sum + Number(count), 0)
    },
  }
}

function environment(url: string, http: number, metrics: number): Record<string, string> {
  return {
    OPENFGA_DATASTORE_ENGINE: 'postgres',
    OPENFGA_DATASTORE_URI: `${url}?sslmode=disable`,
    OPENFGA_AUTHN_METHOD: 'preshared',
    OPENFGA_AUTHN_PRESHARED_KEYS: apiToken,
    OPENFGA_HTTP_ADDR: `127.0.0.1:${http}`,
    OPENFGA_GRPC_ADDR: '127.0.0.1:0',
    OPENFGA_METRICS_ADDR: `127.0.0.1:${metrics}`,
    OPENFGA_PLAYGROUND_ENABLED: 'false',
    OPENFGA_LOG_LEVEL: 'error',
  }
}

function answers(address: string): Promise<boolean> {
  return fetch(address).then(
    ({ ok }) => ok,
    () => false,
  )
}

export async function query(connectionString: string, text: string): Promise<void> {
  const client = new pg.Client({ connectionString })
  await client.connect()
  await client.query(text)
  await client.end()
}
