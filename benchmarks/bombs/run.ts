import { fork } from 'node:child_process'
import { randomBytes } from 'node:crypto'
import { setTimeout as sleep } from 'node:timers/promises'
import { parseArgs } from 'node:util'
import { type Hostile, hostileDocuments } from '../../test/ingest/hostile-documents.ts'
import { administer } from '../../test/support/administer.ts'
import type { TokenOptions } from '../../test/support/issuer.ts'
import { native } from '../../test/support/native.ts'
import { serviceClient } from '../support/running.ts'
import { type Asked, collection, documents, type Told } from './shelf.ts'

/**
 * Whether one service that sends hostile documents stops anybody: 64 clients ask by words and open documents
 * for five minutes, the first of them alone, while every document of test/ingest/hostile-documents.ts is put,
 * one after the other and again. Native Postgres and a real OpenFGA server (TEST_DATABASE_URL, a database is
 * made there; OPENFGA_TEST_URL, OPENFGA_TEST_TOKEN). `--seconds 300`, `--alone 60`, `--clients 64`,
 * `--scale 1`. Ends with 1 on a 5xx that is no 503, a 503 without a code, a tenth more live memory afterwards
 * than before, or a service that is not whole. Memory is compared with no question and no document under way:
 * what was sent is withdrawn at the end, and waited for, 15 minutes at most. `--each`: one client, and for
 * `--seconds` at most each document alone until it is published or given up: how long the event loop stood
 * still, the slowest question, the most memory. Ends with 1 where it stood still for over 250 ms, or a
 * question took a second longer. `--only TEXT`: documents whose names have this in them.
 */
const { values } = parseArgs({
  options: {
    seconds: { type: 'string', default: '300' },
    alone: { type: 'string', default: '60' },
    clients: { type: 'string', default: '64' },
    scale: { type: 'string', default: '1' },
    each: { type: 'boolean', default: false },
    only: { type: 'string', default: '' },
  },
})
const [seconds, alone] = values.each ? [Infinity, 10] : [Number(values.seconds), Number(values.alone)]
const clients = values.each ? 1 : Number(values.clients)
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
  execArgv: ['--expose-gc'],
  stdio: ['ignore', 'ignore', 'ignore', 'ipc'],
})
stack.defer(async () => {
  if (child.exitCode !== null) return
  child.kill('SIGKILL')
  await new Promise((resolve) => child.once('exit', resolve))
})
const ready = Promise.withResolvers<Extract<Told, { kind: 'ready' }>>()
const waiting = new Map<number, (token: string) => void>()
let rested: ((live: number | undefined) => void) | undefined
const states: Extract<Told, { kind: 'state' }>[] = []
child.once('exit', (code, signal) => ready.reject(new Error(`the service ended: ${code ?? signal}`)))
child.on('message', (told: Told) => {
  if (told.kind === 'ready') ready.resolve(told)
  else if (told.kind === 'state') states.push(told)
  else if (told.kind === 'rest') rested?.(told.live)
  else waiting.get(told.id)?.(told.token)
})
const { url, backend } = await ready.promise

let ids = 0
function token(options: TokenOptions): Promise<string> {
  const id = ids++
  const { promise, resolve } = Promise.withResolvers<string>()
  waiting.set(id, resolve)
  child.send({ kind: 'token', id, options } satisfies Asked)
  return promise.finally(() => waiting.delete(id))
}

/** Megabytes that live in the main thread once nothing is under way. */
function rest(): Promise<number | undefined> {
  const { promise, resolve } = Promise.withResolvers<number | undefined>()
  rested = resolve
  child.send({ kind: 'rest' } satisfies Asked)
  return promise
}

interface Answered {
  readonly at: number
  readonly ms: number
  /** `200`, `503 deadline_exceeded`. */
  readonly what: string
}
const answers: Record<'read' | 'health' | 'put', Answered[]> = { read: [], health: [], put: [] }

