import { afterAll, beforeAll, expect, test, vi } from 'vitest'
import { agree } from '../support/approvals.ts'
import { describeBackends } from '../support/backends.ts'
import { openWorld, type World } from '../support/world.ts'

// What a person agreed to, while the documents and OpenFGA change under it.
const secret = { viewers: ['user:anne'], sensitive: true }
const text = 'Board minutes of the merger.'
const asking = { query: 'board minutes', top_k: 5, mode: 'keyword' }
const second = { timeout: 10_000 }

describeBackends('a grant of documents', (backend) => {
  let world: World
  let delegation: string
  let bot: string
  beforeAll(async () => {
    world = await openWorld({ backend, env: { REQUEST_DEADLINE_MS: '60000' } })
    await world.put({
      'board/1': { text, access: secret },
      'board/2': { text, access: secret },
      'handbook/open': { text: 'The board meets.', access: { viewers: ['user:anne'] } },
    })
    delegation = await world.lend('anne', 'research-bot', 'collection:handbook')
    bot = await world.token({ user: 'anne', agent: 'research-bot' })
    await vi.waitUntil(async () => (await found()).includes('handbook/open'), second)
  }, 60_000)
  afterAll(() => world?.[Symbol.asyncDispose]())

  const found = async (approval?: string) => {
    const { results } = await world.retrieve(bot, { ...asking, ...(approval !== undefined && { approval }) })
    return [...new Set(results.map(({ document_id: id }) => id))].sort()
  }
  const all = ['board/1', 'board/2', 'handbook/open']
  const granted = () => agree(world, { delegation, objects: ['document:board/1', 'document:board/2'] })

  test('is left alone by drift, and what drift finds beside it opens nothing', async () => {
    const grant = await granted()
    await world.service.fga.write({
      writes: [
        { user: 'grant:g_nobody-made', relation: 'granted_by', object: 'document:board/1' },
        {
          user: 'user:anne',
          relation: 'grantor',
          object: 'grant:g_nobody-made',
          condition: { name: 'until', context: { expires_at: new Date(Date.now() + 600_000).toISOString() } },
        },
        { user: 'agent:research-bot', relation: 'agent', object: 'grant:g_nobody-made' },
      ],
    })
    expect(await world.service.ingest.drift()).toMatchObject({ mended: 0 })
    await vi.waitUntil(async () => (await found(grant)).length === 3, second)
    expect(await found(grant)).toEqual(all)
    for (const forged of ['g_nobody-made', 'g_nobody', ''])
      expect(await found(forged || undefined)).toEqual(['handbook/open'])
  })

  test('is not of a document that was withdrawn and came again under the same id', async () => {
    const grant = await granted()
    await vi.waitUntil(async () => (await found(grant)).length === 3, second)
    const loader = await world.token({ service: 'loader' })
    const gone = await world.call('DELETE', '/documents/board%2F1', {
      token: loader,
      headers: { prefer: 'wait' },
    })
    expect(gone.status).toBe(200)
    await world.put({ 'board/1': { text: `${text} Another one.`, access: secret } })
    // The agent is told that it could be asked for, as of any.
    await vi.waitUntil(async () => (await found(grant)).includes('board/2'), second)
    expect(await found(grant)).toEqual(['board/2', 'handbook/open'])
    const { approvalGrants } = world.service.grants
    await approvalGrants.mend()
    expect(await found(grant)).toEqual(['board/2', 'handbook/open'])
  })

  test('ends for the person’s own agent the moment they may no longer read', async () => {
    const grant = await granted()
    await vi.waitUntil(async () => (await found(grant)).length === 3, second)
    await world.remove('user:anne viewer document:board/2')
    expect(await found(grant)).toEqual(['board/1', 'handbook/open'])
  })
})
