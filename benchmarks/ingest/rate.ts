import { type ChildProcess, execFileSync, fork, spawn } from 'node:child_process'
import { once } from 'node:events'
import { readFileSync } from 'node:fs'
import { type IncomingMessage, request } from 'node:http'
import { loadavg } from 'node:os'
import { Readable } from 'node:stream'
import { json } from 'node:stream/consumers'
import { pipeline } from 'node:stream/promises'
import { setTimeout as sleep } from 'node:timers/promises'
import { parseArgs } from 'node:util'
import { administer } from '../../test/support/administer.ts'
import type { TokenOptions } from '../../test/support/issuer.ts'
import { native } from '../../test/support/native.ts'
import { freePort } from '../../test/support/port.ts'
import { serviceClient } from '../support/running.ts'
import { type Asked, type Counts, collection, folder, type Told } from './rate-messages.ts'

/**
 * How fast one NDJSON import of small documents goes in: the service, OpenFGA and this program are processes
 * of their own, embeddings cost nothing. Prints documents a second, and the processor's milliseconds of each
 * process, statements and calls for each document, which hold on a busy machine too. Needs TEST_DATABASE_URL
 * and OPENFGA_PATH, and Linux. `--documents 2000`; `--against FOLDER`, another checkout, in turn;
 * `--rounds 1`; `--questions 20` puts so many a second, first alone, then beside the import; `--statements`
 * lists the commonest; `--profile FOLDER` writes the service's profile; `--memory 5` prints what the service
 * holds at so many steps of the import, once all that nothing holds was freed.
 */
const { values } = parseArgs({
  options: {
    documents: { type: 'string', default: '2000' },
    rounds: { type: 'string', default: '1' },
    against: { type: 'string' },
    questions: { type: 'string', default: '0' },
    statements: { type: 'boolean', default: false },
    profile: { type: 'string' },
    memory: { type: 'string', default: '0' },
  },
})
const [documents, rounds, questions] = [values.documents, values.rounds, values.questions].map(Number) as [
  number,
  number,
  number,
]
const admin = native.databaseUrl
const program = native.openfgaProgram
if (admin === undefined || program === undefined) throw new Error('Set TEST_DATABASE_URL and OPENFGA_PATH.')

const apiToken = 'key-of-the-benchmark'
const here = new URL('../../', import.meta.url).pathname
const trees = [...(values.against === undefined ? [] : [values.against]), here]
for (let round = 0; round < rounds; round++) for (const tree of trees) await measure(tree)

/** One import into a service, a database and an OpenFGA of its own. */
async function measure(root: string): Promise<void> {
  await using stack = new AsyncDisposableStack()
  const names = ['service', 'openfga'].map((of) => `remit_rate_${of}_${process.pid}`)
  const urls: string[] = []
  for (const name of names) {
    await administer(admin as string, `create database ${name}`)
    stack.defer(() => administer(admin as string, `drop database if exists ${name} with (force)`))
    urls.push(Object.assign(new URL(admin as string), { pathname: `/${name}` }).href)
  }
  const openfga = await startOpenfga(urls[1] ?? '')
  stack.defer(() => end(openfga.process))
  const service = await startChild(root, urls[0] ?? '', openfga.url)
  stack.defer(() => end(service.process))
  const processors = await watchProcessors(names, {
    node: service.process.pid ?? 0,
    openfga: openfga.process.pid ?? 0,
  })
  stack.defer(processors.stop)
  await importAll(service, 0, 200, new AbortController())
  const idle = questions > 0 ? await ask(service, 300, new AbortController().signal) : undefined
  const [before, spentBefore, callsBefore] = [
    await service.counts(),
    await processors.spent(),
    await openfga.calls(),
  ]
  const since = performance.now()
  const over = new AbortController()
  const asking = questions > 0 ? ask(service, Infinity, over.signal) : undefined
  const peak = await importAll(service, 200, documents, over)
  const seconds = (performance.now() - since) / 1_000
  const meanwhile = await asking
  const [after, spent, calls] = [await service.counts(), await processors.spent(), await openfga.calls()]
  const each = (total: number): string => (total / documents).toFixed(2)
  console.log(
    `${root}: ${documents} documents, ${(documents / seconds).toFixed(0)}/s; each: processor ms ` +
      `Node ${each(spent.node - spentBefore.node)}, Postgres ${each(spent.postgres - spentBefore.postgres)}, ` +
      `OpenFGA ${each(spent.openfga - spentBefore.openfga)}; ${each(after.statements - before.statements)} statements, ` +
      `${[...calls].map(([name, count]) => `${name} ${each(count - (callsBefore.get(name) ?? 0))}`).join(', ')}, ` +
      `${each(after.embeddings - before.embeddings)} embedding calls; memory ${before.megabytes.toFixed(0)} MB before, ` +
      `${peak.toFixed(0)} at most (load ${loadavg()[0]?.toFixed(1)})`,
  )
  if (idle && meanwhile)
    console.log(`  /retrieve p50, p99 alone ${shown(idle)}; beside the import ` + `${shown(meanwhile)}`)
  if (values.statements) listStatements(before, after)
}

