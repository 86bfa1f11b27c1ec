import { operator } from '../../src/audit/record.ts'
import type { Database } from '../../src/store/sql.ts'
import { alone, type Backend } from '../support/backends.ts'
import { openWorld, type World } from '../support/world.ts'
import { movedOrigin, Wiki, wikiKind, wikiOrigin } from './wiki.ts'

export interface SourceWorld extends AsyncDisposable {
  readonly world: World
  readonly wiki: Wiki
  /** One request as an administrator: its status and body. */
  call(user: string, method: string, path: string, body?: object): Promise<Answer>
  /** Proposes and confirms the wiki as the source `wiki`, without reading it. */
  add(options?: object): Promise<void>
  /** Has every source read at the next look. */
  wake(): Promise<unknown>
  /** Reads everything now, and waits until searches know of it. */
  sync(): Promise<void>
  /** The same until a reading of every source came to its end without a failure. */
  settle(): Promise<void>
  /** What anne, or another, is told of these words: ids of documents. */
  finds(query: string, user?: string): Promise<string[]>
  /** The status of `GET /documents/{id}` for a person. */
  reads(id: string, user?: string): Promise<number>
  /** The source as `GET /sources/wiki` says it. */
  shown(): Promise<Shown>
  /** An empty wiki, of which nothing was ever brought. */
  reset(): Promise<void>
  /** Moves everything that was ever confirmed so many seconds into the past, as time does. */
  age(seconds: number): Promise<void>
}

interface Answer {
  readonly status: number
  readonly body: Readonly<Record<string, unknown>>
}

export interface Shown {
  readonly source: {
    readonly state: string
    readonly fresh: boolean
    readonly problem: string | null
    readonly failures: number
    readonly items: number
    readonly hidden: number
    readonly missing: number
  }
  readonly hidden: readonly { readonly document_id: string; readonly reason: string }[]
}

/** The whole service, administered by carol and dan, with a wiki to bring into the collection `wiki`. */
export async function openSourceWorld({
  backend = alone,
  untold = [],
  now,
  wrap,
}: {
  readonly backend?: Pick<Backend, 'database' | 'openfga'>
  readonly untold?: readonly string[]
  readonly now?: () => number
  /** Stands before the database. */
  readonly wrap?: (database: Database) => Database
} = {}): Promise<SourceWorld> {
  const wiki = new Wiki()
  const world = await openWorld({
    backend,
    ...(now && { now }),
    ...(wrap && { database: wrap }),
    env: { SOURCE_ORIGINS: `${wikiOrigin},${movedOrigin}`, REQUEST_DEADLINE_MS: '30000' },
    sourceKinds: [wikiKind(wiki, untold)],
  })
  const { service, database } = world
  for (const id of ['wiki', 'wiki-more'])
    await service.ingest.saveCollection(operator('test'), { id, title: id })
  for (const user of ['dan', 'carol']) await service.administrators.add(`user:${user}`, ['security.write'])

  const call: SourceWorld['call'] = async (user, method, path, body) => {
    const token = await world.token({ user })
    const response = await world.call(method, path, { token, ...(body && { body }) })
    const answer: unknown = await response.json()
    return { status: response.status, body: answer as Answer['body'] }
  }
  const wake = () => database.query(`update sources set next_at = now()`)
  const sync = async (): Promise<void> => {
    await wake()
    await service.sources.runDue()
    // What searches know of documents follows the rows.
    await new Promise((resolve) => setTimeout(resolve, 700))
  }
  return {
    world,
    wiki,
    call,
    async add(options = {}) {
      const proposal = { id: 'wiki', kind: 'wiki', settings: {}, collections: ['wiki'], ...options }
      const proposed = await call('dan', 'POST', '/sources', proposal)
      if (proposed.status !== 200) throw new Error(JSON.stringify(proposed))
      const { digest } = proposed.body['source'] as { readonly digest: string }
      const confirmed = await call('carol', 'POST', '/sources/wiki', { action: 'confirm', digest })
      if (confirmed.status !== 200) throw new Error(JSON.stringify(confirmed))
    },
    wake,
    sync,
    async settle() {
      for (let attempts = 0; attempts < 20; attempts += 1) {
        await sync()
        const failing = await database.query(
          `select id from sources where failures > 0 or ended_at is null or began_at < now() - interval '1 minute'`,
        )
        if (failing.length === 0) return
      }
      throw new Error(`It does not settle: ${JSON.stringify(world.logged.slice(-3))}`)
    },
    async finds(query, user = 'anne') {
      const token = await world.token({ user, scopes: ['docs.search'] })
      const { results } = await world.retrieve(token, { query, top_k: 20 })
      return [...new Set(results.map(({ document_id }) => document_id))].sort()
    },
    async reads(id, user = 'anne') {
      const token = await world.token({ user, scopes: ['docs.read'] })
      return (await world.call('GET', `/documents/${encodeURIComponent(id)}`, { token })).status
    },
    async shown() {
      const { body } = await call('dan', 'GET', '/sources/wiki')
      return body as unknown as Shown
    },
    async reset() {
      wiki.reset()
      await database.query(`update sources set state = 'removing', next_at = now()`)
      await service.sources.runDue()
      const [left] = await database.query<{ sources: number }>('select count(*) as sources from sources')
      if (left?.sources !== 0) throw new Error(`A source stays: ${JSON.stringify(world.logged.slice(-3))}`)
      await database.query('delete from source_ids')
    },
    async age(seconds) {
      await database.query(
        `update sources set groups_at = groups_at - make_interval(secs => $1), items_at = items_at - make_interval(secs => $1)`,
        [seconds],
      )
      await database.query(
        `update source_items set confirmed_at = confirmed_at - make_interval(secs => $1)`,
        [seconds],
      )
    },
    [Symbol.asyncDispose]: () => world[Symbol.asyncDispose](),
  }
}
