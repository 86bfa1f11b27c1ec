import { setTimeout as sleep } from 'node:timers/promises'
import type { ChunkSearch } from '../../src/retrieval/chunk-index/port.ts'
import { createRandom } from '../kubernetes/random.ts'
import { sharedData } from '../support/shared.ts'
import { type Cell, cellName, cellsOf, type Pooled, poolOf, type Topic } from './cells.ts'
import type { Corpus } from './corpus.ts'
import { dot, vectorAt } from './corpus.ts'
import { type Extras, extras } from './extras.ts'
import { loadCorpus, passageOf, renewIvf } from './load.ts'
import { isOften, type Measured, measure } from './measure.ts'
import { createOracle } from './oracle.ts'
import { processorTimeOf } from './processor.ts'
import type { Place, Servers } from './servers.ts'
import { type WholeService, wholeService } from './service.ts'
import { openStore } from './tuples.ts'
import { auth0Way, isRefilled, listWay, refillWay } from './ways/checking.ts'
import { type Connection, connect } from './ways/connection.ts'
import { copyWays } from './ways/copies.ts'
import { labelsOf } from './ways/labels.ts'
import { openOpensearch } from './ways/opensearch.ts'
import { type Ours, openOurs } from './ways/ours.ts'
import type { OpenPeer } from './ways/peer.ts'
import { nearest, rawWay } from './ways/raw.ts'
import { openSpicedb } from './ways/spicedb.ts'
import { sentTo } from './ways/vector.ts'
import { openWardowl } from './ways/wardowl.ts'
import { type Peer, topK, type Way } from './ways/way.ts'
import { distinctAclsWorld } from './worlds/distinct-acls.ts'
import { driveWorld } from './worlds/drive.ts'
import { kubernetesWorld } from './worlds/kubernetes.ts'
import { treeWorld } from './worlds/tree.ts'
import type { Layout, Policy, World } from './worlds/world.ts'

export interface BenchOptions {
  readonly corpus: Corpus
  readonly servers: Servers
  readonly policies: readonly Policy[]
  readonly levels: readonly number[]
  readonly topics: readonly Topic[]
  /** Asked in the cells of the first policy. */
  readonly filters: readonly Cell['filter'][]
  readonly questions: number
  readonly people: number
  readonly seed: number
  /** Asked beside the raw search and ours. */
  readonly only: readonly Peer[]
  readonly budgetMs: number
  /** How often the raw search and ours are asked each question. */
  readonly rounds: number
  /** Of each measure of many clients. */
  readonly seconds: number
  /**
   * Milliseconds from writing tuples until anything is measured. The index reads the last minute of changes
   * again every half minute: just after a hundred thousand of them that is work which no service has that has
   * been up for a while.
   */
  readonly settleMs: number
  /** Passages to be released while access comes and goes. */
  readonly releases: number
  /** For the service over HTTP; left out: that is not measured. */
  readonly modelFolder: string | undefined
  /** Finds passages in place of Postgres. */
  readonly engine?: EngineUnderTest | undefined
  readonly env: NodeJS.ProcessEnv
  readonly say: (text: string) => void
}

/** A search engine apart from Postgres. */
export interface EngineUnderTest {
  /** Fills it with what the place has. `ef99`: at which the raw search finds 99 of a hundred. */
  open(place: Place, ef99: number): Promise<OpenedEngine>
  /** Milliseconds that its processes have taken so far. */
  readonly processorTime: () => number
  /** Runs beside clients who ask while access comes and goes, until it is told to end. */
  disturb(signal: AbortSignal): Promise<void>
}

export interface OpenedEngine extends AsyncDisposable {
  readonly index: ChunkSearch
  /** Its own search, asked beside ours. */
  readonly ways: readonly Way[]
  /** Runs once, after all that was asked in the cell that many clients ask in. */
  after(cell: Cell, ours: Ours): Promise<void>
}

