import { createHash } from 'node:crypto'
import { mkdtemp, rm } from 'node:fs/promises'
import { createServer } from 'node:http'
import type { AddressInfo } from 'node:net'
import { availableParallelism, loadavg, tmpdir } from 'node:os'
import { join } from 'node:path'
import { setTimeout as sleep } from 'node:timers/promises'
import { parseArgs } from 'node:util'
import { administer } from '../../test/support/administer.ts'
import { native } from '../../test/support/native.ts'
import { startOpenFga } from '../../test/support/openfga-server.ts'
import { dropNamed, indicesOf, opensearchSettings } from '../../test/support/opensearch.ts'
import { openPair, type Pair } from '../../test/support/pair.ts'
import { startPostgres } from '../../test/support/postgres.ts'
import { openPutClock } from '../../test/support/put-clock.ts'
import { type Load, openLoad } from '../failover/load.ts'
import { type Fault, faults, type Where, type World } from './faults.ts'
import { type Link, type Links, openLinks } from './links.ts'
import { openProviders, type Providers } from './providers.ts'

/**
 * Two processes of the service under load, while what they stand on fails: one fault after the other, each
 * for some seconds. After each one everything of every kind has to succeed at both processes again within
 * 30 s, by itself; whoever watches over processes starts again those that ended. Then everything that was
 * acknowledged is looked for. Ends with 1 where anything was lost or came back, an answer was neither right
 * nor a refusal, was given without its record, or recovery took longer.
 *
 *   npm run chaos -- --seed 1              # all faults, in an order of the seed
 *   npm run chaos -- --seed 1 --count 6    # six of them
 *   npm run chaos -- --only 'OpenFGA killed'
 *   npm run chaos -- --engine              # an OpenSearch finds passages, and its links fail too
 *
 * Needs `.ci/services`, and Toxiproxy (TOXIPROXY_PATH); with `--engine` OPENSEARCH_TEST_URL, where it makes
 * indices of its own and drops them.
 */
const { values } = parseArgs({
  options: {
    seed: { type: 'string', default: '1' },
    count: { type: 'string' },
    only: { type: 'string' },
    engine: { type: 'boolean', default: false },
    /** Milliseconds that a fault lasts at least; up to twice as long, by the seed. */
    lasting: { type: 'string', default: '3000' },
  },
})
const recoveryMsMax = 30_000
const program = process.env['TOXIPROXY_PATH']
if (program === undefined) throw new Error('Set TOXIPROXY_PATH.')

const beganAt = performance.now()
const say = (text: string): void =>
  console.log(`${((performance.now() - beganAt) / 1_000).toFixed(1).padStart(6)} s  ${text}`)

/** A number from 0 to 1 for each name, the same in each run of a seed. */
const drawn = (name: string): number =>
  createHash('sha256').update(`${values.seed} ${name}`).digest().readUInt32BE() / 2 ** 32

const chosen = faults
  .filter(({ name }) => values.only === undefined || name.includes(values.only))
  .filter(({ isOfEngine }) => values.engine || isOfEngine !== true)
  .sort((one, other) => drawn(one.name) - drawn(other.name))
  .slice(0, values.count === undefined ? undefined : Number(values.count))
if (chosen.length === 0) throw new Error('No fault is named so.')

await using world = await openWorld()
const { pair, providers } = world
say(`${chosen.length} faults, seed ${values.seed}; ${availableParallelism()} cores`)
const watch = watchOver(pair)
await using _watched = watch
for (const signal of ['SIGINT', 'SIGTERM'] as const) process.once(signal, () => void stop())
const load = await openLoad(pair, {
  stockSize: 12,
  grantsOfAgent: chosen.length < 20 ? 1 : 5,
  more: [providers.people],
})
const recoveries: number[] = []
let missed = 0
for (const fault of chosen) await meet(fault)
await load.compare('all')
const longest = Math.max(...recoveries)
say(
  `${chosen.length} faults: ${missed} not met; recovered after ${recoveries.toSorted((a, b) => a - b).at(recoveries.length >> 1)} ms (median), ${longest} ms (longest); ${load.passages()} passages given`,
)
console.log(
  `acknowledged: ${Object.entries(load.acknowledged)
    .map(([what, all]) => `${what} ${all.size}`)
    .join(', ')}`,
)
for (const [what, n] of [...load.back, ...load.attempts.wrong]) console.log(`MISSED: ${what} × ${n}`)
if (missed > 0 || load.back.size > 0 || load.attempts.wrong.size > 0) process.exitCode = 1

