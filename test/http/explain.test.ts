import { afterAll, beforeAll, expect, test, vi } from 'vitest'
import { describeBackends } from '../support/backends.ts'
import { openWorld, type World } from '../support/world.ts'

describeBackends('POST /explain and /who-can', (backend) => {
  let world: World
  let delegation: string
  const tokens: Record<'admin' | 'writer' | 'person' | 'agent', string> = {
    admin: '',
    writer: '',
    person: '',
    agent: '',
  }

  beforeAll(async () => {
    world = await openWorld({ backend })
    await world.write(
      'user:anne member group:eng',
      'group:eng#member viewer document:plan',
      'collection:handbook filed_in document:plan',
      'user:* sensitive document:plan',
      'user:* viewer document:menu',
      'user:bob blocked document:menu',
    )
    delegation = await world.lend('anne', 'research-bot', 'collection:handbook')
    await world.service.administrators.add('user:dan', ['security.read'])
    await world.service.administrators.add('user:carol', ['security.write'])
    tokens.admin = await world.token({ user: 'dan' })
    tokens.writer = await world.token({ user: 'carol' })
    tokens.person = await world.token({ user: 'anne' })
    tokens.agent = await world.token({ user: 'anne', agent: 'research-bot' })
  })
  afterAll(() => world?.[Symbol.asyncDispose]())

  const question = { user: 'user:anne', relation: 'can_read', object: 'document:plan' }
  const list = { relation: 'can_read', object: 'document:plan' }
  const ask = async (path: string, body: object, token = tokens.admin) => {
    const response = await world.call('POST', path, { token, body })
    return { status: response.status, body: (await response.json()) as Readonly<Record<string, unknown>> }
  }

  // On a busy machine the replica may be late for one answer, which then says so.
  const askOnceFollowing = (path: string, body: object) =>
    vi.waitFor(
      async () => {
        const answer = await ask(path, body)
        expect(answer).toMatchObject({ status: 200, body: { replica: { state: 'ready' } } })
        return answer.body
      },
      { timeout: 20_000, interval: 100 },
    )

  test('show the stored tuples that an allowance rests on, each with when it was written', async () => {
    const { txn: _, ...answer } = await askOnceFollowing('/explain', question)
    expect(answer).toMatchObject({ decision: 'allowed', explained: 'allowed', agrees: true, cut: 0 })
    const stored = (user: string, relation: string, object: string) => ({
      holds: 'yes',
      tuple: { user, relation, object },
      source: 'stored',
      written_at: expect.stringMatching(/^\d{4}-\d\d-\d\dT[\d:.]+Z$/),
    })
    expect(tuplesIn(answer['reason'])).toMatchObject([
      stored('group:eng#member', 'viewer', 'document:plan'),
      stored('user:anne', 'member', 'group:eng'),
      // The way up on which nobody blocks them.
      { ...stored('collection:handbook', 'filed_in', 'document:plan'), holds: 'no' },
    ])
  })

  test('names the limit in the registry beside an allowance of OpenFGA, and what retrieval gives is within both', async () => {
    await world.put({
      'limits/in': { text: 'Otters.', access: { viewers: ['user:bob'] } },
      'limits/out': { collection: 'finance', text: 'Otters.', access: { viewers: ['user:bob'] } },
    })
    const other = {
      id: 'other-bot',
      owner: 'user:dan',
      purpose: 'tests',
      issuer: world.service.ownIssuer,
      sub: 'other-bot',
    }
    await world.service.agents.save({ ...other, limits: { scopes: undefined, collections: ['handbook'] } })
    const lent = await world.lend('bob', 'other-bot', 'collection:handbook', 'collection:finance')
    const about = (document: string) => ({
      user: 'user:bob',
      agent: 'other-bot',
      delegation: lent,
      relation: 'can_read_delegated',
      object: `document:limits/${document}`,
    })
    expect(await askOnceFollowing('/explain', about('out'))).toMatchObject({
      decision: 'allowed',
      registry: {
        collections: ['handbook'],
        allows: false,
        in_words:
          'The registry limits agent:other-bot to handbook; this is filed in finance: it is not given to it, whatever OpenFGA says.',
      },
    })
    expect(await askOnceFollowing('/explain', about('in'))).toMatchObject({
      decision: 'allowed',
      registry: { collections: ['handbook'], allows: true },
    })
    const token = await world.token({ user: 'bob', agent: 'other-bot' })
    const { results } = await world.retrieve(token, { query: 'otters' })
    expect(results.map(({ document_id }) => document_id)).toEqual(['limits/in'])

    await world.service.agents.save({ ...other, limits: { scopes: undefined, collections: undefined } })
    expect(await askOnceFollowing('/explain', about('out'))).not.toHaveProperty('registry')
    await world.service.agents.disable('other-bot')
    expect(await askOnceFollowing('/explain', about('in'))).toMatchObject({
      registry: {
        allows: false,
        in_words: 'The registry: agent:other-bot is disabled, and is given nothing.',
      },
    })
  })

  test('show what is missing, and follow a change that was just made', async () => {
    const carol = { ...question, user: 'user:carol' }
    const before = await askOnceFollowing('/explain', carol)
    expect(before).toMatchObject({ decision: 'denied', explained: 'denied', agrees: true })
    expect(JSON.stringify(before['reason'])).toContain('"kind":"missing"')

    await world.write('user:carol member group:eng')
    expect(await askOnceFollowing('/explain', carol)).toMatchObject({ decision: 'allowed', agrees: true })
    expect(await askOnceFollowing('/who-can', list)).toMatchObject({
      subjects: [{ user: 'user:anne' }, { user: 'user:carol' }],
    })

    await world.remove('user:carol member group:eng')
    expect(await askOnceFollowing('/explain', carol)).toMatchObject({ decision: 'denied', agrees: true })
    expect(await askOnceFollowing('/who-can', list)).toMatchObject({ subjects: [{ user: 'user:anne' }] })
  })

  test('name the side that keeps something from an agent, and what came with the request', async () => {
    const delegated = { ...question, agent: 'research-bot', delegation }
    const answer = await askOnceFollowing('/explain', { ...delegated, relation: 'can_read_delegated' })
    expect(answer).toMatchObject({
      decision: 'denied',
      agrees: true,
      sides: {
        person: 'allowed',
        delegation: 'allowed',
        scope: 'allowed',
        sensitive: 'allowed',
        approval: 'denied',
      },
    })
    expect(answer['in_words']).toContain('It is sensitive, and no approval that was presented covers it.')

    const told = await askOnceFollowing('/explain', { ...delegated, relation: 'can_be_told' })
    expect(told).toMatchObject({ decision: 'allowed', agrees: true })
    expect(tuplesIn(told['reason'])).toContainEqual(
      expect.objectContaining({
        source: 'request',
        tuple: { user: 'user:anne', relation: 'acting_for', object: 'agent:research-bot' },
      }),
    )
  })

  test('list people through their groups, everyone, and who is left out of everyone', async () => {
    expect(await askOnceFollowing('/who-can', list)).toMatchObject({
      subjects: [{ kind: 'person', user: 'user:anne', via: 'member of group:eng, viewer of document:plan' }],
      cursor: null,
      complete: true,
    })
    expect(await askOnceFollowing('/who-can', { ...list, object: 'document:menu' })).toMatchObject({
      subjects: [
        { kind: 'everyone', user: 'user:*' },
        { kind: 'excluded', user: 'user:bob', via: null },
      ],
      complete: true,
    })
  })

  test('explain by OpenFGA’s decision, for an agent in words', async () => {
    expect(await ask('/explain', question)).toMatchObject({ status: 200, body: { decision: 'allowed' } })
    const delegated = { ...question, relation: 'can_read_delegated', agent: 'research-bot', delegation }
    expect(await ask('/explain', delegated)).toMatchObject({
      status: 200,
      body: { decision: 'denied', tuples: 'current' },
    })
  })

  test('are for administrators with security.read, and for no agent', async () => {
    for (const [path, body] of [
      ['/explain', question],
      ['/who-can', list],
    ] as const) {
      expect((await ask(path, body, tokens.person)).body).toMatchObject({ code: 'insufficient_scope' })
      expect((await ask(path, body, tokens.writer)).body).toMatchObject({ code: 'insufficient_scope' })
      expect((await ask(path, body, tokens.agent)).body).toMatchObject({ code: 'forbidden' })
      expect((await world.call('POST', path, { body })).status).toBe(401)
    }
  })

  test('tell a person who is no administrator any more nothing, whether or not the object is there', async () => {
    await world.service.administrators.add('user:bob', ['security.read'])
    const token = await world.token({ user: 'bob' })
    await world.database.query(`delete from administrators where subject = 'user:bob'`)
    const there = await ask('/explain', question, token)
    const missing = await ask('/explain', { ...question, object: 'document:none' }, token)
    expect(there).toMatchObject({ status: 403, body: { code: 'forbidden' } })
    expect({ ...missing.body, txn: '' }).toEqual({ ...there.body, txn: '' })
  })

  test('refuse an unknown member and a wrong one by name', async () => {
    expect((await ask('/explain', { ...question, force: true })).status).toBe(422)
    expect((await ask('/explain', { ...question, at: 'yesterday' })).body).toMatchObject({ field: 'at' })
    expect((await ask('/explain', { ...question, agent: 'research-bot' })).body).toMatchObject({
      field: 'delegation',
    })
    expect((await ask('/who-can', { ...list, limit: 201 })).body).toMatchObject({ field: 'limit' })
    expect((await ask('/who-can', { ...list, cursor: 'x' })).body).toMatchObject({ field: 'cursor' })
  })

  test('are on record', async () => {
    await ask('/explain', question)
    await ask('/who-can', list)
    const rows = await world.database.query<{ event: string; subject: string }>(
      `select event, subject from decision_records order by record_no desc limit 2`,
    )
    expect(rows).toEqual([
      { event: 'who_can_listed', subject: 'user:dan' },
      { event: 'explained', subject: 'user:dan' },
    ])
  })
})

interface Node {
  readonly tuple?: object
  readonly because: readonly Node[]
}

/** Every tuple of a tree, from the object outwards. */
function tuplesIn(reason: unknown): readonly Node[] {
  const node = reason as Node
  return [...(node.tuple === undefined ? [] : [node]), ...node.because.flatMap(tuplesIn)]
}
