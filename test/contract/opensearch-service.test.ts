import { afterAll, beforeAll, beforeEach, describe, expect, test } from 'vitest'
import type { FgaApi } from '../../src/authz/fga-api.ts'
import { retireGenerations } from '../../src/retrieval/chunk-index/postgres/retire-generations.ts'
import { serveRaw } from '../support/hostile-server.ts'
import { native, needsOpensearch } from '../support/native.ts'
import { note, noting, sentBy } from '../support/noting.ts'
import { dropIndices, opensearchSettings } from '../support/opensearch.ts'
import { openWorld, type World } from '../support/world.ts'

interface Answer {
  readonly hits: { readonly hits: readonly { readonly fields: { readonly n: readonly number[] } }[] }
}

/** What the engine says to a search in place of the truth; nothing: the truth. */
let lie: ((answer: Answer) => object) | undefined

/** Searches that the engine answered. */
let searches = 0

/** Called before each search; what it gives is asked in place of the engine. */
let instead: () => string | undefined = () => undefined
const authorizations = new Set<string | null>()

const lying: typeof fetch = async (input, init) => {
  authorizations.add(new Headers(init?.headers).get('authorization'))
  const isSearch = String(input).endsWith('/_msearch')
  if (isSearch) {
    note('search')
    const origin = instead()
    if (origin !== undefined) return fetch(origin, init)
  }
  const response = await fetch(input, init)
  if (response.ok && isSearch) searches += 1
  if (lie === undefined || !isSearch) return response
  const { responses } = (await response.json()) as { readonly responses: readonly Answer[] }
  return Response.json({ responses: responses.map(lie) })
}

const password = 'only-the-engine-hears-this'

