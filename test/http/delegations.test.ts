import { afterAll, beforeAll, beforeEach, describe, expect, test } from 'vitest'
import { operator } from '../../src/audit/record.ts'
import { createRevocations } from '../../src/delegation/revocation/revocations.ts'
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

describe('/delegations lets in', () => {
  let world: IssuerWorld
  let anne: OwnBrowser
  let offset = 0
  beforeAll(async () => {
    world = await openIssuerWorld({ now: () => Date.now() + offset })
    await world.put({ 'handbook/travel': { access: { viewers: ['user:anne', 'user:bob'] } } })
    anne = await openOwnBrowser(world, 'anne')
  })
  afterAll(() => world?.[Symbol.asyncDispose]())

  const body = () => ({
    agent: 'research-bot',
    scope: ['collection:handbook'],
    expires_at: new Date(Date.now() + 7_200_000).toISOString(),
    purpose: 'tests',
  })
  const writes = [
    ['POST', '/delegations'],
    ['DELETE', '/delegations/d_any'],
    ['POST', '/delegations/lend'],
    ['POST', '/delegations/d_any/revoke'],
    ['DELETE', '/delegations/programs/any'],
    ['POST', '/delegations/programs/any/end'],
    ['POST', '/sign-out'],
  ] as const
  const every = [['GET', '/delegations'], ...writes] as const
  const refusal = async (response: Response) => [response.status, ((await response.json()) as Answer).code]

  test.each(every)('no token, whatever else comes along: %s %s', async (method, path) => {
    const token = await world.token({ user: 'anne' })
    for (const authorization of [`Bearer ${token}`, `DPoP ${token}`, 'Basic YTpi', ''])
      expect(await refusal(await anne.send(method, path, { headers: { authorization } }))).toEqual([
        403,
        'forbidden',
      ])
  })

  test.each(every)('nobody without a session: %s %s', async (method, path) => {
    for (const cookie of [undefined, 'remit_session=', `remit_session=${'A'.repeat(43)}`])
      expect(await refusal(await anne.send(method, path, { headers: { cookie } }))).toEqual([
        401,
        'insufficient_user_authentication',
      ])
  })

  test.each(writes)('no change without the session’s own token: %s %s', async (method, path) => {
    for (const token of [undefined, '', 'x', anne.csrf.slice(1)])
      expect(await refusal(await anne.send(method, path, { headers: { 'x-csrf-token': token } }))).toEqual([
        403,
        'forbidden',
      ])
  })

  test.each(writes)('no change from elsewhere: %s %s', async (method, path) => {
    for (const origin of [
      undefined,
      'null',
      'https://evil.test',
      `${world.url}.evil.test`,
      'http://localhost',
    ])
      expect(await refusal(await anne.send(method, path, { headers: { origin } }))).toEqual([
        403,
        'forbidden',
      ])
  })

  test('no change with the token of another session', async () => {
    const bob = await openOwnBrowser(world, 'bob')
    const response = await anne.send('POST', '/delegations', {
      body: body(),
      headers: { 'x-csrf-token': bob.csrf },
    })
    expect(response.status).toBe(403)
  })

  test('no change 15 minutes after the sign-in, but reading and signing out; a page asks to sign in again', async () => {
    const old = await openOwnBrowser(world, 'anne')
    offset = 15 * 60_000 + 1_000
    try {
      expect(await refusal(await old.send('POST', '/delegations', { body: body() }))).toEqual([
        401,
        'insufficient_user_authentication',
      ])
      expect((await old.send('GET', '/delegations')).status).toBe(200)
      const page = await old.browser.open(`${world.url}/delegations`)
      const asked = await old.browser.submit(page, '/delegations/lend', { agent: 'research-bot' })
      expect(asked.url.href).toBe(`${world.url}/sign-in?next=%2Fdelegations`)
      expect(asked.text).toContain('value="anne"')
      expect((await old.send('POST', '/sign-out')).status).toBe(303)
    } finally {
      offset = 0
    }
  })

  test('nobody 8 hours after the sign-in, and the session is swept', async () => {
    const old = await openOwnBrowser(world, 'dan')
    offset = 8 * 3_600_000 + 1_000
    try {
      expect((await old.send('GET', '/delegations')).status).toBe(401)
      await world.service.issuer.tasks['browser_sessions']?.()
      expect(await world.database.query("select 1 from browser_sessions where person = 'dan'")).toEqual([])
    } finally {
      offset = 0
    }
  })

  test('nobody who has signed out: the old cookie is worth nothing, and it is on record', async () => {
    const left = await openOwnBrowser(world, 'anne')
    const out = await left.send('POST', '/sign-out')
    expect(out.headers.get('set-cookie')).toMatch(/remit_session=;.*Max-Age=0/)
    expect((await left.send('GET', '/delegations')).status).toBe(401)
    const rows = await world.database.query(
      "select 1 from decision_records where event = 'signed_out' and subject = 'user:anne'",
    )
    expect(rows).not.toEqual([])
  })

  test('nobody whose subject is revoked, not even when the revocation is over', async () => {
    const carol = await openOwnBrowser(world, 'carol')
    expect((await carol.send('GET', '/delegations')).status).toBe(200)
    const until = new Date(Date.now() + 60_000)
    const revocations = createRevocations({ sql: world.database, clock: { now: Date.now } })
    await revocations.revoke({ kind: 'subject', id: 'user:carol' }, { until, reason: 'tests' })
    expect((await carol.send('GET', '/delegations')).status).toBe(401)
    offset = 120_000
    try {
      expect((await carol.send('GET', '/delegations')).status).toBe(401)
    } finally {
      offset = 0
    }
  })

  test('JSON only, and little of it', async () => {
    const dan = await openOwnBrowser(world, 'dan')
    const csv = { 'content-type': 'text/csv' }
    expect((await dan.send('POST', '/delegations', { body: 'a', headers: csv })).status).toBe(415)
    const long = JSON.stringify({ ...body(), purpose: 'x'.repeat(70_000) })
    expect((await dan.send('POST', '/delegations', { body: long })).status).toBe(413)
    expect((await dan.send('POST', '/delegations', { body: '{' })).status).toBe(400)
  })
})

