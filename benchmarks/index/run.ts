import { readFile } from 'node:fs/promises'
import { setTimeout as sleep } from 'node:timers/promises'
import { transformer } from '@openfga/syntax-transformer'
import type { Fga, Tuple } from '../../src/authz/fga.ts'
import { createPermissionIndex, type FollowingIndex } from '../../src/authz/index/create.ts'
import { createStorage } from '../../src/authz/index/storage.ts'
import { createFga, createFgaApi } from '../../src/authz/openfga.ts'
import type { FgaObject } from '../../src/kernel/ids.ts'
import { migrate } from '../../src/store/migrate.ts'
import { openPostgres } from '../../src/store/postgres.ts'

/**
 * The permission index: how long it takes from its stored tuples to the first answer, what it weighs, and how
 * long after OpenFGA has a removal it has it too, at 100 writes a second. Needs DATABASE_URL (an empty
 * database, which is filled) and OPENFGA_API_URL, OPENFGA_API_TOKEN. `TUPLES` (default 1,000,000) and
 * `SECONDS` (default 20) may be set.
 */
const { DATABASE_URL, OPENFGA_API_URL, OPENFGA_API_TOKEN, TUPLES = '1000000', SECONDS = '20' } = process.env
if (DATABASE_URL === undefined || OPENFGA_API_URL === undefined)
  throw new Error('Set DATABASE_URL, OPENFGA_API_URL and OPENFGA_API_TOKEN.')

const dsl = await readFile(new URL('../../model.fga', import.meta.url), 'utf8')
const model = transformer.transformDSLToJSONObject(dsl)
const storeId = 'benchmark'
const question = { user: 'user:p1', relation: 'can_read', contextual: [] } as const

await using database = await openPostgres({ url: DATABASE_URL, poolSize: 4 })
await migrate(database, { dir: new URL('../../migrations/', import.meta.url), dimensions: 384 })
await rebuild(Number(TUPLES))
await revoke(Number(SECONDS))

/** A log in which nothing happens: what is timed is the way from the stored rows to an answer. */
async function rebuild(count: number): Promise<void> {
  // A hundredth groups of 50 people, a hundredth folders, the rest documents in folders.
  await database.query('truncate index_tuples, index_state')
  // In slices: a statement has its time.
  for (let start = 0; start < count; start += 500_000)
    await database.query(
      `insert into index_tuples (object, relation, subject, written_at)
     select case when n % 100 = 0 then 'group:g' || n / 100 % 2000
                 when n % 100 = 1 then 'folder:f' || n / 100
                 else 'document:d' || n end,
            case when n % 100 = 0 then 'member' when n % 100 = 1 then 'viewer' else 'parent' end,
            case when n % 100 = 0 then 'user:p' || n / 100
                 when n % 100 = 1 then 'group:g' || n / 100 % 2000 || '#member'
                 else 'folder:f' || n / 100 end,
            1700000000000 + n
     from generate_series($1::int, $2::int) as n`,
      [start, Math.min(count, start + 500_000) - 1],
    )
  const mark = { position: { after: 'end' }, lastChangeAt: 1_700_000_000_000, reconciledAt: Date.now() }
  await database.query('insert into index_state (store_id, mark, filling, version) values ($1, $2, 1, 1)', [
    storeId,
    mark,
  ])
  const silent: Pick<Fga, 'readAll' | 'readChanges'> = {
    readChanges: async (position) => ({ changes: [], position, isEnd: true }),
    readAll: () => {
      throw new Error('all tuples are read again')
    },
  }
  globalThis.gc?.()
  const before = process.memoryUsage().rss
  const started = performance.now()
  await using index = open(silent, storeId)
  await index.catchUp()
  const ready = performance.now() - started
  const nominated = index.nominate(question)?.length
  const answered = performance.now() - started
  const megabytes = (process.memoryUsage().rss - before) / 2 ** 20
  console.log(
    `${index.status().tuples} tuples: ready after ${(ready / 1_000).toFixed(1)} s, first answer ` +
      `(${nominated} documents nominated) after ${(answered / 1_000).toFixed(1)} s, ${megabytes.toFixed(0)} MB more resident`,
  )
}

async function revoke(seconds: number): Promise<void> {
  const api = createFgaApi({
    apiUrl: OPENFGA_API_URL ?? '',
    ...(OPENFGA_API_TOKEN !== undefined && { apiToken: OPENFGA_API_TOKEN }),
    timeoutMs: 4_000,
  })
  const { id: store } = await api.createStore({ name: 'benchmark' })
  const { authorization_model_id } = await api.writeAuthorizationModel(store, model)
  const fga = createFga(api, store, () => authorization_model_id)
  await using index = open(fga, store)
  await index.catchUp()

  const pending: { readonly tuple: Tuple; readonly at: number }[] = []
  const delays: number[] = []
  const watcher = setInterval(() => {
    const tuples = index.view()?.tuples
    for (
      let next = pending[0];
      next !== undefined && tuples?.get(next.tuple) === undefined;
      next = pending[0]
    ) {
      delays.push(performance.now() - next.at)
      pending.shift()
    }
  }, 2)
  const started = performance.now()
  let writes = 0
  const running: Promise<void>[] = []
  // Fifty tuples a second come and go again: a hundred writes.
  while (performance.now() - started < seconds * 1_000) {
    const tuple: Tuple = { user: 'user:p1', relation: 'viewer', object: `document:r${writes}` as FgaObject }
    running.push(comeAndGo(tuple))
    writes += 2
    await sleep(Math.max(0, started + writes * 10 - performance.now()))
  }
  await Promise.all(running)
  const rate = writes / ((performance.now() - started) / 1_000)
  while (pending.length > 0) await sleep(5)
  clearInterval(watcher)
  delays.sort((a, b) => a - b)
  const at = (share: number): string => (delays[Math.floor(delays.length * share)] ?? Number.NaN).toFixed(0)
  console.log(
    `${delays.length} removals at ${rate.toFixed(0)} writes a second: in the index after p50 ${at(0.5)} ms, ` +
      `p99 ${at(0.99)} ms, at most ${delays.at(-1)?.toFixed(0)} ms`,
  )

  async function comeAndGo(tuple: Tuple): Promise<void> {
    await fga.write({ writes: [tuple] })
    await sleep(500)
    await fga.write({ deletes: [tuple] })
    pending.push({ tuple, at: performance.now() })
  }
}

function open(fga: Pick<Fga, 'readAll' | 'readChanges'>, store: string): FollowingIndex {
  const index = createPermissionIndex({
    fga,
    storage: createStorage(database, store),
    now: Date.now,
    log: (event, fields) => {
      if (event !== 'index_ready') console.error(event, fields)
    },
    pollMs: 100,
    staleAfterMs: 600_000,
  })
  index.useModel('benchmark', model)
  return index
}