function listStatements(before: Counts, after: Counts): void {
  const since = Object.entries(after.byStatement)
    .map(([name, count]) => [name, (count - (before.byStatement[name] ?? 0)) / documents] as const)
    .sort(([, a], [, b]) => b - a)
  for (const [name, count] of since.slice(0, 40)) console.log(`  ${count.toFixed(3)} ${name}`)
}

function shown({ ms, refused }: Asking): string {
  return `${at(ms, 0.5)}, ${at(ms, 0.99)} ms (${ms.length}, ${refused} refused)`
}

function at(ms: readonly number[], share: number): string {
  return (ms.toSorted((a, b) => a - b)[Math.floor(ms.length * share)] ?? Number.NaN).toFixed(1)
}

interface Child {
  readonly process: ChildProcess
  readonly url: string
  counts(collects?: boolean): Promise<Counts>
  token(options: TokenOptions): Promise<string>
}

async function startChild(root: string, databaseUrl: string, openfgaUrl: string): Promise<Child> {
  const child = fork(new URL('rate-service.ts', import.meta.url), {
    env: {
      ...process.env,
      RATE_ROOT: root,
      DATABASE_URL: databaseUrl,
      OPENFGA_API_URL: openfgaUrl,
      OPENFGA_API_TOKEN: apiToken,
    },
    execArgv: [
      ...(values.profile === undefined ? [] : ['--cpu-prof', `--cpu-prof-dir=${values.profile}`]),
      ...(values.memory === '0' ? [] : ['--expose-gc']),
    ],
    stdio: ['ignore', 'ignore', 'inherit', 'ipc'],
  })
  const ready = Promise.withResolvers<string>()
  const tokens = new Map<number, (token: string) => void>()
  const counted = new Map<number, (counts: Counts) => void>()
  child.once('exit', (code, signal) => ready.reject(new Error(`the service ended: ${code ?? signal}`)))
  child.on('message', (told: Told) => {
    if (told.kind === 'ready') ready.resolve(told.url)
    else if (told.kind === 'counts') counted.get(told.id)?.(told)
    else tokens.get(told.id)?.(told.token)
  })
  const url = await ready.promise
  let ids = 0
  return {
    process: child,
    url,
    counts: (collects = false) =>
      new Promise((resolve) => {
        const id = ids++
        counted.set(id, resolve)
        child.send({ kind: 'counts', id, collects } satisfies Asked)
      }),
    token: (options) =>
      new Promise((resolve) => {
        const id = ids++
        tokens.set(id, resolve)
        child.send({ kind: 'token', id, options } satisfies Asked)
      }),
  }
}

interface Openfga {
  readonly process: ChildProcess
  readonly url: string
  /** Calls since it started, by method. */
  calls(): Promise<ReadonlyMap<string, number>>
}

