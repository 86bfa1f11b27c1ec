import { afterAll, beforeAll, describe, expect, test } from 'vitest'
import type { World } from '../support/world.ts'
import { callTool, openMcpWorld, type Reply, type Revision, revisions, say, textOf } from './world.ts'

// One gate, two faces: whatever is asked over HTTP is asked over MCP, by the same people and agents, in both
// revisions.

const askers = [
  { user: 'anne', agent: 'research-bot' },
  { user: 'anne', agent: 'other-bot' },
  { user: 'bob', agent: 'research-bot' },
] as const
type Asker = (typeof askers)[number]

const questions = [
  { query: 'travel budget' },
  { query: 'travel budget', top_k: 1 },
  { query: 'secret', mode: 'keyword' },
  { query: 'budget', collections: ['finance'] },
  { query: 'budget', collections: ['no-such'] },
  { query: 'rules for the board', consistency: 'strict', mode: 'vector' },
  { query: 'travel', filter: { team: 'green' } },
] as const

const ids = [
  'handbook/travel',
  'handbook/secret',
  'handbook/blocked',
  'finance/budget',
  'handbook/no%20such',
] as const

let world: World
beforeAll(async () => {
  world = await openMcpWorld()
  await world.database.query(
    `insert into fields (name, type) values ('team', 'string') on conflict do nothing`,
  )
})
afterAll(() => world?.[Symbol.asyncDispose]())

/** Without what differs from answer to answer. */
function steady(answer: unknown): unknown {
  const { txn, freshness, content_trust, notice, approval, ...rest } = answer as Readonly<
    Record<string, unknown>
  >
  return { ...rest, offered: approval !== undefined }
}

const over = async (asker: Asker, revision: Revision, name: string, args: object): Promise<Reply> =>
  callTool(world, name, args, { token: await world.token({ ...asker, resource: 'mcp' }), revision })

describe.each(revisions)('in revision %s', (revision) => {
  test.each(askers)('$user through $agent gets the same passages by MCP as by HTTP', async (asker) => {
    const token = await world.token(asker)
    let passages = 0
    for (const question of questions) {
      // Ten offers an hour, by both faces together.
      await world.database.query('delete from offer_limits')
      const byHttp = await world.retrieve(token, question)
      const byMcp = await over(asker, revision, 'retrieve', question)
      expect(steady(byMcp.body.result?.['structuredContent'])).toEqual(steady(byHttp))
      passages += byHttp.results.length
    }
    expect(passages).toBeGreaterThan(0)
  })

  test.each(askers)(
    '$user through $agent reads the same documents, as a tool and as a resource',
    async (asker) => {
      const token = await world.token(asker)
      let read = 0
      for (const id of ids) {
        const byHttp = await world.call('GET', `/documents/${encodeURIComponent(id)}`, { token })
        const document: unknown = await byHttp.json()
        const tool = await over(asker, revision, 'read_document', { id })
        const resource = await say(
          world,
          'resources/read',
          { uri: `remit://document/${encodeURIComponent(id)}` },
          { token: await world.token({ ...asker, resource: 'mcp' }), revision },
        )
        if (byHttp.status === 200) {
          read += 1
          expect(steady(tool.body.result?.['structuredContent'])).toEqual(steady(document))
          const [content] = (resource.body.result?.['contents'] ?? []) as { text: string; _meta: object }[]
          const { uri, ...rest } = steady(document) as { uri: null }
          expect(uri).toBeNull()
          expect(steady({ text: content?.text, ...content?._meta })).toMatchObject(rest)
        } else {
          expect([404, 403]).toContain(byHttp.status)
          expect(tool.body.result).toMatchObject({ isError: true })
          expect(JSON.parse(textOf(tool))).toMatchObject({ code: (document as { code: string }).code })
          if (byHttp.status === 404)
            expect(resource.body.error?.message).toMatch(/^Resource (not found|.* not found)/i)
          else expect(resource.body.error).toBeDefined()
        }
      }
      expect(read).toBeGreaterThan(0)
      expect(read).toBeLessThan(ids.length)
    },
  )

  test.each(askers)('$user through $agent is listed the same collections', async (asker) => {
    const byHttp: unknown = await (
      await world.call('GET', '/collections', { token: await world.token(asker) })
    ).json()
    const byMcp = await over(asker, revision, 'list_collections', {})
    expect(steady(byMcp.body.result?.['structuredContent'])).toEqual(steady(byHttp))
    expect(steady(byHttp)).not.toMatchObject({ collections: [] })
  })

  test('a forbidden document and a missing one are told apart by nothing but the id that was asked for', async () => {
    const said = { token: await world.token({ ...askers[2], resource: 'mcp' }), revision }
    const [forbidden, missing] = ['handbook/secret', 'handbook/absent'] as const
    const read = async (id: string) => {
      const tool = await callTool(world, 'read_document', { id }, said)
      const resource = await say(
        world,
        'resources/read',
        { uri: `remit://document/${encodeURIComponent(id)}` },
        said,
      )
      return JSON.stringify([tool.status, tool.body, resource.status, resource.body])
        .replaceAll(encodeURIComponent(id), 'ID')
        .replaceAll(id, 'ID')
    }
    expect(await read(forbidden)).toBe(await read(missing))
  })
})

test('a document that is named as a passage names it is refused by a hint of the right name', async () => {
  for (const revision of revisions) {
    const reply = await over(askers[0], revision, 'read_document', { document_id: 'handbook/travel' })
    expect(JSON.parse(textOf(reply))).toMatchObject({
      code: 'invalid_request',
      field: 'document_id',
      detail: 'This member is not known. Here it is `id`.',
    })
  }
})

test('what the faces cannot take is refused at both, naming the member in the same words', async () => {
  const [asker] = askers
  const token = await world.token(asker)
  for (const wrong of [
    { query: 'a', embedding: [1] },
    { query: 'a', top_k: 0 },
    { query: 'a', filter: { nosuch: 1 } },
    { question: 'a' },
    {},
  ]) {
    const byHttp = await world.call('POST', '/retrieve', { token, body: wrong })
    expect(byHttp.status).toBe(422)
    const { detail, field } = (await byHttp.json()) as { detail: string; field: string }
    for (const revision of revisions) {
      const reply = await over(asker, revision, 'retrieve', wrong)
      expect(reply.body.result).toMatchObject({ isError: true })
      expect(JSON.parse(textOf(reply))).toEqual({
        code: 'invalid_request',
        title: expect.any(String),
        detail,
        field,
        txn: expect.stringMatching(/./),
      })
    }
  }
})
