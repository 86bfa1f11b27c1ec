import { afterAll, beforeAll, expect, test } from 'vitest'
import { agree } from '../support/approvals.ts'
import { describeDatabases } from '../support/backends.ts'
import { needsEmbeddedIndex } from '../support/native.ts'
import { noting, sentBy } from '../support/noting.ts'
import { openWorld, type RetrieveBody, type World } from '../support/world.ts'

const secret = { viewers: ['user:anne'], sensitive: true }

describeDatabases('a hot answer', (kind) => {
  let world: World
  let delegation: string
  beforeAll(async () => {
    world = await openWorld({
      backend: { database: kind, openfga: 'engine' },
      database: noting,
      env: { VERDICT_TTL: '60' },
    })
    await world.put({
      travel: { text: 'The travel budget is 900.', access: { viewers: ['user:anne'] } },
      merger: { text: 'Minutes of the merger.', access: secret },
    })
    delegation = await world.lend('anne', 'research-bot', 'collection:handbook')
  })
  afterAll(() => world?.[Symbol.asyncDispose]())

  const ids = ({ results }: RetrieveBody) => results.map(({ document_id }) => document_id).sort()

  async function sentFor(token: string, body: object): Promise<string[]> {
    const ask = () => world.retrieve(token, { query: 'travel budget', ...body })
    for (let time = 0; time < 2; time += 1) expect(ids(await ask())).toContain('travel')
    return sentBy(ask)
  }

  // Those of OpenSearch: test/contract/opensearch-service.test.ts.
  test.each([
    ['vector', 2],
    ['keyword', 3],
    ['hybrid', 4],
  ])(
    'by %s takes %i statements, for an agent as for a person',
    needsEmbeddedIndex,
    async (mode, statements) => {
      for (const agent of [undefined, 'research-bot']) {
        const scopes = ['docs.search', ...(agent === undefined ? [] : ['docs.read'])]
        const token = await world.token({ user: 'anne', scopes, ...(agent !== undefined && { agent }) })
        const sent = await sentFor(token, { mode })
        expect(sent, sent.map((text) => text.slice(0, 90)).join('\n')).toHaveLength(statements)
        expect(sent.at(-1)).toContain('insert into decision_records')
      }
    },
  )

  test('reads its text and writes its record in one statement: neither is there without the other', async () => {
    const sent = await sentFor(await world.token({ user: 'anne' }), { mode: 'vector' })
    const ofText = sent.filter((text) => text.includes('chunk_texts'))
    expect(ofText).toHaveLength(1)
    expect(sent.filter((text) => text.includes('decision_records'))).toEqual(ofText)
  })

  test('nobody looks what else could be presented, and what the person remembers for the agent counts at once', async () => {
    const token = await world.token({ user: 'anne', agent: 'research-bot', scopes: ['docs.search'] })
    const question = { query: 'minutes of the merger', mode: 'keyword' }
    for (let time = 0; time < 2; time += 1) expect(ids(await world.retrieve(token, question))).toEqual([])
    await agree(world, { delegation, objects: ['collection:handbook'], remembered: true })
    const { results, txn } = await world.retrieve(token, question)
    expect(results.map(({ document_id }) => document_id)).toEqual(['merger'])
    // All three have the token's txn; the one that was begun in vain left no record behind.
    expect(
      await world.database.query(
        `select count(*) from decision_records where txn = $1 and event = 'retrieved'`,
        [txn],
      ),
    ).toEqual([{ count: 3 }])
  })
})
