import { afterAll, beforeAll, expect, test } from 'vitest'
import { describeBackends } from '../support/backends.ts'
import { openWorld, type World } from '../support/world.ts'

const filler = (topic: string, count: number) =>
  Object.fromEntries(
    Array.from({ length: count }, (_, index) => [
      `${topic}/${index}`,
      { text: `${topic} number ${index} on budgets.` },
    ]),
  )

describeBackends('retrieve', (backend) => {
  let world: World
  // Of what OpenFGA gave no verdict in time nothing is in the answer, which says so: then it is asked again.
  const whole = async (token: string, body: object) => {
    for (;;) {
      const answer = await world.retrieve(token, body)
      if (answer.complete) return answer
    }
  }
  const ids = async (token: string, body: object) => {
    const { results } = await whole(token, body)
    return [...new Set(results.map(({ document_id }) => document_id))].sort()
  }

  beforeAll(async () => {
    world = await openWorld({ backend, env: { REQUEST_DEADLINE_MS: '60000' } })
    // First: a question hears of what was written beside other changes only within the last hundred of them.
    await world.put(filler('crowd', 120))
    await world.put({
      'handbook/travel': {
        text: '# Travel\n\nBook trains early. The travel budget is 900.',
        access: { viewers: ['group:staff#member'] },
      },
      'handbook/secret': {
        text: 'The secret travel budget is 5,000.',
        access: { viewers: ['user:anne'], sensitive: true },
      },
      'handbook/blocked': {
        text: 'Travel rules for the board.',
        access: { viewers: ['group:staff#member'], blocked: ['user:bob'] },
      },
      'handbook/nobody': { text: 'Travel diary without readers.' },
      'finance/budget': {
        collection: 'finance',
        text: 'The finance budget for travel is 12,000.',
        access: { viewers: ['user:anne'] },
      },
    })
    await world.write('user:anne member group:staff', 'user:bob member group:staff')
    await world.lend('anne', 'research-bot', 'collection:handbook')
    await world.lend('bob', 'research-bot', 'collection:handbook', 'collection:finance')
    await world.lend('carol', 'research-bot', 'collection:handbook', 'collection:finance')
  })
  afterAll(() => world?.[Symbol.asyncDispose]())

  const asking = { query: 'travel budget', top_k: 20 }

  test('gives a person exactly what they may read', async () => {
    expect(await ids(await world.token({ user: 'anne' }), asking)).toEqual([
      'finance/budget',
      'handbook/blocked',
      'handbook/secret',
      'handbook/travel',
    ])
    expect(await ids(await world.token({ user: 'bob' }), asking)).toEqual(['handbook/travel'])
    expect(await ids(await world.token({ user: 'carol' }), asking)).toEqual([])
  })

  test('gives an agent what its person may read, within what was lent, and nothing sensitive', async () => {
    expect(await ids(await world.token({ user: 'anne', agent: 'research-bot' }), asking)).toEqual([
      'handbook/blocked',
      'handbook/travel',
    ])
    expect(await ids(await world.token({ user: 'bob', agent: 'research-bot' }), asking)).toEqual([
      'handbook/travel',
    ])
    expect(await ids(await world.token({ user: 'carol', agent: 'research-bot' }), asking)).toEqual([])
  })

  test.each(['hybrid', 'vector', 'keyword'])('keeps to permissions in mode %s', async (mode) => {
    expect(await ids(await world.token({ user: 'bob' }), { ...asking, mode })).toEqual(['handbook/travel'])
  })

  test('narrows to the collections asked for, and an unknown one is simply empty', async () => {
    const token = await world.token({ user: 'anne' })
    expect(await ids(token, { ...asking, collections: ['finance'] })).toEqual(['finance/budget'])
    expect(await ids(token, { ...asking, collections: ['no-such'] })).toEqual([])
  })

  test('finds the ten passages of someone who may read one document in a hundred', async () => {
    await world.write(
      ...Array.from({ length: 12 }, (_, index) => `user:dan viewer document:crowd/${index * 10}`),
    )
    const { results } = await whole(await world.token({ user: 'dan' }), { query: 'budgets number 3' })
    expect(results).toHaveLength(10)
    expect(results.map(({ rank }) => rank)).toEqual([1, 2, 3, 4, 5, 6, 7, 8, 9, 10])
    expect(results.every(({ document_id }) => /^crowd\/\d*0$/.test(document_id))).toBe(true)
  })

  test('a permission that ends is in force at the next question', async () => {
    await world.write('user:carol viewer document:handbook/travel')
    const token = await world.token({ user: 'carol' })
    expect(await ids(token, asking)).toEqual(['handbook/travel'])
    await world.remove('user:carol viewer document:handbook/travel')
    expect(await ids(token, asking)).toEqual([])
  })

  test('a delegation that was revoked is refused at the next question, with the same token', async () => {
    const id = await world.lend('dan', 'other-bot', 'collection:handbook')
    const token = await world.token({ user: 'dan', agent: 'other-bot' })
    expect((await world.call('POST', '/retrieve', { token, body: asking })).status).toBe(200)
    await world.service.delegations.revoke(id)
    expect((await world.call('POST', '/retrieve', { token, body: asking })).status).toBe(403)
  })

  test('cites where each passage stands', async () => {
    const { results } = await whole(await world.token({ user: 'bob' }), asking)
    expect(results[0]).toMatchObject({
      document_id: 'handbook/travel',
      collection: 'handbook',
      title: 'handbook/travel',
      locator: { headings: ['Travel'], start: expect.any(Number), end: expect.any(Number) },
      provenance: { source: 'loader', updated_at: '2026-01-01T00:00:00.000Z' },
    })
  })

  test('puts the answer on record with what was released, and without the words of the question', async () => {
    const { txn, results } = await world.retrieve(
      await world.token({ user: 'anne', agent: 'research-bot' }),
      asking,
    )
    const rows = await world.database.query<{ subject: string; actors: string[]; detail: object }>(
      'select subject, actors, detail from decision_records where txn = $1',
      [txn],
    )
    expect(rows).toHaveLength(1)
    expect(rows[0]).toMatchObject({ subject: 'user:anne', actors: ['agent:research-bot'] })
    const recorded = JSON.stringify(rows[0])
    for (const { chunk_id } of results) expect(recorded).toContain(chunk_id)
    expect(recorded).not.toContain('travel budget')
  })

  test('lists only collections with something cleared', async () => {
    const listed = async (user: string) => {
      const token = await world.token({ user })
      for (;;) {
        const response = await world.call('GET', '/collections', { token })
        const list = (await response.json()) as { collections: { id: string }[]; complete: boolean }
        if (list.complete) return list.collections.map(({ id }) => id)
      }
    }
    expect(await listed('anne')).toEqual(['finance', 'handbook'])
    expect(await listed('bob')).toEqual(['handbook'])
    expect(await listed('carol')).toEqual([])
  })

  test('reads a whole document, and answers the same 404 for a forbidden and a missing one', async () => {
    const token = await world.token({ user: 'bob' })
    const read = await world.call('GET', '/documents/handbook%2Ftravel', { token })
    expect(await read.json()).toMatchObject({
      id: 'handbook/travel',
      text: expect.stringContaining('Book trains early'),
    })
    const strip = async (response: Response) => ({
      status: response.status,
      ...((await response.json()) as object),
      txn: '',
    })
    const forbidden = await strip(await world.call('GET', '/documents/handbook%2Fsecret', { token }))
    const missing = await strip(await world.call('GET', '/documents/handbook%2Fnosuch', { token }))
    expect(forbidden).toEqual(missing)
    expect(forbidden.status).toBe(404)
  })
})
