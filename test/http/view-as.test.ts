import { afterAll, beforeAll, describe, expect, test, vi } from 'vitest'
import { openWorld, type World } from '../support/world.ts'

interface Answer {
  readonly documents: readonly { readonly document_id: string; readonly via: string | null }[]
  readonly cursor: string | null
  readonly complete: boolean
  readonly limited_by: string | null
}

describe('POST /view-as', () => {
  let world: World
  let lent: string
  let reader = ''
  const documents = ['a-open', 'b-eng', 'c-eng', 'd-secret', 'e-blocked', 'f-pay', 'g-bob']

  beforeAll(async () => {
    world = await openWorld()
    await world.write('user:anne member group:eng')
    const eng = { viewers: ['group:eng#member'] }
    await world.put({
      'a-open': { title: 'The open one', text: 'Otters.', access: { viewers: ['user:*'] } },
      'b-eng': { text: 'Otters.', access: eng },
      'c-eng': { text: 'Otters.', access: eng },
      'd-secret': { text: 'Otters.', access: { ...eng, sensitive: true } },
      'e-blocked': { text: 'Otters.', access: { ...eng, blocked: ['user:anne'] } },
      'f-pay': { collection: 'finance', text: 'Otters.', access: eng },
      'g-bob': { text: 'Otters.', access: { viewers: ['user:bob'] } },
    })
    // Never taken in: there is nothing to read.
    await world.write('user:anne viewer document:h-nothing')
    lent = await world.lend('anne', 'research-bot', 'collection:handbook', 'collection:finance')
    await world.service.administrators.add('user:dan', ['security.read'])
    await world.service.administrators.add('user:carol', ['security.write'])
    reader = await world.token({ user: 'dan' })
  })
  afterAll(() => world?.[Symbol.asyncDispose]())

  const ask = async (body: object, token = reader) => {
    const response = await world.call('POST', '/view-as', { token, body })
    return { status: response.status, body: (await response.json()) as Answer & { readonly field?: string } }
  }
  const view = (body: object) =>
    vi.waitFor(
      async () => {
        const answer = await ask(body)
        expect(answer).toMatchObject({ status: 200, body: { complete: true } })
        return answer.body
      },
      { timeout: 20_000, interval: 100 },
    )
  const idsOf = ({ documents: found }: Answer) => found.map(({ document_id }) => document_id)
  const readable = async (token: string) => {
    const found: string[] = []
    for (const id of documents)
      if ((await world.call('GET', `/documents/${id}`, { token })).status === 200) found.push(id)
    return found
  }

  test('lists what the person would be given, and how they get it, by ids alone', async () => {
    const answer = await view({ user: 'user:anne' })
    expect(idsOf(answer)).toEqual(await readable(await world.token({ user: 'anne' })))
    expect(idsOf(answer)).toEqual(['a-open', 'b-eng', 'c-eng', 'd-secret', 'f-pay'])
    expect(answer.documents[1]?.via).toBe('member of group:eng, viewer of document:b-eng')
    expect(JSON.stringify(answer)).not.toMatch(/Otters|The open one/)
    expect(idsOf(await view({ user: 'user:anne', collection: 'finance' }))).toEqual(['f-pay'])
  })

  test('lists what an agent would be given for them: nothing sensitive, nothing beyond what was lent', async () => {
    const through = { user: 'user:anne', agent: 'research-bot', delegation: lent }
    const token = await world.token({ user: 'anne', agent: 'research-bot' })
    const answer = await view(through)
    expect(idsOf(answer)).toEqual(await readable(token))
    expect(idsOf(answer)).toEqual(['a-open', 'b-eng', 'c-eng', 'f-pay'])
    expect(answer.limited_by).toBeNull()
    expect(idsOf(await view({ ...through, user: 'user:bob' }))).toEqual([])
  })

  test('holds an agent to its registry and to a delegation that is over, and says so', async () => {
    const bot = {
      id: 'other-bot',
      owner: 'user:dan',
      purpose: 'tests',
      issuer: world.service.ownIssuer,
      sub: 'other-bot',
    }
    await world.service.agents.save({ ...bot, limits: { scopes: undefined, collections: ['finance'] } })
    const delegation = await world.lend('anne', 'other-bot', 'collection:handbook', 'collection:finance')
    const through = { user: 'user:anne', agent: 'other-bot', delegation }
    const answer = await view(through)
    expect(idsOf(answer)).toEqual(['f-pay'])
    expect(answer.limited_by).toBe('The registry limits agent:other-bot to finance.')
    await world.service.delegations.revoke(delegation)
    const over = await view(through)
    expect([idsOf(over), over.limited_by]).toEqual([
      [],
      `delegation:${delegation} is not in force: it gives nothing.`,
    ])
    await world.service.agents.disable('other-bot')
    expect((await view(through)).limited_by).toBe('agent:other-bot is disabled, and is given nothing.')
  })

  test('comes in pages, and takes no cursor of another list', async () => {
    const found: string[] = []
    let cursor: string | null = null
    do {
      const page: Answer = await view({ user: 'user:anne', limit: 2, ...(cursor !== null && { cursor }) })
      found.push(...idsOf(page))
      cursor = page.cursor
    } while (cursor !== null)
    expect(found).toEqual(['a-open', 'b-eng', 'c-eng', 'd-secret', 'f-pay'])
    const { cursor: hers } = await view({ user: 'user:anne', limit: 2 })
    expect(await ask({ user: 'user:bob', cursor: hers })).toMatchObject({
      status: 422,
      body: { field: 'cursor' },
    })
  })

  test('names the field of what is no person, and of an agent without its delegation', async () => {
    for (const user of ['anne', 'user:*', 'group:eng#member', 'user:x y'])
      expect(await ask({ user })).toMatchObject({ status: 422, body: { field: 'user' } })
    const agent = { user: 'user:anne', agent: 'research-bot' }
    expect(await ask(agent)).toMatchObject({ status: 422, body: { field: 'delegation' } })
  })

  test('is for people with the role alone', async () => {
    for (const who of [{ user: 'carol' }, { user: 'anne' }, { user: 'anne', agent: 'research-bot' }])
      expect((await ask({ user: 'user:anne' }, await world.token(who))).status).toBe(403)
    // With a token from when they had it.
    await world.service.administrators.add('user:bob', ['security.read'])
    const before = await world.token({ user: 'bob' })
    expect((await ask({ user: 'user:anne' }, before)).status).toBe(200)
    await world.service.administrators.remove('user:bob', ['security.read'])
    expect((await ask({ user: 'user:anne' }, before)).status).toBe(403)
  })

  test('leaves a trace that names who looked, as whom and through what, before it answers', async () => {
    const [first] = await world.database.query<{ subject: string; detail: object }>(
      `select subject, detail from decision_records where event = 'viewed_as' and detail ? 'agent' order by record_no`,
    )
    expect(first).toMatchObject({
      subject: 'user:dan',
      detail: { user: 'user:anne', agent: 'research-bot', delegation: lent, listed: 4, complete: true },
    })
    const found = await world.call('GET', `/audit?event=viewed_as&object=delegation:${lent}`, {
      token: reader,
    })
    const { records } = (await found.json()) as { records: { subject: string; detail: { user: string } }[] }
    expect(records.map(({ subject, detail }) => [subject, detail.user])).toContainEqual([
      'user:dan',
      'user:anne',
    ])
  })
})