describe('a service on OpenSearch', needsOpensearch, () => {
  let world: World
  let token: string
  let secret: number
  let openfga: FgaApi
  /** Set: nothing is heard of OpenFGA's log. */
  let deaf: Promise<void> | undefined
  beforeAll(async () => {
    world = await openWorld({
      database: noting,
      openfga(api) {
        openfga = api
        return Object.assign(Object.create(api) as FgaApi, {
          async readChanges(...given: Parameters<FgaApi['readChanges']>) {
            await deaf
            return api.readChanges(...given)
          },
        })
      },
      env: { ...opensearchSettings(), SEARCH_ENGINE_USER: 'remit', SEARCH_ENGINE_PASSWORD: password },
      fetch: lying,
    })
    await world.put({
      open: { text: 'The merger is planned.', access: { viewers: ['user:anne'] } },
      secret: { text: 'The merger costs 5,000.', access: { viewers: ['user:bob'] } },
    })
    token = await world.token({ user: 'anne' })
    const [row] = await world.database.query<{ publication: number }>(
      `select publication from documents where id = 'secret'`,
    )
    secret = row?.publication ?? 0
  }, 120_000)
  afterAll(() => world?.[Symbol.asyncDispose]())
  beforeEach(() => {
    lie = undefined
    instead = () => undefined
  })

  const hit = (n: number) => ({ _score: 9, fields: { n: [n], ordinal: [0] } })
  const lies: readonly (readonly [string, (answer: Answer) => object])[] = [
    [
      'names a hidden passage',
      (answer) => ({ ...answer, hits: { hits: [hit(secret), ...answer.hits.hits] } }),
    ],
    ['names hidden passages alone', (answer) => ({ ...answer, hits: { hits: [hit(secret)] } })],
    ['answers in part', (answer) => ({ ...answer, _shards: { total: 2, successful: 1, failed: 1 } })],
    ['says nothing', (answer) => ({ ...answer, hits: { hits: [] }, timed_out: true })],
  ]

  test.each(
    lies.flatMap(([title, told]) => ['keyword', 'vector', 'hybrid'].map((mode) => ({ title, told, mode }))),
  )('that lies and $title gets the truth answered by Postgres: $mode', async ({ told, mode }) => {
    lie = told
    const { results } = await world.retrieve(token, { query: 'merger', mode })
    expect(results.map(({ document_id }) => document_id)).toEqual(['open'])
    expect(JSON.stringify(results)).not.toContain('5,000')
  })

  test('takes as many searches and statements for an answer, whatever is hidden', async () => {
    const told = { keyword: [1, 4], vector: [1, 3], hybrid: [2, 6] }
    const sentFor = async () => {
      const sent: Record<string, readonly string[]> = {}
      for (const mode of Object.keys(told)) {
        const ask = () => world.retrieve(token, { query: 'merger', mode })
        for (let time = 0; time < 2; time += 1) await ask()
        sent[mode] = (await sentBy(ask)).sort()
      }
      return sent
    }
    const before = await sentFor()
    for (const [mode, [searches, statements]] of Object.entries(told)) {
      const all = before[mode] ?? []
      const engine = all.filter((sent) => sent === 'search')
      expect([engine.length, all.length - engine.length]).toEqual([searches, statements])
    }
    const hidden = Array.from({ length: 150 }, (_, nth) => [`hidden/${nth}`, { text: 'Merger, merger.' }])
    await world.put(Object.fromEntries(hidden))
    expect(await sentFor()).toEqual(before)
  }, 60_000)

  /** Asks, and goes at the search of that number, at which the engine hears and says nothing. */
  async function askUntil(mode: string, last: number) {
    await using silent = await serveRaw(() => undefined)
    const leaving = new AbortController()
    let asked = 0
    let leftAt = 0
    instead = () => {
      asked += 1
      if (asked < last) return undefined
      setTimeout(() => {
        leftAt = performance.now()
        leaving.abort()
      }, 50)
      return silent.origin
    }
    const response = await world.service.app.request(`${world.config.publicUrl}/retrieve`, {
      method: 'POST',
      headers: { authorization: `Bearer ${token}`, 'content-type': 'application/json' },
      body: JSON.stringify({ query: 'merger', mode, consistency: 'strict' }),
      signal: leaving.signal,
    })
    return { body: await response.json(), asked, lastedMs: performance.now() - leftAt }
  }

  test.each([
    ['keyword', 1],
    ['vector', 1],
    ['hybrid', 2],
  ])(
    'asks an engine that hangs no longer than the request lasts, and no other: by %s',
    async (mode, last) => {
      const refusals = () => world.logged.filter(({ event }) => event === 'search_engine_refuses').length
      const ask = async () => {
        const before = refusals()
        const answer = await askUntil(mode, last)
        return { ...answer, refused: refusals() - before }
      }
      let seen = await ask()
      // What the machine does beside only adds: the quickest of three.
      for (let tries = 0; tries < 2 && seen.lastedMs >= 1_500; tries += 1) seen = await ask()
      // A try of a search has two seconds.
      expect(seen.lastedMs).toBeLessThan(1_500)
      expect(seen).toMatchObject({ body: { results: [], complete: false }, asked: last, refused: 0 })
    },
  )

  test('answers what is proven where the request ends while it is searched once more', async () => {
    const tuple = { user: 'user:anne', relation: 'viewer', object: 'document:lost' }
    await world.put({ lost: { text: 'The merger is lost.', access: { viewers: ['user:anne'] } } })
    let hear = (): void => undefined
    deaf = new Promise((resolve) => {
      hear = resolve
    })
    try {
      const { storeId, modelId } = world.service.fga
      await openfga.write(storeId, { authorization_model_id: modelId, deletes: { tuple_keys: [tuple] } })
      expect(await askUntil('keyword', 2)).toMatchObject({
        body: { results: [{ document_id: 'open' }], complete: false },
        asked: 2,
      })
    } finally {
      hear()
      deaf = undefined
      await world.service.index.catchUp()
    }
  })

  const found = async () => {
    const { results } = await world.retrieve(token, { query: 'merger', mode: 'hybrid' })
    return results.map(({ document_id }) => document_id).sort()
  }
  const isCurrent = async (): Promise<string | undefined> => {
    const rows = await world.database.query<{ id: string }>(
      'select id from search_generations where is_current',
    )
    return rows[0]?.id
  }

  test('finds nothing of what was taken away by the next request, though the engine has it', async () => {
    await world.put({ gone: { text: 'The merger is off.', access: { viewers: ['user:anne'] } } })
    expect(await found()).toEqual(['gone', 'open'])
    await world.remove('user:anne viewer document:gone')
    expect(await found()).toEqual(['open'])
  })

  test.each([
    ['is emptied', () => dropIndices(world.database)],
    ['holds another history', () => retireGenerations(world.database)],
  ])('whose engine %s answers right, takes documents in, and is whole again by itself', async (_, end) => {
    const before = await isCurrent()
    await end()
    expect(await found()).toEqual(['open'])
    const id = `late-${before}`
    await world.put({ [id]: { text: 'The merger is late.', access: { viewers: ['user:anne'] } } })
    expect(await found()).toEqual([id, 'open'])
    await expect.poll(isCurrent).not.toBeOneOf([before, undefined])
    searches = 0
    expect(await found()).toEqual([id, 'open'])
    expect(searches).toBe(2)
    // Longer ago than anything of it can still be made.
    await world.database.query(
      `update search_generations set retired_at = now() - interval '1 hour' where retired_at is not null`,
    )
    await expect.poll(async () => (await fetch(`${native.opensearch}/remit-${before}-0`)).status).toBe(404)
    await world.put({ [id]: { text: 'Nothing.', access: { viewers: [] } } })
  })

  test('tells the engine who it is, and its log nothing of that', () => {
    const told = `Basic ${Buffer.from(`remit:${password}`).toString('base64')}`
    expect([...authorizations]).toEqual([told])
    const log = JSON.stringify(world.logged)
    expect(log).toContain('search_engine_refuses')
    expect(log).not.toContain(password)
    expect(log).not.toContain(told.slice(6))
  })
})