export interface Benched {
  readonly measured: readonly Measured[]
  readonly ef99: number
  readonly worlds: readonly WorldFacts[]
  readonly leftOut: readonly string[]
  /** What a way is, where it says so. */
  readonly said: Readonly<Record<string, string>>
  readonly extras: Extras | undefined
  readonly service: WholeService | undefined
}

export interface WorldFacts {
  readonly policy: Policy
  readonly layout: Layout
  readonly tuples: number
  readonly excludes: boolean
  readonly writeSeconds: number
}

/**
 * Every policy, one after the other: its tuples into a store of its own, then its cells, all ways side by
 * side.
 */
export async function bench(options: BenchOptions): Promise<Benched> {
  const { corpus, servers, say } = options
  const measured: Measured[] = []
  const worlds: WorldFacts[] = []
  const leftOut = new Set<string>()
  const leaveOut = (what: string): void => {
    if (!leftOut.has(what)) say(`left out: ${what}`)
    leftOut.add(what)
  }
  const pool = poolOf(corpus, createOracle(corpus, []), Math.min(corpus.questions.length, 400))
  say(
    `${corpus.count} passages of ${corpus.documents.length} documents (${corpus.kind}), ${pool.length} questions`,
  )
  const said: Record<string, string> = {}
  let ef99 = 0
  let more: Extras | undefined
  let service: WholeService | undefined
  for (const [policy, layout, topics] of roundsOf(options)) {
    const world = await worldOf(policy, layout, options)
    await using place = await servers.open({
      load: (template) => loadCorpus(template, corpus),
      renew: renewIvf,
    })
    ef99 ||= await leastEf(place, corpus, pool)
    await readPages(place, pool, ef99)
    const started = performance.now()
    const store = await openStore(place, world.tuples)
    const written = performance.now()
    const writeSeconds = (written - started) / 1_000
    worlds.push({ policy, layout, tuples: world.tuples.length, excludes: world.excludes, writeSeconds })
    say(`${policy}, ${layout}: ${world.tuples.length} tuples in ${writeSeconds.toFixed(0)} s`)
    const cells = cellsOf({
      ...options,
      topics,
      world,
      oracle: createOracle(corpus, world.tuples),
      pool,
      filters: policy === options.policies[0] && topics.includes('independent') ? options.filters : [1],
      random: createRandom(options.seed),
      at: Date.now(),
      leaveOut,
    })
    // The policy's tenth, strewn: who reads a tenth is whom the figures of many clients are about.
    const tenth = cells.find(
      ({ topic, filter, level }) => topic === 'independent' && filter === 1 && level === 0.1,
    )
    const opened = await openWays({ options, place, world, store, ef99, leaveOut })
    for (const { name, is } of opened.ways) if (is !== undefined) said[name] = is
    try {
      await sleep(Math.max(0, written + options.settleMs - performance.now()))
      await warm(opened.ways, cells, place)
      for (const cell of cells) {
        const ways = opened.ways
          .filter(({ name }) => cell.filter === 1 || isOften(name))
          .filter(({ name }) => isRefilled(cell.level) || !name.endsWith('refill'))
        const rows = await measure({
          corpus,
          cell,
          ways,
          sent: (vector) => sentTo(place, vector),
          budgetMs: options.budgetMs,
          rounds: options.rounds,
          processorTime: await processorTimeOf(place, options.engine?.processorTime),
        })
        measured.push(...rows)
        say(lineOf(cell, rows))
      }
      if (more === undefined && tenth !== undefined) {
        more = await extras(options, tenth, { place, store, ours: opened.ours, ways: opened.ways })
        await opened.engine?.after(tenth, opened.ours)
      }
    } finally {
      await opened[Symbol.asyncDispose]()
    }
    // After that: two processes would not write one replica, and neither do these two.
    if (
      service === undefined &&
      tenth !== undefined &&
      options.modelFolder !== undefined &&
      place.url !== undefined
    ) {
      service = await wholeService({
        servers,
        place,
        questions: tenth.questions,
        documentIds: corpus.documents.map(({ id }) => id),
        modelFolder: options.modelFolder,
        clients: 16,
        seconds: options.seconds,
      })
    }
  }
  if (more === undefined)
    leaveOut(
      'many clients, changes meanwhile and the whole service: they are asked in the cell independent, 10 %',
    )
  else if (service === undefined)
    leaveOut('the whole service over HTTP: needs native Postgres and EMBEDDINGS_MODEL_PATH')
  return { measured, ef99, worlds, leftOut: [...leftOut], said, extras: more, service }
}