async function startOpenfga(databaseUrl: string): Promise<Openfga> {
  const [port, grpcPort, metricsPort] = [await freePort(), await freePort(), await freePort()]
  const env = {
    ...process.env,
    OPENFGA_DATASTORE_ENGINE: 'postgres',
    OPENFGA_DATASTORE_URI: databaseUrl,
    OPENFGA_HTTP_ADDR: `127.0.0.1:${port}`,
    OPENFGA_GRPC_ADDR: `127.0.0.1:${grpcPort}`,
    OPENFGA_METRICS_ADDR: `127.0.0.1:${metricsPort}`,
    OPENFGA_PLAYGROUND_ENABLED: 'false',
    OPENFGA_AUTHN_METHOD: 'preshared',
    OPENFGA_AUTHN_PRESHARED_KEYS: apiToken,
    OPENFGA_RESOLVE_NODE_BREADTH_LIMIT: '1',
    OPENFGA_LOG_LEVEL: 'error',
    GOGC: '400',
  }
  execFileSync(program as string, ['migrate'], { env, stdio: 'ignore' })
  const child = spawn(program as string, ['run'], { env, stdio: 'ignore' })
  const url = `http://127.0.0.1:${port}`
  for (let tries = 0; tries < 200; tries++) {
    const isUp = await fetch(`${url}/healthz`).then(
      ({ ok }) => ok,
      () => false,
    )
    if (isUp) break
    await sleep(50)
  }
  return {
    process: child,
    url,
    async calls() {
      const text = await (await fetch(`http://127.0.0.1:${metricsPort}/metrics`)).text()
      const counted = new Map<string, number>()
      for (const [, name = '', count] of text.matchAll(
        /^grpc_server_handled_total\{grpc_code="[^"]*",grpc_method="([^"]+)"[^}]*\} (\d+)$/gm,
      ))
        counted.set(name, (counted.get(name) ?? 0) + Number(count))
      return new Map([...counted].filter(([name]) => ['Write', 'Read', 'BatchCheck', 'Check'].includes(name)))
    },
  }
}

async function end(child: ChildProcess): Promise<void> {
  if (child.exitCode !== null || child.signalCode !== null) return
  const ended = once(child, 'exit')
  if (child.connected) child.disconnect()
  else child.kill('SIGTERM')
  const timer = setTimeout(() => child.kill('SIGKILL'), 15_000)
  await ended
  clearTimeout(timer)
}

function serviceToken(service: Child): Promise<string> {
  return service.token({ sub: serviceClient, client_id: serviceClient, scope: 'docs.write directory.write' })
}

/** Resolves when every one of them is published, with the most memory that the service took meanwhile. */
async function importAll(
  service: Child,
  from: number,
  count: number,
  over: AbortController,
): Promise<number> {
  const headers = {
    authorization: `Bearer ${await serviceToken(service)}`,
    'content-type': 'application/x-ndjson',
  }
  let peak = 0
  const watch = setInterval(
    () => void service.counts().then(({ megabytes }) => (peak = Math.max(peak, megabytes))),
    500,
  )
  const memory = createMemory(count)
  const accepting = new AbortController()
  let looking: Promise<void> | undefined
  try {
    // `fetch` waits no more than five minutes for an answer.
    if (from > 0) looking = memory.follow(service, accepting.signal)
    const sent = request(`${service.url}/imports`, { method: 'POST', headers })
    const answered = once(sent, 'response') as Promise<[IncomingMessage]>
    await pipeline(Readable.from(lines(from, count)), sent)
    const [response] = await answered
    accepting.abort()
    await looking
    const { job } = (await json(response)) as { job?: { id: string } }
    if (job === undefined) throw new Error(`The import was answered with ${response.statusCode}.`)
    for (;;) {
      const answer = await fetch(`${service.url}/jobs/${job.id}`, {
        headers: { authorization: `Bearer ${await serviceToken(service)}` },
      })
      const { state, failed, done } = (await answer.json()) as Progress
      if (from > 0) await memory.at(done, service)
      if (failed > 0 || state === 'failed') throw new Error(`${failed} documents failed.`)
      if (state === 'done') {
        memory.tell()
        return peak
      }
      await sleep(100)
    }
  } finally {
    over.abort()
    accepting.abort()
    clearInterval(watch)
  }
}

interface Progress {
  readonly state: string
  readonly failed: number
  readonly done: number
}

