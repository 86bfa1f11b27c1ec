import { type ChildProcess, spawn } from 'node:child_process'
import { readFile } from 'node:fs/promises'
import { setTimeout as sleep } from 'node:timers/promises'
import { transformer } from '@openfga/syntax-transformer'
import { check, compileModel, createMemo, createTupleStore, type JsonObject } from '@remit/engine'
import { contextAt, type Fga, type Tuple } from '../../src/authz/fga.ts'
import { createFga, createFgaApi } from '../../src/authz/openfga.ts'
import type { FgaObject } from '../../src/kernel/ids.ts'
import { freePort } from '../../test/support/port.ts'

/**
 * BatchCheck of 50 mixed documents: the engine in this process against the real server over HTTP, without and
 * with its caches. Needs OPENFGA_BINARY; both servers keep their tuples in memory, which is the fastest they
 * can.
 */
const binary = process.env.OPENFGA_BINARY
if (binary === undefined) throw new Error('Set OPENFGA_BINARY to the openfga program (1.22.1).')

const people = 200
const groups = 60
const folders = 120
const documents = 3_000
const rounds = 20
const apiToken = 'key-of-the-benchmark'
const dsl = await readFile(new URL('../../model.fga', import.meta.url), 'utf8')
const model = transformer.transformDSLToJSONObject(dsl)
const tuples = world()
const batches = Array.from({ length: rounds }, (_, round) => ({
  user: `user:p${(round * 37) % people}` as FgaObject,
  ids: Array.from({ length: 50 }, (_, index) => (round * 911 + index * 61) % documents),
}))

const engine = inProcess()
const rows: [string, number[], string][] = []
rows.push(['engine, in process', ...(await time(engine))])
for (const caches of [false, true]) {
  const server = await startServer(caches)
  try {
    const api = createFgaApi({ apiUrl: server.url, apiToken, timeoutMs: 30_000 })
    const { id: storeId } = await api.createStore({ name: 'benchmark' })
    const { authorization_model_id } = await api.writeAuthorizationModel(storeId, model)
    const fga = createFga(api, storeId, () => authorization_model_id)
    await fga.write({ writes: tuples })
    rows.push([`server over HTTP, caches ${caches ? 'on' : 'off'}`, ...(await time(overHttp(fga)))])
  } finally {
    server.process.kill()
  }
}
const [first] = rows
for (const [name, times, answers] of rows) {
  const [p50, p95] = [quantile(times, 0.5), quantile(times, 0.95)]
  const ratio = p50 / quantile(first?.[1] ?? [], 0.5)
  console.log(
    `${name}: p50 ${p50.toFixed(3)} ms, p95 ${p95.toFixed(3)} ms, ${ratio.toFixed(0)}x the engine's p50, ` +
      `answers ${answers === first?.[2] ? 'equal' : 'DIFFER'}`,
  )
}
const allowed = [...(first?.[2] ?? '')].filter((one) => one === '1').length
console.log(
  `${tuples.length} tuples, ${rounds} batches of 50, ${((allowed / rounds / 50) * 100).toFixed(0)} % allowed`,
)
if (rows.some(([, , answers]) => answers !== first?.[2])) process.exitCode = 1

type Ask = (user: FgaObject, ids: readonly number[]) => Promise<boolean[]>

/** Each batch once for each way, after a few that are not counted. */
async function time(ask: Ask): Promise<[number[], string]> {
  for (const { user, ids } of batches.slice(0, 5)) await ask(user, ids)
  const times: number[] = []
  let answers = ''
  for (const { user, ids } of batches) {
    const started = performance.now()
    const verdicts = await ask(user, ids)
    times.push(performance.now() - started)
    answers += verdicts.map(Number).join('')
  }
  return [times, answers]
}