async function meet(fault: Fault): Promise<void> {
  const before = load.back.size + load.attempts.wrong.size
  await load.stock()
  load.start()
  await sleep(1_000)
  const since = performance.now()
  load.attempts.refused.clear()
  load.attempts.refusals = fault.refusals ?? [503]
  const end = await fault.begin(world)
  await load.change()
  await sleep(Number(values.lasting) * (1 + drawn(`${fault.name} lasts`)))
  await end()
  const endedAt = performance.now()
  const recovered = await recovery(load)
  load.attempts.refusals = [503]
  await load.stop()
  await load.compare()
  const [done, refused] = [load.attempts.count('done', since), load.attempts.count('refused', since)]
  const ms = Math.round(recovered.at - endedAt)
  if (Number.isFinite(ms)) recoveries.push(ms)
  const isMet = ms <= recoveryMsMax && load.back.size + load.attempts.wrong.size === before
  if (!isMet) missed += 1
  say(
    `${isMet ? 'met   ' : 'MISSED'} ${fault.name}: ${done} answers, ${refused} refusals, whole again after ${ms} ms (last: ${recovered.last}); load ${loadavg()[0]?.toFixed(0)}`,
  )
  if (isMet) return
  for (const [what, n] of [...load.back, ...load.attempts.wrong, ...load.attempts.refused])
    console.log(`          ${what} × ${n}`)
  for (const which of [0, 1] as const)
    console.log(
      pair
        .process(which)
        .stderr()
        .split('\n')
        .filter((line) => line.includes('error'))
        .slice(-5)
        .join('\n'),
    )
}

/**
 * When each process has done each kind of request once, by the clock that never jumps; says what took
 * longest.
 */
async function recovery({ probe }: Load): Promise<{ readonly at: number; readonly last: string }> {
  const until = performance.now() + 2 * recoveryMsMax
  const lacking = new Map<string, readonly string[]>()
  let last = 'nothing'
  while (performance.now() < until) {
    const look = async (url: string): Promise<void> => {
      const lacks = await probe(url)
      lacking.set(url, lacking.get(url)?.filter((what) => lacks.includes(what)) ?? lacks)
    }
    await Promise.all(pair.urls.map(look))
    const all = [...lacking.values()].flat()
    if (all.length === 0) return { at: performance.now(), last }
    last = all.join(', ')
    await sleep(100)
  }
  return { at: Number.POSITIVE_INFINITY, last }
}

async function stop(): Promise<never> {
  watch.end()
  // What is frozen would not end.
  for (const one of [world.postgres, world.openfga]) one.signal('SIGCONT')
  await world[Symbol.asyncDispose]()
  process.exit(1)
}