/** What the service holds at each step, and by how much it grew for each document. */
function createMemory(count: number) {
  const steps = Number(values.memory)
  const seen: { readonly done: number; readonly rss: number; readonly held: number }[] = []
  return {
    /** The job is not known by its id before all was sent: until then it is the newest. */
    async follow(service: Child, signal: AbortSignal): Promise<void> {
      while (steps > 0 && !signal.aborted) {
        const answer = await fetch(`${service.url}/jobs?limit=1`, {
          headers: { authorization: `Bearer ${await serviceToken(service)}` },
        })
        const { jobs } = (await answer.json()) as { jobs: readonly Progress[] }
        const [newest] = jobs
        if (newest !== undefined && newest.state !== 'done') await this.at(newest.done, service)
        await sleep(200)
      }
    },
    async at(done: number, service: Child): Promise<void> {
      if (steps === 0 || done < ((seen.length + 1) * count) / steps) return
      const { megabytes, heldMegabytes } = await service.counts(true)
      seen.push({ done, rss: megabytes, held: heldMegabytes })
      console.log(
        `  ${done} documents: ${megabytes.toFixed(0)} MB, of that held ${heldMegabytes.toFixed(1)} MB`,
      )
    },
    tell(): void {
      const [first, last] = [seen[0], seen.at(-1)]
      if (first === undefined || last === undefined || first === last) return
      const slope = (more: number): string => ((more * 1_048_576) / (last.done - first.done)).toFixed(0)
      console.log(`  bytes a document: ${slope(last.rss - first.rss)}, held ${slope(last.held - first.held)}`)
    },
  }
}

function* lines(from: number, count: number): Generator<string> {
  for (let nth = from; nth < from + count; nth++)
    yield `${JSON.stringify({
      id: `shelf/${nth}`,
      collection,
      title: `Note ${nth}`,
      text: `Note ${nth} says what was agreed on travel, budgets and the harvest of ${nth % 900}, and who was there.`,
      access: { owner: `user:bench/p${nth % 50}`, viewers: ['group:bench/all#member'], parents: [folder] },
    })}\n`
}

interface Asking {
  /** How long each answer took, refusals too. */
  readonly ms: readonly number[]
  readonly refused: number
}

/** Puts questions at their times, however late the answers are. Gives how long each took. */
async function ask(service: Child, count: number, over: AbortSignal): Promise<Asking> {
  const ms: number[] = []
  let refused = 0
  const under: Promise<void>[] = []
  let token = await service.token({ sub: 'p1' })
  for (let nth = 0; nth < count && !over.aborted; nth++) {
    if (nth % 2_000 === 1_999) token = await service.token({ sub: 'p1' })
    under.push(one(nth, token))
    await sleep(1_000 / questions)
  }
  await Promise.all(under)
  return { ms, refused }

  async function one(nth: number, bearer: string): Promise<void> {
    const since = performance.now()
    const response = await fetch(`${service.url}/retrieve`, {
      method: 'POST',
      headers: { authorization: `Bearer ${bearer}`, 'content-type': 'application/json' },
      body: JSON.stringify({ query: `harvest of ${nth % 900} and budgets` }),
    })
    await response.arrayBuffer()
    if (!response.ok) refused += 1
    ms.push(performance.now() - since)
  }
}

interface Spent {
  readonly node: number
  readonly openfga: number
  readonly postgres: number
}

/** Processor milliseconds; of connections that come and go what was last seen of each. */
async function watchProcessors(databases: readonly string[], of: { node: number; openfga: number }) {
  const { default: pg } = await import('pg')
  const client = new pg.Client({ connectionString: admin as string })
  await client.connect()
  const byBackend = new Map<number, number>()
  const look = async (): Promise<void> => {
    const { rows } = await client.query<{ pid: number }>(
      'select pid from pg_stat_activity where datname = any($1)',
      [databases],
    )
    for (const { pid } of rows) byBackend.set(pid, Math.max(byBackend.get(pid) ?? 0, spentBy(pid)))
  }
  const timer = setInterval(() => void look().catch(() => undefined), 1_000)
  return {
    async spent(): Promise<Spent> {
      await look()
      const postgres = [...byBackend.values()].reduce((sum, ms) => sum + ms, 0)
      return { node: spentBy(of.node), openfga: spentBy(of.openfga), postgres }
    },
    async stop(): Promise<void> {
      clearInterval(timer)
      await client.end()
    },
  }
}

// User and system time in ticks of 10 ms, all threads: proc(5). A name may hold blanks, but no bracket after
// it.
function spentBy(pid: number): number {
  try {
    const fields = readFileSync(`/proc/${pid}/stat`, 'utf8').split(') ').at(-1)?.split(' ') ?? []
    return (Number(fields[11]) + Number(fields[12])) * 10
  } catch {
    return 0
  }
}