function inProcess(): Ask {
  const store = createTupleStore()
  for (const [index, tuple] of tuples.entries()) store.add(tuple as never, String(index).padStart(9, '0'))
  const compiled = compileModel(JSON.parse(JSON.stringify(model)) as JsonObject)
  return async (user, ids) => {
    const memo = createMemo()
    const context = contextAt(Date.now())
    return ids.map((id) =>
      check(compiled, store, { user, relation: 'can_read', object: `document:d${id}`, context }, memo),
    )
  }
}

function overHttp(fga: Fga): Ask {
  return async (user, ids) => {
    const checks = ids.map((id) => ({ user, relation: 'can_read', object: `document:d${id}` as FgaObject }))
    const { verdicts } = await fga.batchCheck(checks, { now: Date.now(), consistency: 'cached' })
    return verdicts.map((verdict) => verdict === 'allowed')
  }
}

/** Groups in groups, folders in folders, some documents owned, some blocked. */
function world(): Tuple[] {
  const tuple = (user: string, relation: string, object: string): Tuple => ({
    user,
    relation,
    object: object as FgaObject,
  })
  const all: Tuple[] = []
  for (let p = 0; p < people; p += 1)
    for (const g of [p % groups, (p * 7 + 3) % groups]) all.push(tuple(`user:p${p}`, 'member', `group:g${g}`))
  for (let g = 1; g < groups; g += 1)
    all.push(tuple(`group:g${g}#member`, 'member', `group:g${Math.floor((g - 1) / 4)}`))
  for (let f = 0; f < folders; f += 1) {
    if (f > 0) all.push(tuple(`folder:f${Math.floor((f - 1) / 4)}`, 'parent', `folder:f${f}`))
    all.push(tuple(`group:g${(f * 11 + 5) % groups}#member`, 'viewer', `folder:f${f}`))
  }
  for (let d = 0; d < documents; d += 1) {
    all.push(tuple(`folder:f${(d * 13) % folders}`, 'parent', `document:d${d}`))
    if (d % 3 === 0) all.push(tuple(`user:p${(d * 17) % people}`, 'owner', `document:d${d}`))
    if (d % 5 === 0) all.push(tuple(`group:g${(d * 19) % groups}#member`, 'blocked', `document:d${d}`))
  }
  return [...new Map(all.map((one) => [JSON.stringify(one), one])).values()]
}

async function startServer(
  caches: boolean,
): Promise<{ readonly url: string; readonly process: ChildProcess }> {
  const [http, grpc] = [await freePort(), await freePort()]
  const child = spawn(binary as string, ['run'], {
    stdio: 'ignore',
    env: {
      OPENFGA_DATASTORE_ENGINE: 'memory',
      OPENFGA_AUTHN_METHOD: 'preshared',
      OPENFGA_AUTHN_PRESHARED_KEYS: apiToken,
      OPENFGA_HTTP_ADDR: `127.0.0.1:${http}`,
      OPENFGA_GRPC_ADDR: `127.0.0.1:${grpc}`,
      OPENFGA_PLAYGROUND_ENABLED: 'false',
      OPENFGA_METRICS_ENABLED: 'false',
      OPENFGA_LOG_LEVEL: 'error',
      OPENFGA_CHECK_QUERY_CACHE_ENABLED: String(caches),
      OPENFGA_CHECK_ITERATOR_CACHE_ENABLED: String(caches),
      OPENFGA_CACHE_CONTROLLER_ENABLED: String(caches),
    },
  })
  const url = `http://127.0.0.1:${http}`
  for (let tries = 0; tries < 100; tries += 1) {
    if (
      await fetch(`${url}/healthz`).then(
        ({ ok }) => ok,
        () => false,
      )
    )
      return { url, process: child }
    await sleep(100)
  }
  child.kill()
  throw new Error('OpenFGA does not answer.')
}

function quantile(values: readonly number[], share: number): number {
  const sorted = [...values].sort((a, b) => a - b)
  return sorted[Math.min(sorted.length - 1, Math.floor(sorted.length * share))] ?? Number.NaN
}
