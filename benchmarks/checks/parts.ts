import { readFileSync } from 'node:fs'
import { transformer } from '@openfga/syntax-transformer'
import { check, compileModel, createMemo, createTupleStore, type JsonObject, type Model } from '@remit/engine'
import { type Check, contextAt, type Tuple } from '../../src/authz/fga.ts'
import { checkDecomposed } from '../../src/authz/gate/decompose-check.ts'
import { decomposeLocally } from '../../src/authz/index/local.ts'
import { createFga } from '../../src/authz/openfga.ts'
import { documentObject } from '../../src/kernel/ids.ts'
import { createRandom } from '../kubernetes/random.ts'
import type { Corpus } from '../search/corpus.ts'
import { distinctAclsWorld } from '../search/worlds/distinct-acls.ts'
import { driveWorld } from '../search/worlds/drive.ts'
import { treeWorld } from '../search/worlds/tree.ts'
import { asRun, openServers, query, type Server } from './server.ts'

/**
 * Ten documents that a person may read, drawn from all of those, past all caches: `can_read` asked whole and
 * in parts, of the real server on Postgres with its defaults, with one node at a time and as
 * docker-compose.yml runs it, with Postgres misled about how many users there are and not (docs/scaling.md),
 * in turn. Needs OPENFGA_BINARY and TEST_DATABASE_URL. Models named as arguments (`old.fga`) are asked beside
 * model.fga, on the same tuples, and then as docker-compose.yml runs it alone, past its caches and with them.
 */
const { OPENFGA_BINARY: binary, TEST_DATABASE_URL: admin } = process.env
if (!binary || !admin) throw new Error('Set OPENFGA_BINARY (1.22.1) and TEST_DATABASE_URL.')

const documents = 10_000
const batches = 24
const size = 10
const rounds = 3
interface Setting {
  readonly name: string
  readonly env: Readonly<Record<string, string>>
  readonly users?: number
  readonly consistency?: 'cached'
}
const settings: readonly Setting[] = [
  { name: 'defaults', env: {} },
  { name: 'breadth 1', env: { OPENFGA_RESOLVE_NODE_BREADTH_LIMIT: '1' } },
  { name: 'as we run it, misled', env: asRun },
  { name: 'as we run it', env: asRun, users: 100 },
]
/** As we run it, where nothing was taken away lately: its caches may answer. */
const withCaches: Setting = {
  name: 'with its caches',
  env: {
    ...asRun,
    OPENFGA_CHECK_QUERY_CACHE_ENABLED: 'true',
    OPENFGA_CHECK_ITERATOR_CACHE_ENABLED: 'true',
    OPENFGA_CACHE_CONTROLLER_ENABLED: 'true',
  },
  users: 100,
  consistency: 'cached',
}
const beside = process.argv.slice(2)
const models = [new URL('../../model.fga', import.meta.url), ...beside].map((file) => {
  const json = JSON.parse(
    JSON.stringify(transformer.transformDSLToJSONObject(readFileSync(file, 'utf8'))),
  ) as JsonObject
  return { name: typeof file === 'string' ? file : 'model.fga', json, compiled: compileModel(json) }
})
const rows = new Map<string, { times: number[]; server: number[]; reads: number[]; checks: number[] }>()

const servers = await openServers(binary, admin)
const { url } = servers
try {
  const loading = await servers.start({})
  const worlds = []
  for (const name of ['tree', 'drive', 'doors'] as const) worlds.push(await load(name, loading))
  loading.process.kill()
  await query(url, 'analyze tuple')
  for (let round = 0; round < rounds; round++) {
    for (const { name: setting, env, users, consistency } of beside.length === 0
      ? settings
      : [...settings.slice(-1), withCaches]) {
      await query(url, `alter table tuple alter column _user set (n_distinct = ${users ?? 0}); analyze tuple`)
      const server = await servers.start(env)
      for (const world of worlds) {
        for (const how of ['whole', 'in parts'] as const)
          for (const model of world.models)
            await measure(`${world.name}, ${setting}, ${how}, ${model.name}`, {
              world,
              model,
              how,
              server,
              consistency,
            })
      }
      server.process.kill()
    }
  }
  for (const [name, { times, server, reads, checks }] of rows) {
    console.log(
      `${name.padEnd(52)} p50 ${at(times, 0.5).toFixed(1)} ms, p95 ${at(times, 0.95).toFixed(1)} ms; OpenFGA's processor ` +
        `${at(server, 0.5).toFixed(1)} ms, ${at(reads, 0.5).toFixed(0)} reads, ${at(checks, 0.5).toFixed(0)} checks`,
    )
  }
} finally {
  await servers.close()
}

interface LoadedModel {
  readonly name: string
  readonly id: string
  readonly compiled: Model
}

interface Loaded {
  readonly name: string
  readonly storeId: string
  readonly models: readonly LoadedModel[]
  readonly store: ReturnType<typeof createTupleStore>
  readonly asked: readonly { readonly user: `user:${string}`; readonly ids: readonly string[] }[]
}

