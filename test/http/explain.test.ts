import { afterAll, beforeAll, expect, test } from 'vitest'
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
