import { type ChildProcess, fork } from 'node:child_process'
import { once } from 'node:events'
import { loadavg } from 'node:os'
import { setTimeout as sleep } from 'node:timers/promises'
import { parseArgs } from 'node:util'
import { administer } from '../../test/support/administer.ts'
import type { TokenOptions } from '../../test/support/issuer.ts'
import { native } from '../../test/support/native.ts'
import { startOpensearchNodes } from '../../test/support/opensearch-nodes.ts'
import { quantile } from '../search/statistics.ts'
import { serviceClient } from '../support/running.ts'
import { type Asked, collection, type Told } from './fresh-messages.ts'

/**
 * Two processes of Remit over nodes of OpenSearch: how long after one says that a document is published the
 * other finds it; whether the other still finds it once the first has said that it is withdrawn, with 1 at
 * the end where it does; and how long it does once the first has said that its reader is gone, since `fast`
 * repeats a yes until the removal is seen. Needs what bench:cluster needs, and EMBEDDINGS_MODEL_PATH.
 *
 *   npm run bench:cluster-fresh -- --documents 100 --nodes 3
 */
const { values } = parseArgs({
  options: { documents: { type: 'string', default: '100' }, nodes: { type: 'string', default: '3' } },
})
const [documents, count] = [values.documents, values.nodes].map(Number) as [number, number]
const admin = native.databaseUrl
if (admin === undefined || native.openfga === undefined)
  throw new Error('Set TEST_DATABASE_URL, OPENFGA_TEST_URL and OPENFGA_TEST_TOKEN.')

await using stack = new AsyncDisposableStack()
const nodes = stack.use(await startOpensearchNodes(count))
const name = `remit_fresh_${process.pid}`
await administer(admin, `create database ${name}`)
stack.defer(() => administer(admin, `drop database if exists ${name} with (force)`))
const databaseUrl = Object.assign(new URL(admin), { pathname: `/${name}` }).href
const writer = await start()
const asker = await start()
const person = 'p1'
const askerToken = await asker.token({
  sub: person,
  client_id: 'person-app',
  scope: 'docs.search',
  ttl: 3_000,
})

const times = {
  published: [] as number[],
  found: [] as number[],
  withdrawn: [] as number[],
  revoked: [] as number[],
}
const after = { withdrawn: 0, revoked: 0 }
for (let nth = 0; nth < documents; nth += 1) {
  const id = `${collection}/${nth}`
  const began = performance.now()
  await publish(id, nth)
  const published = performance.now()
  times.published.push(published - began)
  while (!(await isFound(id, nth))) await sleep(5)
  times.found.push(performance.now() - published)
  const how = nth % 2 === 0 ? 'withdrawn' : 'revoked'
  if (how === 'withdrawn') await call(writer, 'DELETE', pathOf(id))
  else await call(writer, 'PUT', `${pathOf(id)}/access`, { viewers: [] })
  const ended = performance.now()
  while (await isFound(id, nth)) after[how] += 1
  times[how].push(performance.now() - ended)
}
for (const [what, ms] of Object.entries(times))
  console.log(
    `${what}: p50 ${quantile(ms, 0.5).toFixed(0)} ms, p99 ${quantile(ms, 0.99).toFixed(0)} ms, most ${quantile(ms, 1).toFixed(0)} ms`,
  )
console.log(
  `${documents} documents on ${count} nodes; answers that had one after it was withdrawn: ${after.withdrawn}, after its reader was gone: ${after.revoked} (load ${loadavg()[0]?.toFixed(0)})`,
)
if (after.withdrawn > 0) process.exitCode = 1

async function publish(id: string, nth: number): Promise<void> {
  const { job } = (await call(writer, 'PUT', pathOf(id), {
    collection,
    title: `Note ${nth}`,
    text: `Note ${nth} says what was agreed on the harvest of ${nth}.`,
    access: { owner: 'user:bench/owner', viewers: [`user:bench/${person}`] },
  })) as { job: { id: string } }
  for (;;) {
    const { state, errors } = (await call(writer, 'GET', `/jobs/${job.id}`)) as {
      state: string
      errors: unknown
    }
    if (state === 'done') return
    if (state === 'failed') throw new Error(JSON.stringify(errors))
    await sleep(5)
  }
}

/** Of the other process, which has heard nothing of it but what the database tells. */
async function isFound(id: string, nth: number): Promise<boolean> {
  const response = await fetch(`${asker.url}/retrieve`, {
    method: 'POST',
    headers: { authorization: `Bearer ${askerToken}`, 'content-type': 'application/json' },
    body: JSON.stringify({ query: `harvest of ${nth}` }),
  })
  if (!response.ok) throw new Error(`${response.status} ${await response.text()}`)
  const { results } = (await response.json()) as { results: readonly { document_id: string }[] }
  return results.some(({ document_id }) => document_id === id)
}

function pathOf(id: string): string {
  return `/documents/${encodeURIComponent(id)}`
}

interface Process {
  readonly url: string
  token(options: TokenOptions): Promise<string>
}

async function call(of: Process, method: string, path: string, body?: object): Promise<unknown> {
  const token = await of.token({ sub: serviceClient, client_id: serviceClient, scope: 'docs.write' })
  const response = await fetch(`${of.url}${path}`, {
    method,
    headers: { authorization: `Bearer ${token}`, 'content-type': 'application/json' },
    ...(body !== undefined && { body: JSON.stringify(body) }),
  })
  if (!response.ok) throw new Error(`${method} ${path}: ${response.status} ${await response.text()}`)
  return response.json()
}

async function start(): Promise<Process> {
  const child = fork(new URL('fresh-service.ts', import.meta.url), {
    env: { ...process.env, DATABASE_URL: databaseUrl, SEARCH_ENGINE_URLS: nodes.urls.join() },
    stdio: ['ignore', 'ignore', 'inherit', 'ipc'],
  })
  stack.defer(() => end(child))
  const ready = Promise.withResolvers<string>()
  const tokens = new Map<number, (token: string) => void>()
  child.once('exit', (code, signal) => ready.reject(new Error(`a service ended: ${code ?? signal}`)))
  child.on('message', (told: Told) => {
    if ('url' in told) ready.resolve(told.url)
    else tokens.get(told.id)?.(told.token)
  })
  let ids = 0
  return {
    url: await ready.promise,
    token: (options) =>
      new Promise((resolve) => {
        const id = ids++
        tokens.set(id, resolve)
        child.send({ id, options } satisfies Asked)
      }),
  }
}

async function end(child: ChildProcess): Promise<void> {
  if (child.exitCode !== null || child.signalCode !== null) return
  const ended = once(child, 'exit')
  child.disconnect()
  await ended
}
