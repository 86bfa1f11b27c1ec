import { fork } from 'node:child_process'
import { randomBytes } from 'node:crypto'
import { setTimeout as sleep } from 'node:timers/promises'
import { parseArgs } from 'node:util'
import { hostileDocuments } from '../../test/ingest/hostile-documents.ts'
import { administer } from '../../test/support/administer.ts'
import type { TokenOptions } from '../../test/support/issuer.ts'
import { native } from '../../test/support/native.ts'
import { serviceClient } from '../support/running.ts'
import { collection, documents, type Told } from './shelf.ts'

/**
 * Whether one service that sends hostile documents stops anybody: 64 clients ask by words and open documents for five
 * minutes, the first of them alone, while every document of test/ingest/hostile-documents.ts is put, one after the other
 * and again. Native Postgres and a real OpenFGA server (TEST_DATABASE_URL, a database is made there; OPENFGA_TEST_URL,
 * OPENFGA_TEST_TOKEN). `--seconds 300`, `--alone 60`, `--clients 64`, `--scale 1`. Ends with 1 on a 5xx that is no 503, a 503
 * without a code, a last minute that holds a fifth more memory than the first under bombs, or a service that is not whole.
 */
const { values } = parseArgs({
  options: {
    seconds: { type: 'string', default: '300' },
    alone: { type: 'string', default: '60' },
    clients: { type: 'string', default: '64' },
    scale: { type: 'string', default: '1' },
  },
})
const [seconds, alone, clients] = [Number(values.seconds), Number(values.alone), Number(values.clients)]
if (native.databaseUrl === undefined || native.openfga === undefined)
  throw new Error('Set TEST_DATABASE_URL, OPENFGA_TEST_URL and OPENFGA_TEST_TOKEN.')

await using stack = new AsyncDisposableStack()
const name = `remit_bench_${randomBytes(6).toString('hex')}`
const admin = native.databaseUrl
await administer(admin, `create database ${name}`)
stack.defer(() => administer(admin, `drop database if exists ${name} with (force)`))
const own = new URL(admin)
own.pathname = `/${name}`

const child = fork(new URL('service.ts', import.meta.url), {
  env: { ...process.env, DATABASE_URL: own.href },
  stdio: ['ignore', 'ignore', 'ignore', 'ipc'],
})
stack.defer(async () => {
  if (child.exitCode !== null) return
  child.kill('SIGKILL')
  await new Promise((resolve) => child.once('exit', resolve))
})
const ready = Promise.withResolvers<Extract<Told, { kind: 'ready' }>>()
const waiting = new Map<number, (token: string) => void>()
const states: Extract<Told, { kind: 'state' }>[] = []
child.once('exit', (code, signal) => ready.reject(new Error(`the service ended: ${code ?? signal}`)))
child.on('message', (told: Told) => {
  if (told.kind === 'ready') ready.resolve(told)
  else if (told.kind === 'state') states.push(told)
  else waiting.get(told.id)?.(told.token)
})
const { url, backend } = await ready.promise

let ids = 0
function token(options: TokenOptions): Promise<string> {
  const id = ids++
  const { promise, resolve } = Promise.withResolvers<string>()
  waiting.set(id, resolve)
  child.send({ id, options })
  return promise.finally(() => waiting.delete(id))
}

interface Answered {
  readonly at: number
  readonly ms: number
  /** `200`, `503 deadline_exceeded`. */
  readonly what: string
}
const answers: Record<'read' | 'health' | 'put', Answered[]> = { read: [], health: [], put: [] }

async function ask(kind: keyof typeof answers, path: string, init: RequestInit = {}): Promise<void> {
  const began = performance.now()
  let what: string
  try {
    const response = await fetch(`${url}${path}`, init)
    const body = (await response.json().catch(() => ({}))) as { readonly code?: string }
    what = response.ok ? String(response.status) : `${response.status} ${body.code ?? 'without a code'}`
  } catch (error) {
    what = error instanceof Error ? String(error.cause ?? error.message) : 'thrown'
  }
  answers[kind].push({ at: began, ms: performance.now() - began, what })
}

const beganAt = performance.now()
const bombsAt = beganAt + alone * 1_000
const endsAt = bombsAt + seconds * 1_000
const isOver = (): boolean => performance.now() >= endsAt

