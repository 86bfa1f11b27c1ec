import { randomUUID } from 'node:crypto'
import { setTimeout as sleep } from 'node:timers/promises'
import { Agent, request } from 'undici'
import { jsonBody } from '../../src/http/middleware/json.ts'
import { startService } from '../support/running.ts'
import type { Known } from './cells.ts'
import type { Place, Servers } from './servers.ts'
import { mean, quantile } from './statistics.ts'
import { connect } from './ways/connection.ts'
import { nearest } from './ways/raw.ts'
import { sentTo } from './ways/vector.ts'
import { topK } from './ways/way.ts'

/** The whole service over HTTP, its record committed, beside the least that any service would have to do. */
export interface WholeService {
  /** Milliseconds. */
  readonly retrieve: { readonly p50: number; readonly p95: number }
  /** An authenticated route that does nothing, the raw search and a row, one after the other. */
  readonly least: { readonly p50: number; readonly p95: number }
  readonly emptyP50: number
  readonly rawP50: number
  readonly insertP50: number
  readonly clients: number
  /** Answers a second. */
  readonly retrieveRate: number
  readonly leastRate: number
  readonly leaks: number
}

export interface WholeServiceOptions {
  readonly servers: Servers
  readonly place: Place
  readonly questions: readonly Known[]
  readonly documentIds: readonly string[]
  readonly modelFolder: string
  readonly clients: number
  readonly seconds: number
}

// Code that is not compiled yet takes three times as long, and ours is longer.
const warmTimes = 2_000
const rounds = 5
const bodyBytesMax = 256 * 1024

export async function wholeService(options: WholeServiceOptions): Promise<WholeService> {
  const { servers, place, questions, documentIds, modelFolder, clients, seconds } = options
  await place.database.query(
    'create table if not exists peer_rows (id uuid primary key, at timestamptz not null, data jsonb not null)',
  )
  await using running = await startService({
    databaseUrl: place.url,
    openfga: servers.openfga,
    modelFolder,
    // Nothing but hot answers: so long are verdicts held at most.
    env: { VERDICT_TTL: '60' },
  })
  const { app, index, requireBearer } = running.service
  // In the service's own frame: its token is verified, its body read, and nothing else is done.
  app.post(
    '/empty',
    requireBearer({ kinds: ['person', 'agent'], scopes: ['docs.search'] }),
    ...jsonBody(bodyBytesMax),
    async (c) => {
      await c.req.json()
      return c.json({}, 200)
    },
  )
  await index.catchUp()
  const agent = new Agent({ connections: clients })
  await using stack = new AsyncDisposableStack()
  stack.defer(() => agent.close())
  const lanes = await Promise.all(
    Array.from({ length: clients }, async () => stack.use(await connect(place, { 'hnsw.ef_search': 40 }))),
  )
  const placeOf = new Map(documentIds.map((id, at) => [id, at]))
  const tokens = new Map<string, string>()
  for (const { person } of questions)
    if (!tokens.has(person))
      tokens.set(
        person,
        await running.token({
          sub: person.slice('user:bench/'.length),
          client_id: 'person-app',
          scope: 'docs.search',
          ttl: 3_000,
        }),
      )
  let leaks = 0

  async function post(path: string, known: Known, isAgain = false): Promise<unknown> {
    const answer = await request(`${running.url}${path}`, {
      method: 'POST',
      dispatcher: agent,
      headers: {
        authorization: `Bearer ${tokens.get(known.person)}`,
        'content-type': 'application/json',
      },
      body: JSON.stringify({ embedding: [...known.vector], mode: 'vector', top_k: topK }),
    })
    const read = await answer.body.json()
    // As it is told to: that takes its time, which is counted. One run of many cells does not end for it.
    if (answer.statusCode === 503 && !isAgain) {
      await sleep(1_000 * Number(answer.headers['retry-after'] ?? 1))
      return post(path, known, true)
    }
    if (answer.statusCode !== 200) throw new Error(`${answer.statusCode}: ${JSON.stringify(read)}`)
    return read
  }

  async function retrieve(known: Known): Promise<void> {
    const { results } = (await post('/retrieve', known)) as {
      readonly results: readonly { readonly document_id: string }[]
    }
    for (const { document_id } of results) if (known.visible[placeOf.get(document_id) ?? -1] !== 1) leaks += 1
  }

  const empty = (known: Known): Promise<unknown> => post('/empty', known)
  const raw = (known: Known, lane: number) =>
    lanes[lane] === undefined ? undefined : nearest(lanes[lane], { sent: sentTo(place, known.vector) }, topK)
  const insert = (known: Known, lane: number) =>
    lanes[lane]?.query('row', 'insert into peer_rows values ($1, now(), $2)', [
      randomUUID(),
      JSON.stringify({ person: known.person }),
    ])
  async function least(known: Known, lane = 0): Promise<void> {
    await empty(known)
    await raw(known, lane)
    await insert(known, lane)
  }

  const times = {
    retrieve: [] as number[],
    least: [] as number[],
    empty: [] as number[],
    raw: [] as number[],
    insert: [] as number[],
  }
  async function timed(into: number[], work: () => Promise<unknown> | undefined): Promise<void> {
    const started = performance.now()
    await work()
    into.push(performance.now() - started)
  }
  /** By all clients until so many milliseconds are over, or so often; how many a second. */
  async function rate(
    work: (known: Known, lane: number) => Promise<void>,
    isOver: (answers: number, ms: number) => boolean,
  ): Promise<number> {
    const began = performance.now()
    let answers = 0
    const client = async (lane: number): Promise<void> => {
      for (let turn = lane * 7; !isOver(answers, performance.now() - began); turn++) {
        const known = questions[turn % questions.length]
        if (known === undefined) return
        await work(known, lane)
        answers += 1
      }
    }
    await Promise.all(Array.from({ length: clients }, (_, lane) => client(lane)))
    return answers / ((performance.now() - began) / 1_000)
  }
  // Their verdicts are held from here on.
  for (const known of questions) await retrieve(known)
  for (const work of [least, retrieve]) await rate(work, (answers) => answers >= warmTimes)
  for (let round = 0; round < rounds; round++) {
    for (const known of questions) {
      await timed(times.retrieve, () => retrieve(known))
      await timed(times.least, () => least(known))
      await timed(times.empty, () => empty(known))
      await timed(times.raw, () => raw(known, 0))
      await timed(times.insert, () => insert(known, 0))
    }
  }
  const isTime = (_: number, ms: number): boolean => ms >= seconds * 1_000
  const rates = { retrieve: [] as number[], least: [] as number[] }
  for (let round = 0; round < 3; round++) {
    rates.least.push(await rate(least, isTime))
    rates.retrieve.push(await rate(retrieve, isTime))
  }
  const of = (values: readonly number[]) => ({ p50: quantile(values, 0.5), p95: quantile(values, 0.95) })
  return {
    retrieve: of(times.retrieve),
    least: of(times.least),
    emptyP50: quantile(times.empty, 0.5),
    rawP50: quantile(times.raw, 0.5),
    insertP50: quantile(times.insert, 0.5),
    clients,
    retrieveRate: mean(rates.retrieve),
    leastRate: mean(rates.least),
    leaks,
  }
}