async function openWorld(): Promise<World & AsyncDisposable & { readonly providers: Providers }> {
  await using stack = new AsyncDisposableStack()
  const folder = await mkdtemp(join(tmpdir(), 'remit-chaos-'))
  stack.defer(() => rm(folder, { recursive: true, force: true }))
  const clocks = [
    await openPutClock(join(folder, 'first')),
    await openPutClock(join(folder, 'second')),
  ] as const
  const postgres = stack.use(await startPostgres())
  const links = stack.use(await openLinks(program as string))
  const portOf = (url: string) => Number(new URL(url).port)
  const open = (name: string, port: number) => links.open(name, port)
  await administer(postgres.url, 'create database openfga')
  const ofOpenfga = await open('openfga-postgres', portOf(postgres.url))
  const openfga = stack.use(
    await startOpenFga(`postgres://postgres@127.0.0.1:${ofOpenfga.port}/openfga?sslmode=disable`),
  )
  const databases = [
    await open('db-1', portOf(postgres.url)),
    await open('db-2', portOf(postgres.url)),
  ] as const
  const permissions = [
    await open('fga-1', portOf(openfga.url)),
    await open('fga-2', portOf(openfga.url)),
  ] as const
  const embeddings = await open('embeddings', await embeddingEndpoint(stack))
  const providers = stack.use(await openProviders(links))
  const engine = values.engine ? await openEngine(links) : []
  // Their names go with the database, and only once both processes are gone nobody makes more of them.
  let indices: readonly string[] = []
  stack.defer(() => dropNamed(indices))
  const own = (which: 0 | 1) => ({
    ...(engine.length > 0 && {
      ...opensearchSettings(),
      SEARCH_ENGINE_URLS: `http://127.0.0.1:${engine[which]?.port}`,
    }),
    OPENFGA_API_URL: `http://127.0.0.1:${permissions[which].port}`,
    ...clocks[which].settings,
  })
  const pair = stack.use(
    await openPair({
      databaseUrl: postgres.url,
      databasePorts: [databases[0].port, databases[1].port],
      openfga,
      env: {
        EMBEDDINGS_BASE_URL: `http://127.0.0.1:${embeddings.port}/v1`,
        EMBEDDINGS_MODEL: 'hash',
        EMBEDDINGS_DIMENSIONS: '384',
        TRUSTED_ISSUERS: providers.setting,
      },
      each: () => [own(0), own(1)],
    }),
  )
  const between: Record<Where, World['between'][Where]> = {
    'Postgres and one process': [databases[0]],
    'Postgres and both': databases,
    'OpenFGA and one process': [permissions[0]],
    'OpenFGA and both': permissions,
    'Postgres and OpenFGA': [ofOpenfga],
    'the embedding endpoint and both': [embeddings],
    'the identity providers and both': providers.links,
    'OpenSearch and one process': engine.slice(0, 1),
    'OpenSearch and both': engine,
  }
  const noteIndices = async (): Promise<void> => {
    if (values.engine) indices = await indicesOf(pair.database)
  }
  await noteIndices()
  // A terminal ends Postgres too: then those count that there were at first.
  stack.defer(() => noteIndices().catch(() => undefined))
  const owned = stack.move()
  let ending: PromiseLike<void> | undefined
  return {
    pair,
    postgres,
    openfga,
    links,
    providers,
    between,
    clocks,
    [Symbol.asyncDispose]() {
      // A signal may end it, and then the end of the program: the second waits for the first.
      ending ??= owned.disposeAsync()
      return ending
    },
  }
}

/** A link of each process to the OpenSearch of the tests. */
async function openEngine(links: Links): Promise<readonly Link[]> {
  if (native.opensearch === undefined) throw new Error('Set OPENSEARCH_TEST_URL.')
  const port = Number(new URL(native.opensearch).port)
  return [await links.open('engine-1', port), await links.open('engine-2', port)]
}

/** Starts again what has ended, as an orchestrator does. */
function watchOver({ process: running, start }: Pair): AsyncDisposable & { end(): void } {
  let isOver = false
  const watching = ([0, 1] as const).map(async (which) => {
    while (!isOver) {
      const over = await Promise.race([running(which).exit, sleep(200, undefined)])
      if (over === undefined || isOver) continue
      await start(which).catch((error: unknown) => say(`it does not start: ${String(error).slice(0, 2_000)}`))
    }
  })
  const end = (): void => {
    isOver = true
  }
  return {
    end,
    async [Symbol.asyncDispose]() {
      end()
      await Promise.all(watching)
    },
  }
}

/** An endpoint whose vectors tell texts apart: each word has some numbers of its own. */
async function embeddingEndpoint(stack: AsyncDisposableStack): Promise<number> {
  const vectorOf = (text: string): number[] => {
    const vector = Array.from({ length: 384 }, () => 0.01)
    for (const word of text.toLowerCase().match(/\w+/g) ?? []) {
      const place = createHash('sha256').update(word).digest()
      for (let of = 0; of < 4; of += 1) {
        const index = place.readUInt16BE(2 * of) % 384
        vector[index] = (vector[index] ?? 0) + 1
      }
    }
    return vector
  }
  const server = createServer((request, response) => {
    const parts: Buffer[] = []
    request.on('data', (part: Buffer) => parts.push(part))
    request.on('end', () => {
      const { input } = JSON.parse(Buffer.concat(parts).toString()) as { readonly input: readonly string[] }
      response.setHeader('content-type', 'application/json')
      response.end(
        JSON.stringify({
          object: 'list',
          model: 'hash',
          data: input.map((text, index) => ({ object: 'embedding', index, embedding: vectorOf(text) })),
          usage: { prompt_tokens: 1, total_tokens: 1 },
        }),
      )
    })
  })
  await new Promise<void>((resolve) => server.listen(0, '127.0.0.1', resolve))
  stack.defer(() => {
    server.closeAllConnections()
    server.close()
  })
  return (server.address() as AddressInfo).port
}