describe('the page of what one has lent', () => {
  let world: IssuerWorld
  let anne: OwnBrowser
  beforeAll(async () => {
    world = await openIssuerWorld()
    await world.put({ 'handbook/travel': { title: '<b>Travel</b>', access: { viewers: ['user:anne'] } } })
    anne = await openOwnBrowser(world, 'anne')
  })
  afterAll(() => world?.[Symbol.asyncDispose]())

  const open = () => anne.browser.open(`${world.url}/delegations`)
  const filled = {
    agent: 'research-bot',
    object: 'collection:handbook',
    more: 'document:handbook/travel',
    sub_agent: 'other-bot',
    purpose: '<script>alert(1)</script>',
    seconds: '3600',
  }

  test('lends by its form, once however often that is sent, and shows who has what until when', async () => {
    const page = await open()
    expect(page.text).toContain('No agent can read anything for you now.')
    await anne.browser.submit(page, '/delegations/lend', filled)
    const shown = await anne.browser.submit(page, '/delegations/lend', filled)
    expect(shown.url.pathname).toBe('/delegations')
    expect(await world.service.delegations.listOf('user:anne')).toHaveLength(1)
    for (const words of [
      'research-bot',
      'The handbook',
      '&lt;b&gt;Travel&lt;/b&gt;',
      'other-bot',
      '&lt;script&gt;alert(1)&lt;/script&gt;',
      'UTC',
      'any program of this agent',
    ])
      expect(shown.text).toContain(words)
  })

  test('says once that it lent, and says nothing that is in the address only', async () => {
    const told = await anne.browser.open(`${world.url}/delegations?done=lent`)
    expect(told.text).toContain('<p class="done" role="status">Lent.')
    expect((await anne.browser.open(`${world.url}/delegations?done=toString`)).text).not.toContain(
      'class="done"',
    )
  })

  test('says where an agent is limited, in the form and on the card, by titles of what one may read', async () => {
    await world.service.agents.save({
      id: 'other-bot',
      owner: 'user:dan',
      purpose: 'tests',
      issuer: world.service.ownIssuer,
      sub: 'other-bot',
      limits: { scopes: undefined, collections: ['handbook', 'secrets'] },
    })
    const id = await world.lend('anne', 'other-bot', 'collection:handbook')
    const { text } = await open()
    expect(text).toContain('<code>other-bot</code> is limited to: The handbook.')
    expect(text).toContain('<dt>But only in</dt><dd>The handbook<br>')
    expect(text).not.toContain('secrets')
    await world.service.delegations.revoke(id)
  })

  test.each([
    ['support/playbooks', 'Write folder:support/playbooks for a folder, or document:support/playbooks'],
    ['', 'Choose what to lend.'],
  ])('says how single things are named: %s', async (more, said) => {
    const { agent, purpose, seconds } = filled
    const again = await anne.browser.submit(await open(), '/delegations/lend', {
      agent,
      purpose,
      seconds,
      more,
    })
    expect(again.status).toBe(422)
    expect(again.text).toContain(said)
  })

  test('90 days are for what is standing, and whoever chooses them without is told', async () => {
    const again = await anne.browser.submit(await open(), '/delegations/lend', {
      ...filled,
      seconds: '7776000',
    })
    expect(again.text).toContain('Only what is standing may last longer: 90 days.')
  })

  test('takes back by its button, and a second press is no error', async () => {
    const page = await open()
    const action = /action="(\/delegations\/[^"]+\/revoke)"/.exec(page.text)?.[1] ?? 'none'
    expect((await anne.browser.submit(page, action)).text).toContain(
      'No agent can read anything for you now.',
    )
    expect((await anne.browser.submit(page, action)).text).toContain('Taken back.')
    expect((await anne.browser.submit(page, action)).status).toBe(200)
    expect(await world.service.delegations.listOf('user:anne')).toMatchObject([
      { state: 'revoked' },
      { state: 'revoked' },
    ])
  })

  test('shows what is wrong and keeps what was filled in', async () => {
    const again = await anne.browser.submit(await open(), '/delegations/lend', {
      ...filled,
      more: 'document:none',
    })
    expect(again.status).toBe(422)
    expect(again.text).toContain('There is no document:none that you could lend.')
    expect(again.text).toMatch(/value="collection:handbook" checked/)
  })

  test('lends nothing to agents that are others than it showed, and shows them anew', async () => {
    const { agents, delegations } = world.service
    const { more: _, ...wish } = filled
    for (const id of ['research-bot', 'other-bot']) {
      const page = await open()
      const agent = await agents.get(id)
      if (agent === undefined) throw new Error('It is registered.')
      await agents.save({ ...agent, jwks: agent.jwks ?? null, purpose: 'Something else.' })
      const again = await anne.browser.submit(page, '/delegations/lend', wish)
      expect([id, again.status, again.text.includes('has changed since you looked')]).toEqual([id, 409, true])
      expect(again.text).toMatch(/value="collection:handbook" checked/)
      const live = (await delegations.listOf('user:anne')).filter(({ state }) => state !== 'revoked')
      expect([id, live]).toEqual([id, []])
      // Of what is shown now it lends, whoever else has changed.
      const lent = await anne.browser.submit(again, '/delegations/lend', wish)
      expect([id, lent.url.search]).toEqual([id, '?done=lent'])
      for (const { id: one } of await delegations.listOf('user:anne')) await delegations.revoke(one)
    }
  })

  test('runs no script, loads nothing, is framed by nobody, and sends its forms to us only', async () => {
    const { headers, text } = await open()
    const policy = headers.get('content-security-policy') ?? ''
    for (const part of [
      "default-src 'none'",
      "script-src 'none'",
      "frame-ancestors 'none'",
      "form-action 'self';",
      "base-uri 'none'",
    ])
      expect(`${policy};`).toContain(part)
    expect(text).not.toMatch(/<script|<img|<link|src=|style="/)
    expect(headers.get('cache-control')).toContain('no-store')
  })

  test('leads to the sign-in who has none', async () => {
    const { url } = await world.browser().open(`${world.url}/delegations`)
    expect(url.pathname + url.search).toBe('/sign-in?next=%2Fdelegations')
  })
})
