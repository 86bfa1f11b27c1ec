import { afterAll, beforeAll, beforeEach, describe, expect, test } from 'vitest'
import { retireGenerations } from '../../src/retrieval/chunk-index/postgres/retire-generations.ts'
import { native, needsOpensearch } from '../support/native.ts'
import { dropIndices, opensearchSettings } from '../support/opensearch.ts'
import { openWorld, type World } from '../support/world.ts'

interface Answer {
  readonly hits: { readonly hits: readonly { readonly fields: { readonly n: readonly number[] } }[] }
}

/** What the engine says to a search in place of the truth; nothing: the truth. */
let lie: ((answer: Answer) => object) | undefined

/** Searches that the engine answered. */
let searches = 0
const authorizations = new Set<string | null>()

const lying: typeof fetch = async (input, init) => {
  authorizations.add(new Headers(init?.headers).get('authorization'))
  const response = await fetch(input, init)
  if (response.ok && String(input).includes('/_search?')) searches += 1
  if (lie === undefined || !new URL(String(input)).pathname.endsWith('/_search')) return response
  return Response.json(lie((await response.json()) as Answer))
}

const password = 'only-the-engine-hears-this'

describe('a service on OpenSearch', needsOpensearch, () => {
  let world: World
  let token: string
  let secret: number
  beforeAll(async () => {
    world = await openWorld({
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

  test('asks the engine, once for vectors and once for words', async () => {
    searches = 0
    expect(await found()).toEqual(['open'])
    expect(searches).toBe(2)
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
    await expect.poll(async () => (await fetch(`${native.opensearch}/remit-${before}`)).status).toBe(404)
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
