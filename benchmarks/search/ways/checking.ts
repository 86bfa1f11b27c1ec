import { createRequire } from 'node:module'
import { join } from 'node:path'
import type { Fga } from '../../../src/authz/fga.ts'
import { contextAt } from '../../../src/authz/fga.ts'
import type { FgaObject } from '../../../src/kernel/ids.ts'
import { passageOf } from '../load.ts'
import type { Servers } from '../servers.ts'
import type { Connection } from './connection.ts'
import { nearest } from './raw.ts'
import { type Peer, topK, type Way } from './way.ts'

const relation = 'can_read'
const objectOf = (ids: readonly string[], docNo: number): FgaObject => `document:${ids[docNo - 1]}`

interface Filter {
  filter<T>(documents: readonly T[]): Promise<T[]>
}
interface Item {
  readonly user: string
  readonly object: string
  readonly passage: number
}
interface Auth0 {
  readonly FGAFilter: {
    create(
      options: { buildQuery(item: Item): object },
      client: { apiUrl: string; storeId: string; credentials: object },
    ): Filter
  }
}

/**
 * The advice of the field: fetch 50, keep what `@auth0/ai`'s own filter lets through. Undefined where it is
 * not installed.
 */
export function auth0Way(
  connection: Connection,
  {
    servers: { openfga },
    storeId,
    ids,
    env: { AUTH0_PATH: installed },
  }: { servers: Servers; storeId: string; ids: readonly string[]; env: NodeJS.ProcessEnv },
): Way<Peer> | undefined {
  if (openfga === undefined) return undefined
  const load = createRequire(
    installed ? join(installed, 'package.json') : new URL('../auth0/package.json', import.meta.url),
  )
  let auth0: Auth0
  try {
    // Its ESM build does not load in Node.
    auth0 = load('@auth0/ai') as Auth0
  } catch {
    return undefined
  }
  // Its configuration has no place for a plain key.
  const axios = createRequire(load.resolve('@openfga/sdk'))('axios') as {
    defaults: { headers: { common: Record<string, string> } }
  }
  axios.defaults.headers.common.Authorization = `Bearer ${openfga.token}`
  const filter = auth0.FGAFilter.create(
    {
      // HIGHER_CONSISTENCY is its default.
      buildQuery: ({ user, object }) => ({ user, relation, object, context: contextAt(Date.now()) }),
    },
    { apiUrl: openfga.url, storeId, credentials: { method: 'none', config: {} } },
  )
  return {
    name: 'FGAFilter, fetch 50',
    kind: 'release',
    is: '@auth0/ai’s FGAFilter over the 50 nearest, as exact as raw99; HIGHER_CONSISTENCY, its default',
    async ask(asked) {
      const rows = await nearest(connection, asked, 50)
      const items = rows.map(({ chunk_id, doc_no }) => ({
        user: asked.person,
        object: objectOf(ids, doc_no),
        passage: passageOf(chunk_id),
      }))
      const kept = await filter.filter(items)
      return {
        passages: kept.slice(0, topK).map(({ passage }) => passage),
        checks: new Set(items.map(({ object }) => object)).size,
      }
    },
  }
}

const refillMax = 20_000
// Ten calls of fifty: what OpenFGA's SDK has under way at a time.
const checksAtOnce = 500
/**
 * Where its figures are about. Below, one answer asks for thousands of checks: nobody does that, and one
 * would take minutes; a single answer at 1 % takes half a minute as it is.
 */
export const isRefilled = (level: number): boolean => level >= 0.1 || level === 0.01

/**
 * Fetches three times what is wanted, checks, and fetches three times as much again while too few are left.
 */
export const refillWay = (
  connection: Connection,
  { fga, ids }: { fga: Fga; ids: readonly string[] },
): Way<Peer> => ({
  name: 'over-fetch ×3, refill',
  kind: 'release',
  is: '30, 90, 270 … nearest, at most 20,000, checked fifty a call until ten are left; from 1 % up',
  async ask(asked) {
    const told = new Map<string, boolean>()
    let checks = 0
    for (let depth = 3 * topK; ; depth *= 3) {
      const rows = await nearest(connection, asked, depth)
      const fresh = [...new Set(rows.map(({ doc_no }) => objectOf(ids, doc_no)))].filter(
        (one) => !told.has(one),
      )
      checks += fresh.length
      for (let from = 0; from < fresh.length; from += checksAtOnce) {
        const part = fresh.slice(from, from + checksAtOnce)
        const { verdicts } = await fga.batchCheck(
          part.map((object) => ({ user: asked.person, relation, object })),
          { now: Date.now(), consistency: 'fresh' },
        )
        for (const [at, object] of part.entries()) told.set(object, verdicts[at] === 'allowed')
      }
      const kept = rows.filter(({ doc_no }) => told.get(objectOf(ids, doc_no)) === true)
      if (kept.length >= topK || rows.length < depth || depth * 3 > refillMax)
        return { passages: kept.slice(0, topK).map(({ chunk_id }) => passageOf(chunk_id)), checks }
    }
  },
})

/** OpenFGA lists what the person may read, and only that is searched, by the database's choice. */
export const listWay = (
  connection: Connection,
  { fga, ids }: { fga: Fga; ids: readonly string[] },
): Way<Peer> => {
  const noOf = new Map(ids.map((id, at) => [`document:${id}`, at + 1]))
  return {
    name: 'ListObjects, id = any',
    kind: 'release',
    is: 'OpenFGA’s streamed list, and Postgres’ choice of a plan over it, ef_search 40',
    async ask({ person, sent }) {
      const numbers: number[] = []
      const listed = fga.listObjects({ user: person, relation, type: 'document' }, { now: Date.now() })
      for await (const object of listed) numbers.push(noOf.get(object) ?? 0)
      const rows = await connection.query<{ chunk_id: string }>(
        'listed',
        'select chunk_id from chunks where doc_no = any($2::int[]) order by embedding <#> $1 limit $3',
        [sent, numbers, topK],
      )
      return { passages: rows.map(({ chunk_id }) => passageOf(chunk_id)), checks: 0 }
    },
  }
}