async function client(nth: number): Promise<void> {
  for (let round = nth; !isOver(); round++) {
    const headers = { authorization: `Bearer ${await fresh()}`, 'content-type': 'application/json' }
    const query = { query: `harvest of ${1900 + (round % documents)}`, mode: 'keyword' }
    if (round % 4 > 0)
      await ask('read', '/retrieve', { method: 'POST', headers, body: JSON.stringify(query) })
    else await ask('read', `/documents/${encodeURIComponent(`shelf/${round % documents}`)}`, { headers })
  }
}

let held: { readonly token: Promise<string>; readonly until: number } | undefined
function fresh(): Promise<string> {
  const at = performance.now()
  if (held === undefined || held.until < at) held = { token: token({ sub: 'anne' }), until: at + 120_000 }
  return held.token
}

async function health(): Promise<void> {
  for (; !isOver(); await sleep(200)) await ask('health', '/healthz')
}

async function bombs(): Promise<void> {
  await sleep(bombsAt - performance.now())
  const hostile = hostileDocuments(Number(values.scale))
  for (let round = 0; !isOver(); round++) {
    const bomb = hostile[round % hostile.length]
    if (bomb === undefined) return
    const bearer = await token({ sub: serviceClient, client_id: serviceClient, scope: 'docs.write' })
    const body = {
      title: bomb.name,
      content_base64: Buffer.from(bomb.bytes()).toString('base64'),
      mime_type: bomb.mimeType,
      collection,
      access: { owner: 'user:bench/anne', viewers: [] },
    }
    await ask('put', `/documents/${encodeURIComponent(`bomb/${round}`)}`, {
      method: 'PUT',
      headers: { authorization: `Bearer ${bearer}`, 'content-type': 'application/json' },
      body: JSON.stringify(body),
    })
  }
}

await Promise.all([...Array.from({ length: clients }, (_, nth) => client(nth)), health(), bombs()])
await ask('read', '/retrieve', {
  method: 'POST',
  headers: { authorization: `Bearer ${await fresh()}`, 'content-type': 'application/json' },
  body: JSON.stringify({ query: 'harvest', mode: 'keyword' }),
})

const quantile = (sorted: readonly number[], share: number): number =>
  sorted[Math.min(sorted.length - 1, Math.floor(sorted.length * share))] ?? Number.NaN
function show(title: string, all: readonly Answered[]): void {
  const ms = all.map((one) => one.ms).sort((a, b) => a - b)
  const counts = Object.entries(Object.groupBy(all, ({ what }) => what)).map(
    ([what, found]) => `${what}: ${found?.length}`,
  )
  const [p50, p95, worst] = [0.5, 0.95, 1].map((share) => quantile(ms, share).toFixed(0))
  console.log(`${title}: p50, p95, worst ${p50}, ${p95}, ${worst} ms; ${counts.join(', ')}`)
}
const under = (all: readonly Answered[]) => all.filter(({ at }) => at >= bombsAt)
console.log(`${backend}, ${clients} clients, ${alone} s alone, ${seconds} s under bombs`)
show(
  'questions alone',
  answers.read.filter(({ at }) => at < bombsAt),
)
show('questions under bombs', under(answers.read))
show('/healthz under bombs', under(answers.health))
show('bombs', answers.put)
const bombed = states.slice(alone)
const peak = (some: readonly { readonly megabytes: number }[]) =>
  Math.max(...some.map(({ megabytes }) => megabytes))
const least = (some: readonly { readonly megabytes: number }[]) =>
  Math.min(...some.map(({ megabytes }) => megabytes))
const [first, last] = [bombed.slice(0, 60), bombed.slice(-60)]
console.log(
  `memory: alone ${peak(states.slice(0, alone)).toFixed(0)} MB at most; under bombs ${peak(bombed).toFixed(0)} at most, ` +
    `first minute ${least(first).toFixed(0)} at least, last ${least(last).toFixed(0)}`,
)
console.log(
  `event loop: stood still for ${Math.max(...bombed.map(({ delayMs }) => delayMs)).toFixed(0)} ms at most`,
)

const wrong = [...answers.read, ...answers.health, ...answers.put].filter(
  ({ what }) => !/^(2|4)\d\d|^503 (?!without)/.test(what),
)
const missed = [
  ...(wrong.length > 0 ? [`${wrong.length} answers that are no stated 503: ${wrong[0]?.what}`] : []),
  ...(least(last) > 1.2 * least(first) ? ['memory grows'] : []),
  ...(answers.read.at(-1)?.what === '200' ? [] : ['the service is not whole after it']),
]
if (missed.length > 0) {
  console.log(`missed: ${missed.join('; ')}`)
  process.exitCode = 1
}
