import { createRandom } from '../kubernetes/random.ts'
import type { BenchOptions } from './bench.ts'
import type { Cell } from './cells.ts'
import { type Churned, churn, type Turned, turn } from './churn.ts'
import type { Place } from './servers.ts'
import { type Throughput, throughput } from './throughput.ts'
import type { openStore } from './tuples.ts'
import { connect } from './ways/connection.ts'
import type { Ours } from './ways/ours.ts'
import { rawWay } from './ways/raw.ts'
import { sentTo } from './ways/vector.ts'
import type { Way } from './ways/way.ts'

/** What is not a cell of the grid: many clients at once, changes while asking, and what the indexes weigh. */
export interface Extras {
  readonly throughput: readonly Throughput[]
  readonly churn: Churned
  /** Of each way that releases, with nobody else asking. */
  readonly turned: readonly Turned[]
  readonly indexes: Indexes
}

export interface Indexes {
  /** Bytes. */
  readonly hnsw: number
  /** All that searching by vectors rests on, the raw index with it. */
  readonly ours: number
}

const clients = 16

export async function extras(
  { corpus, seconds, releases, seed, engine }: BenchOptions,
  cell: Cell,
  {
    place,
    ours,
    store,
    ways,
  }: {
    place: Place
    ours: Ours
    store: Awaited<ReturnType<typeof openStore>>
    ways: readonly Way[]
  },
): Promise<Extras> {
  await using stack = new AsyncDisposableStack()
  const sent = (vector: Float32Array) => sentTo(place, vector)
  const free: Way[] = []
  // Each client has a connection of its own; PGlite has one for all.
  for (let lane = 0; lane < clients; lane++)
    free.push(rawWay('raw40', stack.use(await connect(place, { 'hnsw.ef_search': 40 }))))
  const raw: Way = {
    name: 'raw40',
    kind: 'raw',
    async ask(asked) {
      const lane = free.pop()
      if (lane === undefined) throw new Error('More clients than connections.')
      try {
        return await lane.ask(asked)
      } finally {
        free.push(lane)
      }
    },
  }
  const { questions } = cell
  const asking = { corpus, fga: store.fga, questions, sent }
  // First, while nothing else has gone on for a while.
  const turned: Turned[] = []
  for (const way of ways.filter(({ kind }) => kind === 'release'))
    turned.push(await turn({ ...asking, way, random: createRandom(seed), seconds: 4 * seconds }))
  return {
    turned,
    throughput: await throughput({
      ways: [raw, ours.fresh, ours.fast],
      questions,
      sent,
      clients,
      seconds,
      rounds: 3,
    }),
    churn: await churn({
      ...asking,
      way: ours.fast,
      clients: 4,
      releases,
      seconds: 3 * seconds,
      disturb: engine?.disturb ?? (async () => undefined),
      random: createRandom(seed),
    }),
    indexes: await indexesOf(place),
  }
}

/** Of `chunks` every index but its key, and the tables that are there for search by vectors alone. */
async function indexesOf({ database }: Place): Promise<Indexes> {
  const rows = await database.query<{ name: string; bytes: number }>(
    `select indexname as name, pg_relation_size(indexname::regclass) as bytes from pg_indexes
     where tablename = 'chunks' and indexname <> 'chunks_pkey'
     union all
     select relname, pg_total_relation_size(oid) from pg_class
     where relkind = 'r' and relnamespace = 'public'::regnamespace and relname in ('ivf_models', 'document_codes')`,
  )
  return {
    hnsw: rows.find(({ name }) => name === 'chunks_embedding')?.bytes ?? 0,
    ours: rows.reduce((sum, { bytes }) => sum + bytes, 0),
  }
}
