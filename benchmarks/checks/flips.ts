import { randomBytes } from 'node:crypto'
import { readFileSync } from 'node:fs'
import { setTimeout as sleep } from 'node:timers/promises'
import { transformer } from '@openfga/syntax-transformer'
import { compileModel, createTupleStore, type JsonObject } from '@remit/engine'
import type { Tuple } from '../../src/authz/fga.ts'
import { createLimiter } from '../../src/authz/gate/limiter.ts'
import { createAskNamed } from '../../src/authz/gate/named.ts'
import { createVerdictCache } from '../../src/authz/gate/verdict-cache.ts'
import { createGate, type Gate } from '../../src/authz/gate.ts'
import { createPermissionIndex } from '../../src/authz/index/create.ts'
import { decomposeLocally } from '../../src/authz/index/local.ts'
import { createFga, createFgaApi } from '../../src/authz/openfga.ts'
import type { PermissionIndex } from '../../src/authz/permission-index.ts'
import { documentObject } from '../../src/kernel/ids.ts'
import type { Principal } from '../../src/kernel/principal.ts'

/**
 * One writer goes back and forth, by one Write each, between a state in which a person is in the group that
 * reads a folder and blocked from its documents, and one in which they are neither. In no state may they
 * read. How often OpenFGA says yes all the same, asked whole and in parts, by the service's own gate in
 * random turn; and how long an answer takes while nobody writes. Needs OPENFGA_TEST_URL and
 * OPENFGA_TEST_TOKEN of a real server on Postgres. `npm run bench:flips -- [QUESTIONS]`
 */
const { OPENFGA_TEST_URL: apiUrl, OPENFGA_TEST_TOKEN: apiToken } = process.env
if (!apiUrl || !apiToken) throw new Error('Set OPENFGA_TEST_URL and OPENFGA_TEST_TOKEN.')
const questions = Number(process.argv[2] ?? 10_000)

const ids = Array.from({ length: 10 }, (_, n) => `d${n}`)
const anne: Principal = {
  kind: 'person',
  subject: 'user:anne',
  actors: [],
  client: 'benchmark',
  scopes: new Set(['docs.search']),
  authorizationDetails: [],
  txn: 't_1',
  expiresAt: 0,
}
const filed: readonly Tuple[] = [
  ...ids.flatMap((id): Tuple[] => [
    { user: 'folder:inner', relation: 'parent', object: documentObject(id) },
    { user: 'group:barred#member', relation: 'blocked', object: documentObject(id) },
  ]),
  { user: 'folder:outer', relation: 'parent', object: 'folder:inner' },
  { user: 'group:team#member', relation: 'viewer', object: 'folder:outer' },
]
const member: Tuple = { user: 'user:anne', relation: 'member', object: 'group:team' }
const flipping: readonly Tuple[] = [member, { ...member, object: 'group:barred' }]

const json = JSON.parse(
  JSON.stringify(
    transformer.transformDSLToJSONObject(readFileSync(new URL('../../model.fga', import.meta.url), 'utf8')),
  ),
) as JsonObject
const api = createFgaApi({ apiUrl, apiToken, timeoutMs: 30_000 })
const { id: storeId } = await api.createStore({ name: 'flips' })
const { authorization_model_id: modelId } = await api.writeAuthorizationModel(storeId, json as never)
const fga = createFga(api, storeId, () => modelId)
await fga.write({ writes: [...filed, member] })

const now = Date.now
await using index = createPermissionIndex({
  fga,
  storage: {
    load: async () => undefined,
    peek: async () => undefined,
    begin: async () => 1,
    save: async ({ version }) => version,
  },
  now,
  log: () => undefined,
  pollMs: 100,
})
index.useModel(modelId, json)
await index.catchUp()

// What a replica makes of it that stands where they may read: nothing is passed over, and all is taken apart.
const store = createTupleStore()
for (const [order, tuple] of [...filed, member].entries()) store.add(tuple, String(order).padStart(9, '0'))
const model = compileModel(json)
const seen: PermissionIndex = {
  ...index,
  evaluate: () => undefined,
  decompose: (question, documentIds, at) => decomposeLocally(model, store, question, documentIds, at),
}
function gateOn(replica: PermissionIndex): Gate {
  const parts = {
    fga,
    now,
    index: replica,
    verdictCache: createVerdictCache({ now, ttlMs: 0 }),
    limiter: createLimiter(200),
  }
  return createGate({ ...parts, askNamed: createAskNamed({ ...parts, randomBytes }), cacheTtlMs: 0 })
}
const ways = {
  whole: gateOn({ ...seen, decompose: () => new Map() }),
  'in parts': gateOn(seen),
  'in parts, and not looked at again': gateOn({ ...seen, watch: () => async () => new Set() }),
}
type Way = keyof typeof ways
const names = Object.keys(ways) as Way[]

async function ask(way: Way, documentIds: readonly string[]): Promise<boolean> {
  const clearing = ways[way].open(anne, { consistency: 'strict' })
  const { cleared, stopped } = await clearing.clear(documentIds.map((documentId) => ({ documentId })))
  if (stopped !== undefined || clearing.counts.errors > 0) throw stopped ?? new Error('not answered')
  return cleared.length > 0
}

/** Every way `count` times, in random turn. */
async function inTurn(count: number, work: (way: Way) => Promise<void>): Promise<void> {
  const left = names.flatMap((way) => Array.from({ length: count }, () => way))
  while (left.length > 0) {
    const at = Math.floor(Math.random() * left.length)
    const [way] = left.splice(at, 1, left.at(-1) as Way)
    left.pop()
    await work(way as Way)
  }
}

// What was written a moment ago is looked at again before an answer by parts counts.
await sleep(11_000)
for (const size of [1, 10]) {
  const times = new Map(names.map((name) => [name, [] as number[]]))
  await inTurn(300, async (way) => {
    const began = performance.now()
    await ask(way, ids.slice(0, size))
    times.get(way)?.push(performance.now() - began)
  })
  for (const [name, all] of times) {
    all.sort((one, other) => one - other)
    const at = (share: number): string => (all[Math.floor(all.length * share)] ?? 0).toFixed(2)
    console.log(`${size} documents, nobody writes, ${name}: p50 ${at(0.5)} ms, p95 ${at(0.95)} ms`)
  }
}

let isOver = false
let flips = 0
async function flip(): Promise<void> {
  await fga.write({ deletes: [member] })
  for (; !isOver; flips++) {
    await fga.write(flips % 2 === 0 ? { writes: flipping } : { deletes: flipping })
    await sleep(10 + Math.random() * 40)
  }
}
const flippingOn = flip()
const yeses = new Map(names.map((name) => [name, 0]))
await inTurn(questions, async (way) => {
  const id = ids[Math.floor(Math.random() * ids.length)] ?? ''
  if (await ask(way, [id])) yeses.set(way, (yeses.get(way) ?? 0) + 1)
})
isOver = true
await flippingOn

const rate = (way: Way): number => (yeses.get(way) ?? 0) / questions
console.log(`${flips} flips`)
for (const name of names)
  console.log(`${name}: yes to ${yeses.get(name)} of ${questions}, ${(rate(name) * 100).toFixed(2)} %`)
for (const name of names.slice(1)) {
  const [one, other] = [rate('whole'), rate(name)]
  const error = Math.sqrt((one * (1 - one) + other * (1 - other)) / questions)
  const difference = other - one
  console.log(
    `${name} against whole: ${(difference * 100).toFixed(2)} points, standard error ${(error * 100).toFixed(2)}: ` +
      `${(difference / error).toFixed(1)} standard errors`,
  )
}