async function ask(kind: keyof typeof answers, path: string, init: RequestInit = {}): Promise<object> {
  const began = performance.now()
  let what: string
  let body: { readonly code?: string } = {}
  try {
    const response = await fetch(`${url}${path}`, init)
    body = (await response.json().catch(() => ({}))) as typeof body
    what = response.ok ? String(response.status) : `${response.status} ${body.code ?? 'without a code'}`
  } catch (error) {
    what = error instanceof Error ? String(error.cause ?? error.message) : 'thrown'
  }
  answers[kind].push({ at: began, ms: performance.now() - began, what })
  return body
}

let endsAt = performance.now() + alone * 1_000
let areThrough = false
const isOver = (): boolean => areThrough || performance.now() >= endsAt

async function client(nth: number): Promise<void> {
  for (let round = nth; !isOver(); round++) {
    const headers = { authorization: `Bearer ${await freshToken()}`, 'content-type': 'application/json' }
    const query = { query: `harvest of ${1900 + (round % documents)}`, mode: 'keyword' }
    if (round % 4 > 0)
      await ask('read', '/retrieve', { method: 'POST', headers, body: JSON.stringify(query) })
    else await ask('read', `/documents/${encodeURIComponent(`shelf/${round % documents}`)}`, { headers })
  }
}

let cachedToken: { readonly token: Promise<string>; readonly until: number } | undefined
function freshToken(): Promise<string> {
  const elapsedMs = performance.now()
  if (cachedToken === undefined || cachedToken.until < elapsedMs)
    cachedToken = { token: token({ sub: 'anne' }), until: elapsedMs + 120_000 }
  return cachedToken.token
}

async function health(): Promise<void> {
  for (; !isOver(); await sleep(200)) await ask('health', '/healthz')
}

async function bombs(): Promise<void> {
  const hostile = hostileDocuments(Number(values.scale)).filter(({ name }) => name.includes(values.only))
  for (let round = 0; !isOver(); round++) {
    const bomb = hostile[round % hostile.length]
    if (bomb === undefined || (values.each && round === hostile.length)) break
    const [at, told] = [performance.now(), states.length]
    const job = await put(`bomb/${round}`, bomb)
    if (!values.each) continue
    const state = job === undefined ? 'refused' : await Promise.race([ended(job), longEnough()])
    await sleep(1_000)
    tellOf(bomb, state, { at, told })
  }
  areThrough = true
}

const service = async () => ({
  authorization: `Bearer ${await token({ sub: serviceClient, client_id: serviceClient, scope: 'docs.write' })}`,
  'content-type': 'application/json',
})

const sent: string[] = []
async function put(id: string, bomb: Hostile): Promise<string | undefined> {
  sent.push(id)
  const body = {
    title: bomb.name,
    content_base64: Buffer.from(bomb.bytes()).toString('base64'),
    mime_type: bomb.mimeType,
    collection,
    access: { owner: 'user:bench/anne', viewers: [] },
  }
  const path = `/documents/${encodeURIComponent(id)}`
  const answer = await ask('put', path, {
    method: 'PUT',
    headers: await service(),
    body: JSON.stringify(body),
  })
  return (answer as { readonly job?: { readonly id: string } }).job?.id
}

/** Of a document that makes thousands of passages the rest is like what was seen. */
const longEnough = (): Promise<string> => sleep(Number(values.seconds) * 1_000).then(() => 'still taken in')

async function ended(job: string): Promise<string> {
  for (; ; await sleep(100)) {
    const response = await fetch(`${url}/jobs/${job}`, { headers: await service() })
    const { state, failed } = (await response.json()) as { state: string; failed: number }
    if (state === 'done' || state === 'failed') return failed > 0 ? 'given up' : state
  }
}

