import { type ChildProcess, execFileSync, spawn } from 'node:child_process'
import { mkdtempSync, readFileSync, rmSync, writeFileSync } from 'node:fs'
import { tmpdir } from 'node:os'
import { join } from 'node:path'
import { setTimeout as sleep } from 'node:timers/promises'
import { openPostgres } from '../../src/store/postgres.ts'
import { type Certificate, createAuthority } from '../../test/support/certificate.ts'
import { startTestIssuer } from '../../test/support/issuer.ts'
import { freePort } from '../../test/support/port.ts'

/**
 * What a process that answers weighs with a million tuples in OpenFGA, asked by 50 people: holding them, and
 * asking two nominators with half of the people each, of which one is killed in the end. Each is a process of
 * its own. Needs DATABASE_URL (an empty database, which is filled), OPENFGA_API_URL and OPENFGA_API_TOKEN.
 * `TUPLES` (default 1,000,000) and `DOCUMENTS` (default 100,000) may be set. Ends with 1 where the process
 * that asks weighs more than 250 MB in a small heap.
 */
const { DATABASE_URL, OPENFGA_API_URL, OPENFGA_API_TOKEN, TUPLES = '1000000' } = process.env
const { DOCUMENTS = '100000' } = process.env
if (DATABASE_URL === undefined || OPENFGA_API_URL === undefined || OPENFGA_API_TOKEN === undefined)
  throw new Error('Set DATABASE_URL, OPENFGA_API_URL and OPENFGA_API_TOKEN.')

const boundMegabytes = 250
// Node keeps what it once needed: most of it for the modules as they are loaded.
const smallHeap = '--max-old-space-size=144 --max-semi-space-size=2'
const people = 50
const rounds = 4
const folder = mkdtempSync(join(tmpdir(), 'remit-nominators-'))
const children: ChildProcess[] = []
const authority = createAuthority()
await using issuer = await startTestIssuer({ namespace: 'bench', serviceClients: {} })

try {
  // A start makes the tables, the store and the place in the log, which rows may be ahead of.
  const first = await startProcess('first', {})
  await sleep(3_000)
  await stop(first)
  await fill(Number(TUPLES), Number(DOCUMENTS))
  const holding = await startProcess('holding', {})
  console.log(`holds everything: ${await ask(holding)}, ${residentOf(holding)} MB`)
  await stop(holding)
  const ports = [await freePort(), await freePort()]
  const nominators: Running[] = []
  for (const [at, port] of ports.entries()) {
    const issued = authority.issue({ addresses: ['127.0.0.1'], uris: ['urn:remit:role:nominator'] })
    const env = { REMIT_ROLE: 'nominator', NOMINATOR_SHARE: `${at + 1}/2`, PORT: String(port) }
    nominators.push(await startProcess(`nominator-${at}`, { ...env, ...files(`n${at}`, issued) }))
  }
  const asks = {
    REMIT_ROLE: 'api',
    NOMINATOR_URLS: ports.map((port) => `https://127.0.0.1:${port}`).join(';'),
    ...files('api', authority.issue({ uris: ['urn:remit:role:api'] })),
  }
  const roomy = await startProcess('roomy', asks)
  console.log(`holds nothing: ${await ask(roomy)}, ${residentOf(roomy)} MB`)
  await stop(roomy)
  const asking = await startProcess('asking', { ...asks, NODE_OPTIONS: smallHeap })
  const said = await ask(asking)
  console.log(`the same with ${smallHeap}: ${said}, ${residentOf(asking)} MB of ${boundMegabytes}`)
  if (residentOf(asking) > boundMegabytes) process.exitCode = 1
  console.log(`nominators of half of the people each: ${nominators.map(residentOf).join(' and ')} MB`)
  nominators[0]?.child.kill('SIGKILL')
  console.log(`one killed: ${await ask(asking)}`)
} finally {
  for (const child of children) child.kill()
  rmSync(folder, { recursive: true, force: true })
}

/** A process of the service, and where it answers. */
interface Running {
  readonly child: ChildProcess
  readonly url: string
}