/**
 * Which documents lie together decides what a question can lie to: strewn ones for all, those by topic for
 * the others.
 */
function roundsOf({ policies, topics }: BenchOptions): [Policy, Layout, readonly Topic[]][] {
  const asked = (wanted: readonly Topic[]) => topics.filter((topic) => wanted.includes(topic))
  return policies.flatMap((policy): [Policy, Layout, readonly Topic[]][] => {
    if (policy === 'kubernetes') return [[policy, 'topics', topics]]
    const rounds: [Policy, Layout, readonly Topic[]][] = [
      [policy, 'strewn', asked(['independent'])],
      [policy, 'topics', asked(['inside', 'outside'])],
    ]
    return rounds.filter(([, , some]) => some.length > 0)
  })
}

async function worldOf(policy: Policy, layout: Layout, { corpus, seed, env }: BenchOptions): Promise<World> {
  const random = createRandom(seed)
  if (policy === 'kubernetes') return kubernetesWorld(corpus, sharedData('kubernetes', env))
  if (policy === 'drive') return driveWorld(corpus, layout, random, Date.now())
  return policy === 'tree' ? treeWorld(corpus, layout, random) : distinctAclsWorld(corpus, layout, random)
}

interface OpenWaysOptions {
  readonly options: BenchOptions
  readonly place: Place
  readonly world: World
  readonly store: Awaited<ReturnType<typeof openStore>>
  readonly ef99: number
  readonly leaveOut: (what: string) => void
}

interface OpenedWays extends AsyncDisposable {
  readonly ways: readonly Way[]
  readonly ours: Ours
  readonly engine: OpenedEngine | undefined
}

async function openWays(opening: OpenWaysOptions): Promise<OpenedWays> {
  const { options, place, world, store, ef99, leaveOut } = opening
  const { corpus, servers, only } = options
  await using stack = new AsyncDisposableStack()
  const opened = new Map<number, Connection>()
  const withEf = async (ef: number): Promise<Connection> => {
    const known = opened.get(ef)
    if (known !== undefined) return known
    const connection = await connect(place, { 'hnsw.ef_search': ef })
    opened.set(ef, connection)
    return connection
  }
  stack.defer(async () => {
    for (const connection of opened.values()) await connection[Symbol.asyncDispose]()
  })
  const engine = await options.engine?.open(place, ef99)
  if (engine !== undefined) stack.use(engine)
  const ours = stack.use(await openOurs(place, { ...store, chunks: engine?.index }))
  const ids = corpus.documents.map(({ id }) => id)
  // The index finds no more than it keeps in hand; deeper it goes on from there.
  const deep = stack.use(
    await connect(place, {
      'hnsw.ef_search': Math.max(ef99, 100),
      'hnsw.iterative_scan': 'strict_order',
      'hnsw.max_scan_tuples': 200_000,
    }),
  )
  const peers: (Way<Peer> | undefined)[] = [
    auth0Way(await withEf(Math.max(ef99, 50)), {
      servers,
      storeId: store.fga.storeId,
      ids,
      env: options.env,
    }),
    refillWay(deep, { fga: store.fga, ids }),
    listWay(await withEf(40), { fga: store.fga, ids }),
  ]
  if (peers[0] === undefined && only.includes('FGAFilter, fetch 50'))
    leaveOut('FGAFilter: needs a real OpenFGA server, and AUTH0_PATH or `npm ci` in benchmarks/search/auth0')
  const isAsked = (beginning: string): boolean => only.some((name) => name.startsWith(beginning))
  const labels = labelsOf(corpus, world.tuples, Date.now())
  if (isAsked('row-level') || isAsked('labels')) {
    const copies = await copyWays(place, corpus, labels)
    stack.defer(copies.close)
    peers.push(...copies.ways)
  }
  for (const [beginning, open] of apart) {
    if (!isAsked(beginning)) continue
    const one = await open({ place, servers, corpus, world, labels, store, ef99, env: options.env })
    if (typeof one === 'string') leaveOut(one)
    else peers.push(...stack.use(one).ways)
  }
  const ways = [
    rawWay('raw40', await withEf(40)),
    rawWay('raw99', stack.use(await connect(place, { 'hnsw.ef_search': ef99 }))),
    ours.search,
    ours.fresh,
    ours.hot,
    ...(engine?.ways ?? []),
    ...peers.filter((way) => way !== undefined).filter(({ name }) => only.includes(name)),
  ]
  const owned = stack.move()
  return { ways, ours, engine, [Symbol.asyncDispose]: () => owned.disposeAsync() }
}