const tooLong: string[] = []
function tellOf(
  { name }: Hostile,
  state: string,
  { at, told }: { readonly at: number; readonly told: number },
): void {
  const during = states.slice(told)
  const stood = Math.max(0, ...during.map(({ delayMs }) => delayMs))
  const questions = answers.read.filter((one) => one.at + one.ms >= at).map(({ ms }) => ms)
  const before = answers.read.filter((one) => one.at + one.ms < bombsAt).map(({ ms }) => ms)
  const [slowest, usual] = [Math.max(0, ...questions), Math.max(0, ...before)]
  if (stood > 250 || slowest > usual + 1_000) tooLong.push(name)
  console.log(
    `${name}: ${state} after ${((performance.now() - at) / 1_000).toFixed(1)} s; stood still ${stood.toFixed(0)} ms, ` +
      `slowest question ${slowest.toFixed(0)} ms (before ${usual.toFixed(0)}), ${peak(during).toFixed(0)} MB`,
  )
}

function peak(some: readonly { readonly megabytes: number }[]): number {
  return Math.max(0, ...some.map(({ megabytes }) => megabytes))
}

/** Takes away what was sent, so that what waits is not read any more. */
async function withdrawAll(): Promise<void> {
  for (const id of sent) {
    const path = `${url}/documents/${encodeURIComponent(id)}`
    await fetch(path, { method: 'DELETE', headers: await service() })
  }
}

const asking = () => Array.from({ length: clients }, (_, nth) => client(nth))
await Promise.all([...asking(), health()])
const before = await rest()
const [statesAlone, bombsAt] = [states.length, performance.now()]
endsAt = bombsAt + seconds * 1_000
await Promise.all([...asking(), health(), bombs()])
const statesUnder = states.slice(statesAlone)
await ask('read', '/retrieve', {
  method: 'POST',
  headers: { authorization: `Bearer ${await freshToken()}`, 'content-type': 'application/json' },
  body: JSON.stringify({ query: 'harvest', mode: 'keyword' }),
})
await withdrawAll()
const after = await rest()

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
console.log(
  `${backend}, ${clients} clients, ${alone} s alone, then ${values.each ? 'each document alone' : `${seconds} s under all of them`}`,
)
show(
  'questions alone',
  answers.read.filter(({ at }) => at < bombsAt),
)
show('questions under bombs', under(answers.read))
show('/healthz under bombs', under(answers.health))
show('bombs', answers.put)
const third = Math.ceil(statesUnder.length / 3)
const thirds = [0, 1, 2].map((nth) => statesUnder.slice(nth * third, (nth + 1) * third))
const least = (figures: readonly number[]): string => Math.min(...figures).toFixed(0)
/** Of the whole process also what its allocator keeps of a large document, which comes and goes. */
const whole = thirds.map((some) => least(some.map(({ megabytes }) => megabytes)))
// Up to eight documents are being read or embedded, and the more the larger they are: no growth.
const live = thirds.map((some) => least(some.flatMap((one) => one.live ?? [])))
console.log(
  `memory: alone ${peak(states.slice(0, statesAlone)).toFixed(0)} MB at most; under bombs ${peak(statesUnder).toFixed(0)} at most, ` +
    `at least ${whole.join(', ')} by thirds; live in the main thread ${live.join(', ')}`,
)
console.log(
  `live in the main thread with nothing under way: ${before?.toFixed(1)} MB before, ${after?.toFixed(1)} after ${sent.length} documents`,
)
console.log(
  `event loop: stood still for ${Math.max(...statesUnder.map(({ delayMs }) => delayMs)).toFixed(0)} ms at most`,
)

const wrong = [...answers.read, ...answers.health, ...answers.put].filter(
  ({ what }) => !/^(2|4)\d\d|^503 (?!without)/.test(what),
)
const missed = [
  ...(tooLong.length > 0 ? [`too long: ${tooLong.join(', ')}`] : []),
  ...(wrong.length > 0 ? [`${wrong.length} answers that are no stated 503: ${wrong[0]?.what}`] : []),
  ...(before === undefined || after === undefined ? ['documents were still under way'] : []),
  ...(Number(after) > 1.1 * Number(before) ? ['memory grows'] : []),
  ...(answers.read.at(-1)?.what === '200' ? [] : ['the service is not whole after it']),
]
if (missed.length > 0) {
  console.log(`missed: ${missed.join('; ')}`)
  process.exitCode = 1
}
