import { afterAll, beforeAll, beforeEach, describe, expect, test } from 'vitest'
import { operator } from '../../src/audit/record.ts'
import { type IssuerWorld, openIssuerWorld } from '../delegation/issuer/world.ts'
import { describeBackends } from '../support/backends.ts'
import { type OwnBrowser, openOwnBrowser } from './own-browser.ts'

interface Answer {
  readonly status: number
  readonly code?: string
  readonly field?: string
  readonly detail?: string
  readonly delegation?: Wire
  readonly delegations?: readonly Wire[]
}

interface Wire {
  readonly id: string
  readonly agent: string
  readonly scope: readonly { readonly object: string; readonly title?: string }[]
  readonly expires_at: string
}

describeBackends('/delegations', (backend) => {
  let world: IssuerWorld
  let anne: OwnBrowser
  let bob: OwnBrowser
  beforeAll(async () => {
    world = await openIssuerWorld({ backend })
    await world.put({
      'handbook/travel': {
        title: 'Travel and expenses',
        text: 'Travel costs.',
        access: { viewers: ['user:anne', 'user:bob'] },
      },
      'finance/budget': {
        collection: 'finance',
        title: 'The secret budget',
        text: 'Budget of travel.',
        access: { owner: 'user:bob' },
      },
    })
    await world.write('user:anne member organization:acme')
    await world.service.agents.save({
      id: 'off-bot',
      owner: 'user:dan',
      purpose: 'tests',
      issuer: world.service.ownIssuer,
      sub: 'off-bot',
    })
    await world.service.agents.disable('off-bot')
    anne = await openOwnBrowser(world, 'anne')
    bob = await openOwnBrowser(world, 'bob')
  })
  afterAll(() => world?.[Symbol.asyncDispose]())

  const inHours = (hours: number) => new Date(Date.now() + hours * 3_600_000).toISOString()
  const wish = (more: object = {}) => ({
    agent: 'research-bot',
    scope: ['collection:handbook'],
    expires_at: inHours(1),
    purpose: 'tests',
    ...more,
  })
  const answered = async (response: Response): Promise<Answer> => ({
    status: response.status,
    ...((await response.json()) as object),
  })
  const lend = async (who: OwnBrowser, more: object = {}) =>
    answered(await who.send('POST', '/delegations', { body: wish(more) }))
  const listed = async (who: OwnBrowser) =>
    (await answered(await who.send('GET', '/delegations'))).delegations ?? []

  test('what is lent counts at once, is listed with titles, and is over when it is taken back', async () => {
    const { status, delegation } = await lend(anne, {
      scope: ['document:handbook/travel', 'organization:acme'],
    })
    expect(status).toBe(201)
    expect(await listed(anne)).toEqual([
      expect.objectContaining({
        id: delegation?.id,
        agent: 'research-bot',
        scope: [
          { object: 'document:handbook/travel', title: 'Travel and expenses' },
          { object: 'organization:acme', title: 'acme' },
        ],
      }),
    ])
    const token = await world.token({ user: 'anne', agent: 'research-bot' })
    const { results } = await world.retrieve(token, { query: 'travel' })
    expect(results.map(({ document_id }) => document_id)).toEqual(['handbook/travel'])
    expect((await anne.send('DELETE', `/delegations/${delegation?.id}`)).status).toBe(200)
    expect(await listed(anne)).toEqual([])
    expect((await world.call('POST', '/retrieve', { token, body: { query: 'travel' } })).status).toBe(403)
  })

  test('another person’s delegation answers as one that does not exist', async () => {
    const { delegation } = await lend(anne)
    const theirs = await answered(await bob.send('DELETE', `/delegations/${delegation?.id}`))
    const none = await answered(await bob.send('DELETE', '/delegations/d_none'))
    expect(theirs).toEqual({ ...none, txn: expect.any(String) })
    expect(theirs.status).toBe(404)
    expect((await listed(anne)).map(({ id }) => id)).toContain(delegation?.id)
    expect(await listed(bob)).toEqual([])
    await anne.send('DELETE', `/delegations/${delegation?.id}`)
    expect((await anne.send('DELETE', `/delegations/${delegation?.id}`)).status).toBe(404)
  })

  test('nobody lends an agent what lies wholly outside its limit', async () => {
    const limits = (collections: readonly string[] | undefined) =>
      world.service.agents.save({
        id: 'other-bot',
        owner: 'user:dan',
        purpose: 'tests',
        issuer: world.service.ownIssuer,
        sub: 'other-bot',
        limits: { scopes: undefined, collections },
      })
    await limits(['handbook'])
    const agent = 'other-bot'
    for (const scope of ['collection:finance', 'document:finance/budget'])
      expect(await lend(bob, { agent, scope: [scope] })).toMatchObject({
        status: 422,
        field: 'scope',
        detail: 'other-bot is limited to other collections: it would read nothing of this.',
      })
    expect(await listed(bob)).toEqual([])
    // What they may not read at all is refused in the same words as ever.
    expect(await lend(anne, { agent, scope: ['document:finance/budget'] })).toMatchObject({
      detail: 'There is no document:finance/budget that you could lend.',
    })
    const { delegation } = await lend(bob, { agent, scope: ['collection:handbook', 'collection:finance'] })
    expect(delegation?.agent).toBe('other-bot')
    await bob.send('DELETE', `/delegations/${delegation?.id}`)
    await limits(undefined)
  })

  test('nobody lends what they could not read, and it does not tell whether that exists', async () => {
    for (const scope of [
      'document:finance/budget',
      'document:finance/nothing',
      'collection:finance',
      'collection:nothing',
      'folder:finance/nothing',
      'organization:other',
    ]) {
      const refused = await lend(anne, { scope: ['document:handbook/travel', scope] })
      expect(refused).toMatchObject({
        status: 422,
        code: 'invalid_request',
        field: 'scope.1',
        detail: `There is no ${scope} that you could lend.`,
      })
    }
    expect(await listed(anne)).toEqual([])
    // Bob could.
    const { delegation } = await lend(bob, { scope: ['document:finance/budget'] })
    await bob.send('DELETE', `/delegations/${delegation?.id}`)
  })

  describe('what its source closes is lent like what is not there', () => {
    const object = {
      document: 'document:wiki/plan',
      folder: 'folder:wiki/team',
      collection: 'collection:wiki',
    }
    const run = (text: string) => world.database.query(text)
    beforeAll(async () => {
      const loader = ['service:loader']
      await world.service.ingest.saveCollection(operator('test'), {
        id: 'wiki',
        title: 'The wiki',
        writers: loader,
        taggers: loader,
      })
      await world.put({
        'wiki/plan': { collection: 'wiki', title: 'Plan Yak', access: { viewers: ['user:anne'] } },
      })
      await world.write('user:anne viewer folder:wiki/team', 'user:anne viewer collection:wiki')
      await run(`insert into filings values ('folder:wiki/team', 'wiki') on conflict do nothing`)
      await run(
        `insert into sources (id, kind, origin, settings, collections, state, proposed_by, poll_seconds, crawl_seconds, max_age_seconds, purge_days)
         values ('wiki', 'none', 'file:///srv/none', '{}', '{wiki}', 'active', 'user:dan', 1, 1, 3600, 1)`,
      )
      await run(`insert into source_items (source, document) values ('wiki', 'wiki/plan')`)
      await run(`update documents set source = 'source/wiki' where id = 'wiki/plan'`)
    })
    beforeEach(async () => {
      await run(`update sources set state = 'active', groups_at = now(), settings_at = null`)
      await run(`update source_items set hidden = null, confirmed_at = now()`)
    })

    /** All that is answered, without what was asked for and the thread of the request. */
    const said = async (asked: string) => {
      const response = await anne.send('POST', '/delegations', { body: wish({ scope: [asked] }) })
      const text = (await response.text()).replaceAll(asked, 'ID').replace(/"txn":"[^"]*"/, '')
      return `${response.status} ${text}`
    }

    test.each([
      ['a document of a source that is too old', 'document', `groups_at = now() - interval '2 hours'`],
      ['a document of a source that is being removed', 'document', `state = 'removing'`],
      ['a document of a source that was never read', 'document', 'groups_at = null'],
      ['a folder of a source that is too old', 'folder', `groups_at = now() - interval '2 hours'`],
      ['a folder of a source that is being removed', 'folder', `state = 'removing'`],
      ['a folder of a source that was never read', 'folder', 'groups_at = null'],
      ['a collection of a source that is too old', 'collection', `groups_at = now() - interval '2 hours'`],
      ['a collection of a source that is being removed', 'collection', `state = 'removing'`],
    ] as const)('%s', async (_, type, change) => {
      const scope = [object[type]]
      const { status, delegation } = await lend(anne, { scope })
      expect(status).toBe(201)
      await run(`update sources set ${change}`)
      const refused = await said(object[type])
      expect(refused).toMatch(/^422 /)
      expect(refused).toBe(await said(`${type}:wiki/none`))
      // Nor is it told by what was lent before.
      expect((await listed(anne)).map((one) => one.scope)).toEqual([[{ object: object[type] }]])
      await anne.send('DELETE', `/delegations/${delegation?.id}`)
    })

    test.each([
      ['a hidden document', `hidden = 'missing'`],
      ['a document that was confirmed too long ago', `confirmed_at = now() - interval '2 hours'`],
    ])('%s', async (_, change) => {
      await run(`update source_items set ${change}`)
      expect(await said(object.document)).toBe(await said('document:wiki/none'))
      const { status, delegation } = await lend(anne, { scope: [object.folder] })
      expect(status).toBe(201)
      await anne.send('DELETE', `/delegations/${delegation?.id}`)
    })
  })

  test('a title is not shown any more once the person lost the document', async () => {
    await world.put({ 'handbook/plan': { title: 'Plan Zebra', access: { viewers: ['user:anne'] } } })
    const { delegation } = await lend(anne, { scope: ['document:handbook/plan'] })
    await world.remove('user:anne viewer document:handbook/plan')
    const response = await anne.send('GET', '/delegations')
    expect(await response.clone().text()).not.toContain('Zebra')
    expect((await answered(response)).delegations?.[0]?.scope).toEqual([{ object: 'document:handbook/plan' }])
    await anne.send('DELETE', `/delegations/${delegation?.id}`)
  })

  test.each([
    ['an agent that is not registered', { agent: 'no-bot' }, 'agent'],
    ['a disabled agent', { agent: 'off-bot' }, 'agent'],
    ['a disabled sub-agent', { sub_agents: ['off-bot'] }, 'sub_agents'],
    ['the agent as its own sub-agent', { sub_agents: ['research-bot'] }, 'sub_agents'],
    ['an end in the past', { expires_at: '2020-01-01T00:00:00Z' }, 'expires_at'],
    ['an end that is none', { expires_at: 'tomorrow' }, 'expires_at'],
    [
      'an end too far off',
      { expires_at: new Date(Date.now() + 15 * 86_400_000).toISOString() },
      'expires_at',
    ],
    ['nothing', { scope: [] }, 'scope'],
    ['what cannot be lent', { scope: ['user:bob'] }, 'scope.0'],
    ['no purpose', { purpose: '' }, 'purpose'],
    ['an unknown member', { subject: 'user:bob' }, 'subject'],
  ])('names the field: %s', async (_, more, field) => {
    expect(await lend(anne, more)).toMatchObject({ status: 422, code: 'invalid_request', field })
    expect(await listed(anne)).toEqual([])
  })

  test('an agent has one standing delegation of a person, for at most 90 days', async () => {
    const standing = { standing: true, expires_at: inHours(24 * 89) }
    const first = await lend(anne, standing)
    expect(first.status).toBe(201)
    expect(await lend(anne, standing)).toMatchObject({ status: 409, code: 'conflict' })
    expect(await lend(anne, { ...standing, expires_at: inHours(24 * 91) })).toMatchObject({ status: 422 })
    await anne.send('DELETE', `/delegations/${first.delegation?.id}`)
    const second = await lend(anne, standing)
    expect(second.status).toBe(201)
    await anne.send('DELETE', `/delegations/${second.delegation?.id}`)
  })

  test('lending and taking back are on record as the person’s own doing', async () => {
    const { delegation } = await lend(anne, { scope: ['document:handbook/travel'] })
    await anne.send('DELETE', `/delegations/${delegation?.id}`)
    const rows = await world.database.query(
      'select event, subject, actors, client, detail from decision_records where delegation = $1 order by record_no',
      [delegation?.id ?? ''],
    )
    const who = { subject: 'user:anne', actors: [], client: 'remit-pages' }
    const detail = expect.objectContaining({ agent: 'research-bot', scope: ['document:handbook/travel'] })
    expect(rows).toEqual([
      { event: 'delegation_made', ...who, detail },
      { event: 'delegation_revoked', ...who, detail },
    ])
    expect(JSON.stringify(rows)).not.toContain('Travel and expenses')
  })
})