/** Starts one and waits until it is ready. */
async function startProcess(name: string, env: Readonly<Record<string, string>>): Promise<Running> {
  const [port, ops] = [env['PORT'] ?? String(await freePort()), String(await freePort())]
  const child = spawn(process.execPath, [new URL('../../src/main.ts', import.meta.url).pathname], {
    env: {
      ...process.env,
      REMIT_DEMO: 'false',
      TRUSTED_ISSUERS: JSON.stringify([issuer.entry()]),
      OPENFGA_SECONDARY: 'none',
      RATE_PER_MINUTE: '1000000',
      // Nothing is embedded.
      EMBEDDINGS_BASE_URL: 'http://127.0.0.1:9/v1',
      EMBEDDINGS_MODEL: 'none',
      EMBEDDINGS_DIMENSIONS: '384',
      REMIT_HOME: join(folder, name),
      OPS_PORT: ops,
      ...env,
      PORT: port,
    },
    stdio: ['ignore', 'ignore', 'ignore'],
  })
  children.push(child)
  for (let tries = 0; ; tries++) {
    const state = await fetch(`http://127.0.0.1:${ops}/readyz`).then(
      async (response) => (response.ok ? ((await response.json()) as Readiness) : undefined),
      () => undefined,
    )
    if (state?.permission_index.state === 'following') break
    if (tries > 600 || child.exitCode !== null) throw new Error(`${name} does not come up`)
    await sleep(500)
  }
  return { child, url: `http://localhost:${port}` }
}

interface Readiness {
  readonly permission_index: { readonly state: string }
}

async function stop({ child }: Running): Promise<void> {
  const ended = new Promise((resolve) => child.once('exit', resolve))
  child.kill()
  await ended
}

/** Everybody asks in turn; says how that ended. */
async function ask({ url }: Running): Promise<string> {
  const tookMs: number[] = []
  const count = new Map<string, number>()
  for (let number = 0; number < rounds * people; number++) {
    const token = await issuer.token({ sub: `p${number % people}` })
    const began = performance.now()
    const response = await fetch(`${url}/retrieve`, {
      method: 'POST',
      headers: { authorization: `Bearer ${token}`, 'content-type': 'application/json' },
      body: JSON.stringify({ query: 'llama', mode: 'keyword', top_k: 10 }),
    })
    tookMs.push(performance.now() - began)
    const { complete } = (await response.json()) as { readonly complete?: boolean }
    const outcome = response.ok ? (complete ? 'complete' : 'not complete') : String(response.status)
    count.set(outcome, (count.get(outcome) ?? 0) + 1)
  }
  tookMs.sort((a, b) => a - b)
  const at = (share: number) => Math.round(tookMs[Math.floor(tookMs.length * share)] ?? Number.NaN)
  return `${[...count].map(([outcome, times]) => `${times} ${outcome}`).join(', ')}, p50 ${at(0.5)} ms, p95 ${at(0.95)} ms`
}

/** A tenth memberships of groups, a hundredth folders, the rest documents in folders. */
async function fill(tuples: number, documents: number): Promise<void> {
  await using database = await openPostgres({ url: DATABASE_URL ?? '', poolSize: 2 })
  await database.query(`insert into collections (id, title) values ('c', 'c')`)
  for (let start = 0; start < documents; start += 50_000)
    await database.query(
      `insert into documents (id, collection, live_revision, publication, chunk_count)
       select 'd' || n, 'c', 1, n + 1, 1 from generate_series($1::int, $2::int) as n`,
      [start, Math.min(documents, start + 50_000) - 1],
    )
  for (let start = 0; start < tuples; start += 200_000)
    await database.query(
      `insert into index_tuples (object, relation, subject, written_at)
       select case when n % 10 = 0 then 'group:g' || n / 10 % 2000
                   when n % 100 = 1 then 'folder:f' || n / 100
                   else 'document:d' || n % $3 end,
              case when n % 10 = 0 then 'member' when n % 100 = 1 then 'viewer' else 'parent' end,
              case when n % 10 = 0 then 'user:bench/p' || n / 10
                   when n % 100 = 1 then 'group:g' || n / 100 % 2000 || '#member'
                   else 'folder:f' || n / 100 end,
              1700000000000 + n
       from generate_series($1::int, $2::int) as n`,
      [start, Math.min(tuples, start + 200_000) - 1, documents],
    )
}

/** Settings that name these as files. */
function files(name: string, { cert, key }: Certificate): Record<string, string> {
  const paths = Object.entries({ CERT: cert, KEY: key, CA: authority.cert }).map(([kind, text]) => {
    const path = join(folder, `${name}-${kind}.pem`)
    writeFileSync(path, text)
    return [`NOMINATOR_TLS_${kind}`, path] as const
  })
  return Object.fromEntries(paths)
}

/** Megabytes of memory that are its own or shared. */
function residentOf({ child: { pid } }: Running): number {
  const status = process.platform === 'linux' ? readFileSync(`/proc/${pid}/status`, 'utf8') : ''
  const kilobytes =
    /VmRSS:\s+(\d+)/.exec(status)?.[1] ?? execFileSync('ps', ['-o', 'rss=', '-p', String(pid)]).toString()
  return Math.round(Number(kilobytes) / 1_000)
}
