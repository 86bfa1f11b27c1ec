import { afterAll, beforeAll, beforeEach, describe, expect, test } from 'vitest'
import { needsOpensearch } from '../support/native.ts'
import { opensearchSettings } from '../support/opensearch.ts'
import { openWorld, type World } from '../support/world.ts'

interface Answer {
  readonly hits: { readonly hits: readonly { readonly fields: { readonly n: readonly number[] } }[] }
}

/** What the engine says to a search in place of the truth; nothing: the truth. */
let lie: ((answer: Answer) => object) | undefined

const lying: typeof fetch = async (input, init) => {
  const response = await fetch(input, init)
  if (lie === undefined || !new URL(String(input)).pathname.endsWith('/_search')) return response
  return Response.json(lie((await response.json()) as Answer))
}

describe('a service on an engine that lies', needsOpensearch, () => {
  let world: World
  let token: string
  let secret: number
  beforeAll(async () => {
    world = await openWorld({ env: opensearchSettings(), fetch: lying })
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
  )('and $title gets the truth answered by Postgres: $mode', async ({ told, mode }) => {
    lie = told
    const { results } = await world.retrieve(token, { query: 'merger', mode })
    expect(results.map(({ document_id }) => document_id)).toEqual(['open'])
    expect(JSON.stringify(results)).not.toContain('5,000')
  })

  test('is asked', async () => {
    let searches = 0
    lie = (answer) => {
      searches += 1
      return answer
    }
    const { results } = await world.retrieve(token, { query: 'merger', mode: 'hybrid' })
    expect(results.map(({ document_id }) => document_id)).toEqual(['open'])
    expect(searches).toBe(2)
  })

  test('has what was taken away, and it is not found by the next request', async () => {
    await world.put({ gone: { text: 'The merger is off.', access: { viewers: ['user:anne'] } } })
    const found = async () => {
      const { results } = await world.retrieve(token, { query: 'merger', mode: 'hybrid' })
      return results.map(({ document_id }) => document_id).sort()
    }
    expect(await found()).toEqual(['gone', 'open'])
    await world.remove('user:anne viewer document:gone')
    expect(await found()).toEqual(['open'])
  })
})
