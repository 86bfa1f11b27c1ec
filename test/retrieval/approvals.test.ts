import { afterAll, beforeAll, describe, expect, test, vi } from 'vitest'
import { operator } from '../../src/audit/record.ts'
import { agree } from '../support/approvals.ts'
import { describeBackends } from '../support/backends.ts'
import { openWorld, type RetrieveBody, type World } from '../support/world.ts'

type Answer = RetrieveBody & { readonly approval?: { readonly offer_id: string }; readonly scope_key: string }

const tests = operator('t_tests')
// OpenFGA's caches keep a no for 10 s: what is polled for less is not answered from them.
const second = { timeout: 10_000 }
const secret = { viewers: ['user:anne'], sensitive: true }
const asking = { query: 'board minutes of the merger', top_k: 5, mode: 'keyword' }

describeBackends('approvals of documents', (backend) => {
  let world: World
  let delegation: string
  let bot: string

  beforeAll(async () => {
    world = await openWorld({ backend, env: { REQUEST_DEADLINE_MS: '60000' } })
    await world.put({
      'board/1': { text: 'Board minutes of the merger, part one.', access: secret },
      'board/2': { text: 'Board minutes of the merger, part two.', access: secret },
      'board/foreign': {
        text: 'Board minutes of the merger, part three.',
        access: { viewers: ['user:bob'], sensitive: true },
      },
      'finance/board': {
        collection: 'finance',
        text: 'Board minutes of the merger, the costs.',
        access: secret,
      },
      'handbook/open': { text: 'The board meets on Mondays.', access: { viewers: ['user:anne'] } },
      'folders/1': { text: 'Zebra plans one.', access: { parents: ['folder:zebras'] } },
    })
    await world.write('user:anne viewer folder:zebras', 'user:* sensitive folder:zebras')
    delegation = await world.lend('anne', 'research-bot', 'collection:handbook')
    bot = await world.token({ user: 'anne', agent: 'research-bot' })
    // What is given may take a second to be seen.
    const anne = await world.token({ user: 'anne' })
    const all = ['board/1', 'board/2', 'handbook/open']
    await vi.waitUntil(async () => {
      const seen = ids(await ask(anne, asking))
      return all.every((id) => seen.includes(id)) && ids(await ask(bot, asking)).includes('handbook/open')
    }, second)
  }, 30_000)
  afterAll(() => world?.[Symbol.asyncDispose]())

  const ask = async (token: string, body: object): Promise<Answer> =>
    (await world.retrieve(token, body)) as Answer
  const ids = ({ results }: Answer) => [...new Set(results.map(({ document_id }) => document_id))].sort()
  const read = (token: string, id: string, approval?: string) =>
    world.call('GET', `/documents/${encodeURIComponent(id)}${approval ? `?approval=${approval}` : ''}`, {
      token,
    })
  /** `queryHmac` of a question, as the record of its answer has it. */
  async function digestOf(body: object): Promise<string> {
    const { txn } = await ask(bot, body)
    const [row] = await world.database.query<{ digest: string }>(
      `select detail ->> 'query_hmac' as digest from decision_records where txn = $1 and event = 'retrieved'
       order by record_no desc limit 1`,
      [txn],
    )
    return row?.digest ?? ''
  }
  async function recorded(txn: string) {
    const [row] = await world.database.query<{
      released: { document_id: string; grants?: string[] }[]
    }>(
      `select detail -> 'released' as released from decision_records where txn = $1 and event = 'retrieved'
       order by record_no desc limit 1`,
      [txn],
    )
    return row?.released ?? []
  }

  test('an agent is offered what its person could say yes to, and is given none of it', async () => {
    let answer = await ask(bot, asking)
    // It is offered nothing while it is told that something may be missing, nor what is found late.
    for (let tries = 0; tries < 20 && !(answer.complete && answer.approval); tries += 1)
      answer = await ask(bot, asking)
    expect(ids(answer)).toEqual(['handbook/open'])
    expect(answer.approval).toEqual({ offer_id: expect.stringMatching(/^o_[\w-]{22}$/) })
    const offer = await world.service.grants.offers.find(
      { subject: 'user:anne', agent: 'research-bot', delegation },
      answer.approval?.offer_id ?? '',
    )
    expect([...(offer?.documentIds ?? [])].sort()).toEqual(['board/1', 'board/2'])
    expect(offer?.queryHmac).toBe(await digestOf(asking))
    expect(JSON.stringify(answer)).not.toContain('board/')
  })

  test('nobody else is: not the person alone, not where nothing is kept, not a token that may not ask', async () => {
    expect((await ask(await world.token({ user: 'anne' }), asking)).approval).toBeUndefined()
    expect((await ask(bot, { ...asking, query: 'Mondays', mode: 'keyword' })).approval).toBeUndefined()
    const mute = await world.token({
      user: 'anne',
      agent: 'research-bot',
      scopes: ['docs.search', 'docs.read'],
    })
    expect((await ask(mute, asking)).approval).toBeUndefined()
    expect((await read(mute, 'board/1')).status).toBe(404)
  })

  test('a document says 403 where the agent may be told of it, else the same 404 as a missing one', async () => {
    const response = await read(bot, 'board/1')
    expect(response.status).toBe(403)
    expect(await response.json()).toMatchObject({
      code: 'approval_required',
      authorization_details: [{ type: 'document_access', offer: 'o_…' }],
    })
    const same = async (id: string) => {
      const refused = await read(bot, id)
      return [refused.status, { ...((await refused.json()) as object), txn: '' }]
    }
    const missing = await same('board/never')
    expect(missing[0]).toBe(404)
    expect(await same('board/foreign')).toEqual(missing)
    expect(await same('finance/board')).toEqual(missing)
  })

  test('a yes opens exactly its documents, to the question, to whole reading, and on record by its name', async () => {
    const grant = await agree(world, { delegation, objects: ['document:board/1'] })
    const answer = await ask(bot, { ...asking, approval: grant })
    expect(ids(answer)).toEqual(['board/1', 'handbook/open'])
    expect(answer.approval).toBeDefined()
    const released = await recorded(answer.txn)
    expect(released.find(({ document_id }) => document_id === 'board/1')?.grants).toEqual([grant])
    expect(released.find(({ document_id }) => document_id === 'handbook/open')?.grants).toBeUndefined()
    expect((await read(bot, 'board/1', grant)).status).toBe(200)
    expect((await read(bot, 'board/2', grant)).status).toBe(403)
    expect((await read(bot, 'handbook/open', grant)).status).toBe(200)
    expect(await world.service.grants.approvalGrants.get(grant)).toMatchObject({ used: 2 })
    const without = await ask(bot, asking)
    expect(ids(without)).toEqual(['handbook/open'])
    expect(without.scope_key).not.toBe(answer.scope_key)
  })

  test('a yes counts at once, however often OpenFGA has just said no', async () => {
    for (let count = 0; count < 3; count += 1) {
      for (const mode of ['hybrid', 'keyword']) await ask(bot, { ...asking, mode })
      const grant = await agree(world, { delegation, objects: ['document:board/1'] })
      for (const mode of ['keyword', 'hybrid'])
        expect(ids(await ask(bot, { ...asking, mode, approval: grant })), `${mode} ${count}`).toContain(
          'board/1',
        )
      const folder = await agree(world, { delegation, objects: ['folder:zebras'], remembered: true })
      await expect
        .poll(async () => ids(await ask(bot, { ...asking, query: 'zebra plans' })), second)
        .toContain('folders/1')
      await world.service.grants.approvalGrants.revoke('user:anne', folder, tests)
    }
    const warm = async () => {
      const { txn } = await ask(bot, { ...asking, query: 'Mondays' })
      const [row] = await world.database.query<{ proof: string }>(
        `select detail #>> '{released,0,proof}' as proof from decision_records where txn = $1
         order by record_no desc limit 1`,
        [txn],
      )
      return row?.proof
    }
    await vi.waitUntil(async () => (await warm()) !== 'asked', { timeout: 15_000 })
    const all = await agree(world, { delegation, objects: ['collection:handbook'], remembered: true })
    await expect
      .poll(async () => ids(await ask(bot, asking)), second)
      .toEqual(['board/1', 'board/2', 'handbook/open'])
    await world.service.grants.approvalGrants.revoke('user:anne', all, tests)
  })

  test('a yes never opens what its person may not read, or did not lend', async () => {
    const grant = await agree(world, {
      delegation,
      objects: ['document:board/foreign', 'document:finance/board'],
    })
    expect(ids(await ask(bot, { ...asking, approval: grant }))).toEqual(['handbook/open'])
    expect((await read(bot, 'board/foreign', grant)).status).toBe(404)
    expect((await read(bot, 'finance/board', grant)).status).toBe(404)
    expect(await world.service.grants.approvalGrants.get(grant)).toMatchObject({ used: 0 })
  })

  test('of one use: two documents once, and the second time as if nothing had been presented', async () => {
    const queryHmac = await digestOf(asking)
    const grant = await agree(world, {
      delegation,
      objects: ['document:board/1', 'document:board/2'],
      queryHmac,
    })
    expect((await read(bot, 'board/1', grant)).status).toBe(403)
    expect(ids(await ask(bot, { ...asking, query: 'board merger', approval: grant }))).toEqual([
      'handbook/open',
    ])
    expect(ids(await ask(bot, { ...asking, approval: grant }))).toEqual([
      'board/1',
      'board/2',
      'handbook/open',
    ])
    expect(ids(await ask(bot, { ...asking, approval: grant }))).toEqual(['handbook/open'])
    expect(await world.service.grants.approvalGrants.get(grant)).toMatchObject({ used: 1, state: 'ended' })
    const left: string[] = []
    for await (const page of world.service.fga.readAll())
      left.push(...page.flatMap(({ user, object }) => [user, object]))
    expect(left).not.toContain(`grant:${grant}`)
  })

  test('of one use: an answer that releases none of it is no use', async () => {
    const nothing = { ...asking, collections: ['finance'] }
    const grant = await agree(world, {
      delegation,
      objects: ['document:board/1'],
      queryHmac: await digestOf(nothing),
    })
    expect(ids(await ask(bot, { ...nothing, approval: grant }))).toEqual([])
    expect(await world.service.grants.approvalGrants.get(grant)).toMatchObject({ used: 0, state: 'live' })
  })

  test('twenty at once by a grant for one use: exactly one is given it, all are answered', async () => {
    const grant = await agree(world, {
      delegation,
      objects: ['document:board/1'],
      queryHmac: await digestOf(asking),
    })
    const answers = await Promise.all(
      Array.from({ length: 20 }, () => ask(bot, { ...asking, approval: grant })),
    )
    expect(answers.filter((answer) => ids(answer).includes('board/1'))).toHaveLength(1)
    expect(answers.every((answer) => ids(answer).includes('handbook/open'))).toBe(true)
    expect(await world.service.grants.approvalGrants.get(grant)).toMatchObject({ used: 1 })
  })

  test('remembered: presented by itself, later documents included, until it is taken back', async () => {
    const zebras = { query: 'zebra plans', mode: 'keyword' as const }
    expect(ids(await ask(bot, zebras))).toEqual([])
    const grant = await agree(world, { delegation, objects: ['folder:zebras'], remembered: true })
    await expect.poll(async () => ids(await ask(bot, zebras)), second).toEqual(['folders/1'])
    const answer = await ask(bot, zebras)
    expect((await recorded(answer.txn))[0]?.grants).toEqual([grant])
    await world.put({ 'folders/2': { text: 'Zebra plans two.', access: { parents: ['folder:zebras'] } } })
    await expect.poll(async () => ids(await ask(bot, zebras)), second).toEqual(['folders/1', 'folders/2'])
    expect((await read(bot, 'folders/2')).status).toBe(200)
    expect(ids(await ask(bot, asking))).toEqual(['handbook/open'])
    await world.service.grants.approvalGrants.revoke('user:anne', grant, tests)
    expect(ids(await ask(bot, zebras))).toEqual([])
  })

  describe('presented by the wrong one', () => {
    test('it looks like nothing presented, whatever is wrong with it', async () => {
      const otherDelegation = await world.lend('anne', 'other-bot', 'collection:handbook')
      await world.lend('bob', 'research-bot', 'collection:handbook')
      const fitting = await agree(world, { delegation, objects: ['document:board/1'] })
      const others = await agree(world, {
        delegation: otherDelegation,
        agent: 'other-bot',
        objects: ['document:board/1'],
      })
      const ended = await agree(world, { delegation, objects: ['document:board/1'] })
      await world.service.grants.approvalGrants.revoke('user:anne', ended, tests)
      const shapes = async (token: string, approval: string) => {
        const whole = await ask(token, { ...asking, mode: 'keyword', approval })
        const { approval: offer, txn: _, freshness: __, ...same } = whole as Answer & { freshness: object }
        const document = await read(token, 'board/1', approval)
        return { ...same, offered: offer !== undefined, status: document.status }
      }
      const other = await world.token({ user: 'anne', agent: 'other-bot' })
      expect(await shapes(other, fitting)).toEqual(await shapes(other, 'g_never'))
      const bobs = await world.token({ user: 'bob', agent: 'research-bot' })
      expect(await shapes(bobs, fitting)).toEqual(await shapes(bobs, 'g_never'))
      const annes = await world.token({ user: 'anne' })
      expect(await shapes(annes, fitting)).toEqual(await shapes(annes, 'g_never'))
      expect(ids(await ask(other, { ...asking, approval: others }))).toContain('board/1')
      for (const wrong of [others, ended])
        expect(ids(await ask(bot, { ...asking, approval: wrong }))).toEqual(['handbook/open'])
    })

    test('a tuple by force on a live grant gives nothing: what its row does not know ends the grant’s say', async () => {
      const grant = await agree(world, { delegation, objects: ['document:board/1'] })
      await world.write(`grant:${grant} granted_by document:board/2`)
      expect(ids(await ask(bot, { ...asking, approval: grant }))).toEqual(['handbook/open'])
      expect(world.logged.map(({ event }) => event)).toContain('grant_covers_more')
      expect((await read(bot, 'board/2', grant)).status).toBe(403)
      expect(await world.service.grants.approvalGrants.mend()).toBe(1)
      expect(ids(await ask(bot, { ...asking, approval: grant }))).toEqual(['board/1', 'handbook/open'])
    })

    test('a grant of a delegation that was revoked, with a token of another one', async () => {
      const old = await world.lend('anne', 'research-bot', 'collection:handbook')
      const grant = await agree(world, { delegation: old, objects: ['document:board/1'] })
      await world.service.delegations.revoke(old)
      const fresh = await world.token({ user: 'anne', agent: 'research-bot' })
      expect(ids(await ask(fresh, { ...asking, approval: grant }))).toEqual(['handbook/open'])
    })
  })

  test('an eleventh offer within the hour is none', async () => {
    await world.lend('anne', 'other-bot', 'collection:handbook')
    const token = await world.token({ user: 'anne', agent: 'other-bot' })
    const offered: boolean[] = []
    for (let count = 0; count < 12; count += 1)
      offered.push((await ask(token, { ...asking, top_k: 4 + count })).approval !== undefined)
    expect(offered.filter(Boolean).length).toBeLessThanOrEqual(10)
    expect(offered.slice(-2)).toEqual([false, false])
  })
})