async function load(name: 'tree' | 'drive' | 'doors', server: Server): Promise<Loaded> {
  const corpus = {
    documents: Array.from({ length: documents }, (_, n) => ({ id: `d${n}` })),
  } as unknown as Corpus
  const random = createRandom(7)
  const world = {
    tree: () => treeWorld(corpus, 'strewn', random),
    drive: () => driveWorld(corpus, 'strewn', random, Date.now()),
    doors: () => distinctAclsWorld(corpus, 'strewn', random),
  }[name]()
  // As Remit files them, which is where an organization's and a collection's rules come from.
  const filings = corpus.documents.map(
    ({ id }): Tuple => filing('collection:c', 'filed_in', documentObject(id)),
  )
  const tuples = [
    ...new Map(
      [...filings, filing('organization:o', 'organization', 'collection:c'), ...world.tuples].map((one) => [
        `${one.user} ${one.relation} ${one.object}`,
        one,
      ]),
    ).values(),
  ]
  const { id: storeId } = await server.api.createStore({ name: 'benchmark' })
  const loadedModels: LoadedModel[] = []
  for (const { name: modelName, json, compiled } of models) {
    const { authorization_model_id: id } = await server.api.writeAuthorizationModel(storeId, json as never)
    loadedModels.push({ name: modelName, id, compiled })
  }
  const fga = createFga(server.api, storeId, () => loadedModels[0]?.id ?? '')
  const rest = Array.from({ length: Math.ceil(tuples.length / 100) }, (_, n) =>
    tuples.slice(n * 100, n * 100 + 100),
  )
  const write = async (): Promise<void> => {
    for (let page = rest.pop(); page !== undefined; page = rest.pop()) await fga.write({ writes: page })
  }
  await Promise.all([write(), write(), write(), write()])
  const store = storeOf(tuples)
  const people = random.pick(
    world.askers.filter(({ level }) => level === 1 || level === 0.5 || level === 0.1),
    batches,
  )
  const all = corpus.documents.map(({ id }) => id)
  const asked = people.map(({ person }) => {
    const memo = createMemo()
    const mayRead = (id: string): boolean =>
      check(
        models[0]?.compiled as never,
        store,
        { ...question(person), object: documentObject(id), context: contextAt(Date.now()) },
        memo,
      )
    return { user: person, ids: random.pick(all, all.length).filter(mayRead).slice(0, size) }
  })
  return { name, storeId, models: loadedModels, store, asked }
}

function filing(user: string, relation: string, object: Tuple['object']): Tuple {
  return { user, relation, object }
}

function storeOf(tuples: readonly Tuple[]) {
  const store = createTupleStore()
  for (const [order, tuple] of tuples.entries()) store.add(tuple, String(order).padStart(9, '0'))
  return store
}

function question<U extends string>(user: U) {
  return { user, relation: 'can_read', contextual: [] } as const
}

interface Measured {
  readonly world: Loaded
  readonly model: LoadedModel
  readonly how: 'whole' | 'in parts'
  readonly server: Server
  readonly consistency: Setting['consistency']
}

async function measure(name: string, { world, model, how, server, consistency }: Measured): Promise<void> {
  const row = rows.get(name) ?? { times: [], server: [], reads: [], checks: [] }
  rows.set(name, row)
  const fga = createFga(server.api, world.storeId, () => model.id)
  const ask = async ({ user, ids }: Loaded['asked'][number]): Promise<number> => {
    let sent = 0
    const now = Date.now()
    // One for all, as at the gate: parts are shared by questions that bring the same along.
    const one = question(user)
    const parts = how === 'whole' ? undefined : decomposeLocally(model.compiled, world.store, one, ids, now)
    const verdicts = await checkDecomposed(
      ids.map((id) => ({ check: { ...one, object: documentObject(id) }, parts: parts?.get(id) })),
      async (checks: readonly Check[]) => {
        sent += checks.length
        return (await fga.batchCheck(checks, { now, consistency: consistency ?? 'fresh' })).verdicts
      },
      // Nobody writes here: `npm run bench:flips` tells what it costs to make sure of that.
      async () => new Set(),
    )
    if (verdicts.some((verdict) => verdict !== 'allowed')) throw new Error(`${name}: ${verdicts} for ${user}`)
    return sent
  }
  // The server learns which of its strategies is quicker, and its connections their statements.
  for (const one of world.asked.slice(0, batches / 2)) await ask(one)
  const before = { processor: server.processor(), reads: await server.reads() }
  for (const one of world.asked) {
    const began = performance.now()
    row.checks.push(await ask(one))
    row.times.push(performance.now() - began)
  }
  row.server.push((server.processor() - before.processor) / world.asked.length)
  row.reads.push(((await server.reads()) - before.reads) / world.asked.length)
}

function at(values: readonly number[], share: number): number {
  const sorted = values.toSorted((a, b) => a - b)
  return sorted[Math.min(sorted.length - 1, Math.floor(sorted.length * share))] ?? Number.NaN
}