/** Peers with servers of their own, by how the names of their ways begin. */
const apart: readonly (readonly [beginning: string, open: OpenPeer])[] = [
  ['OpenSearch', openOpensearch],
  ['wardowl', openWardowl],
  ['SpiceDB', openSpicedb],
]

/**
 * A copy of a database has none of its pages in the server's memory, and the first questions of whoever sees
 * much would tell of the disk: each reads some fifty pages that none before it did, which takes three times
 * as long as all else they do. So what ours reads and what the raw search reads is there from the start.
 */
async function readPages(place: Place, pool: readonly Pooled[], ef: number): Promise<void> {
  const text = 'select count(embedding) from chunks where doc_no > 0'
  await place.database.queryFixedPlan({ name: 'bench_read_pages', text }, [])
  await using connection = await connect(place, { 'hnsw.ef_search': ef })
  for (const { vector } of pool) await nearest(connection, { sent: sentTo(place, vector) }, topK)
}

/** Statements are prepared and connections made before anything counts. */
async function warm(ways: readonly Way[], cells: readonly Cell[], place: Place): Promise<void> {
  const known = cells.toSorted((a, b) => b.level - a.level)[0]?.questions.slice(0, 2) ?? []
  for (const one of known) for (const way of ways) await way.ask({ ...one, sent: sentTo(place, one.vector) })
}

const efs = [40, 60, 80, 100, 150, 200, 300, 400, 600, 800, 1_000]

/** The smallest `ef_search` at which the raw search finds 99 % of the ten nearest. */
async function leastEf(place: Place, corpus: Corpus, pool: readonly Pooled[]): Promise<number> {
  for (const ef of efs) {
    await using connection = await connect(place, { 'hnsw.ef_search': ef })
    let found = 0
    for (const { vector, least } of pool) {
      const rows = await nearest(connection, { sent: sentTo(place, vector) }, topK)
      found += rows.filter(
        ({ chunk_id }) => dot(vector, vectorAt(corpus, passageOf(chunk_id))) >= least - 1e-5,
      ).length
    }
    if (found >= 0.99 * topK * pool.length) return ef
  }
  return efs.at(-1) ?? 0
}

function lineOf(cell: Cell, rows: readonly Measured[]): string {
  const { topic, share, near } = cell
  const raw = rows.find(({ way }) => way === 'raw40')?.p50 ?? Number.NaN
  const shown = rows.map(
    ({ way, p50, recall, leaks }) =>
      `${way} ${p50.toFixed(1)} ms (×${(p50 / raw).toFixed(1)}) ${recall.toFixed(3)}${leaks > 0 ? ` ${leaks} LEAKS` : ''}`,
  )
  const isOff = (topic === 'inside' && near < 0.8) || (topic === 'outside' && near > 0)
  const lies = isOff ? `, of the ten nearest ${(10 * near).toFixed(1)} may be read` : ''
  return `${cellName(cell)} (${(100 * share).toFixed(3)}${lies}): ${shown.join(' · ')}`
}
