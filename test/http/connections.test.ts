import { afterAll, afterEach, beforeAll, beforeEach, describe, expect, test } from 'vitest'
import type { Connections } from '../../src/delegation/vault/connections.ts'
import { createProvider, type ProviderEntry } from '../../src/delegation/vault/provider.ts'
import { digestOfPlace } from '../../src/delegation/vault/rows.ts'
import { type Browser, openBrowser, type Page } from '../delegation/issuer/browser.ts'
import { type IssuerWorld, openIssuerWorld } from '../delegation/issuer/world.ts'
import { agentPrincipal } from '../delegation/vault/world.ts'
import { needsPostgres } from '../support/native.ts'
import {
  type AuthorizeMood,
  type ProviderDouble,
  providerSecret,
  providerSecretVariable,
  startProvider,
} from '../support/provider.ts'
import { type OwnBrowser, openOwnBrowser, signIn } from './own-browser.ts'

let double: ProviderDouble
let other: ProviderDouble
let world: IssuerWorld
let delegation: string
let anne: OwnBrowser
let bob: OwnBrowser
beforeAll(async () => {
  double = await startProvider()
  other = await startProvider()
  world = await openIssuerWorld({
    env: {
      VAULT_PROVIDERS: JSON.stringify([
        double.entry({ rules: [readReports, writeReports] }),
        other.entry({ name: 'other', title: 'Other' }),
      ]),
      OUTBOUND_ALLOWED_ORIGINS: `${double.origin},${other.origin}`,
      [providerSecretVariable]: providerSecret,
    },
  })
  delegation = await world.lend('anne', 'research-bot', 'organization:acme')
  anne = await openOwnBrowser(world, 'anne')
  bob = await openOwnBrowser(world, 'bob')
})
afterAll(async () => {
  await world?.[Symbol.asyncDispose]()
  await double?.[Symbol.asyncDispose]()
  await other?.[Symbol.asyncDispose]()
})
beforeEach(async () => {
  double.authorizeMood = 'agrees'
  double.mood = 'rotates'
  double.person = { sub: 'p-1', email: 'anne@acme.test' }
  await world.database.query('delete from connections')
  await world.database.query('delete from connection_requests')
})

const readReports = { title: 'Read reports', methods: ['GET'], paths: ['/reports/**?*'] }
const writeReports = { title: 'Write reports', methods: ['POST'], paths: ['/reports'] }
const principal = (changes = {}) => agentPrincipal({ delegation, ...changes })
const connections: Connections = {
  find: (...given) => world.service.vault.connections.find(...given),
  withToken: (...given) => world.service.vault.connections.withToken(...given),
  connectUrl: (...given) => world.service.vault.connections.connectUrl(...given),
}
const party = 'research-bot agent-app'

const onwards = ({ text }: Page): string =>
  (/http-equiv="refresh" content="0;url=([^"]+)"/.exec(text)?.[1] ?? `nowhere:\n${text}`).replaceAll(
    '&amp;',
    '&',
  )

const page = (browser: Browser) => browser.open(`${world.url}/connections`)

/**
 * Agrees on our page and is sent to the provider and back to the callback's address, which is not opened yet.
 */
async function away(browser: Browser, from: Page, fields = { party, rule: 'Read reports' }): Promise<string> {
  const going = await browser.submit(from, '/connections/acme/connect', fields)
  return (await openBrowser(double.origin).open(onwards(going))).url.href
}

async function through(browser: Browser, callback: string): Promise<Page> {
  const back = await browser.open(callback)
  return browser.open(new URL(onwards(back), world.url).href)
}

const connect = async (browser: Browser, fields?: { party: string; rule: string }) =>
  through(browser, await away(browser, await page(browser), fields))

interface Listed {
  readonly agents: readonly { readonly agent: string; readonly client: string; readonly shown: string }[]
  readonly providers: readonly { readonly shown: string }[]
}
const list = async () => (await (await anne.send('GET', '/connections')).json()) as Listed

/** What a program sends that agrees for the first agent listed, at the first provider. */
const wishOf = ({ agents: [first], providers: [provider] }: Listed) => ({
  agents: [{ agent: first?.agent, client: first?.client }],
  rules: ['Read reports'],
  shown: [provider?.shown, first?.shown],
})

const rows = () =>
  world.database.query<{ id: string; state: string; account: string }>(
    'select * from connections order by id',
  )

describe('an account is connected', () => {
  test('by the page, for the agent and the client that the person chose, to do what they were shown', async () => {
    const shown = await page(anne.browser)
    expect(shown.text).toContain('Read reports')
    expect(shown.text).toContain('/reports/**?*')
    const done = await connect(anne.browser)
    expect(done.url.href).toBe(`${world.url}/connections?done=connected`)
    expect(done.text).toContain('anne@acme.test')
    const found = await connections.find(principal(), 'acme')
    expect(found).toMatchObject({ ok: true, value: { rules: [readReports] } })
    expect(await connections.find(principal({ client: 'public-agent' }), 'acme')).toMatchObject({
      reason: 'connection_required',
    })
    const token = await connections.withToken(found.ok ? found.value.id : '', async (one) => one, {
      recordedAs: principal(),
    })
    expect(double.issued).toContain(token)
  })

  test('by a request that an agent was sent away with, in its own words from our registry', async () => {
    const url = await connections.connectUrl(principal({ client: 'public-agent' }), 'acme')
    const asked = await anne.browser.open(url)
    expect(asked.text).toContain('research-bot')
    expect(asked.text).toContain('Research in the terminal')
    const callback = await away(anne.browser, asked, {
      party: 'research-bot public-agent',
      rule: 'Read reports',
    })
    expect((await through(anne.browser, callback)).text).toContain('Connected.')
    expect(await connections.find(principal({ client: 'public-agent' }), 'acme')).toMatchObject({ ok: true })
    // Answered: it is there no more.
    expect((await anne.browser.open(url)).status).toBe(404)
  })

  test('is agreed to for another client without leaving, and is on record', async () => {
    await connect(anne.browser)
    const asked = await anne.browser.open(
      await connections.connectUrl(principal({ client: 'public-agent' }), 'acme'),
    )
    const [row] = await rows()
    const agreed = await anne.browser.submit(asked, `/connections/${row?.id}/agents`, {
      rule: 'Read reports',
    })
    expect(agreed.text).toContain('Agreed.')
    expect(await connections.find(principal({ client: 'public-agent' }), 'acme')).toMatchObject({ ok: true })
    const events = await world.database.query<{ event: string }>(
      `select event from decision_records where event like 'connection%' order by record_no desc limit 3`,
    )
    expect(events.map(({ event }) => event)).toEqual([
      'connection_agreed',
      'connection_agreed',
      'connection_made',
    ])
  })

  test('once: the same account anew keeps its row and what others were let do', async () => {
    await connect(anne.browser)
    const before = await rows()
    await connect(anne.browser, { party: 'research-bot public-agent', rule: 'Write reports' })
    expect(await rows()).toMatchObject([{ id: before[0]?.id, state: 'live' }])
    expect(await connections.find(principal(), 'acme')).toMatchObject({
      ok: true,
      value: { rules: [readReports] },
    })
  })

  test('once more where the provider had refused, with one press', async () => {
    await connect(anne.browser)
    await world.database.query(`update connections set state = 'needs_reconnect'`)
    const shown = await page(anne.browser)
    expect(shown.text).toContain('Connect again')
    const going = await anne.browser.submit(shown, '/connections/acme/connect')
    const callback = (await openBrowser(double.origin).open(onwards(going))).url.href
    await through(anne.browser, callback)
    expect(await connections.find(principal(), 'acme')).toMatchObject({
      ok: true,
      value: { rules: [readReports] },
    })
  })

  test('by a program of the page’s origin', async () => {
    const listed = await list()
    expect(listed).toMatchObject({
      connections: [],
      agents: [
        { agent: 'research-bot', client: 'agent-app', client_title: 'Research desktop' },
        { agent: 'research-bot', client: 'public-agent' },
      ],
      providers: [{ name: 'acme' }, { name: 'other' }],
    })
    const answer = await anne.send('POST', '/connections/acme/connect', { body: wishOf(listed) })
    expect(answer.status).toBe(200)
    const { authorization_url: url } = (await answer.json()) as { authorization_url: string }
    expect(new URL(url).origin).toBe(double.origin)
  })
})

describe('nobody connects', () => {
  test('by the link of somebody else: it shows them what a link that is over shows', async () => {
    const url = await connections.connectUrl(principal(), 'acme')
    const strangers = await bob.browser.open(url)
    expect(strangers.status).toBe(404)
    expect(strangers.text).not.toContain('research-bot')
    const none = await bob.browser.open(`${world.url}/connections/requests/cr_${'x'.repeat(22)}`)
    expect(strangers.text).toBe(none.text)
  })

  test('without being signed in: the link leads there, and then back to the request', async () => {
    const url = await connections.connectUrl(principal(), 'acme')
    const browser = world.browser()
    const led = await browser.open(url)
    expect(led.url.pathname).toBe('/sign-in')
    expect(led.url.searchParams.get('next')).toBe(new URL(url).pathname)
    const after = await signIn(world, browser, 'anne', new URL(url).pathname)
    expect(after.url.href).toBe(url)
    expect(after.text).toContain('research-bot')
  })

  test('what another person, or another browser of the same person, began', async () => {
    const callback = await away(anne.browser, await page(anne.browser))
    const strangers = await bob.browser.open(callback)
    expect(strangers.status).toBe(400)
    const second = await openOwnBrowser(world, 'anne')
    expect((await second.browser.open(callback)).status).toBe(400)
    // The browser that began it, but somebody else has signed in there since.
    const stolen = await openOwnBrowser(world, 'bob')
    const cookie = anne.browser.cookies.get('remit_connect')
    if (cookie !== undefined) stolen.browser.cookies.set('remit_connect', cookie)
    const before = double.tokenRequests.length
    const finished = await through(stolen.browser, callback)
    expect(finished.status).toBe(400)
    expect(finished.text).toContain('not begun in this browser')
    // The code is redeemed by nobody.
    expect(double.tokenRequests.length).toBe(before)
    expect(await rows()).toEqual([])
  })

  test('twice by one answer: neither its address nor its end can be played again', async () => {
    const callback = await away(anne.browser, await page(anne.browser))
    const cookie = anne.browser.cookies.get('remit_connect')
    await through(anne.browser, callback)
    await world.database.query('delete from connections')
    if (cookie !== undefined) anne.browser.cookies.set('remit_connect', cookie)
    expect((await anne.browser.open(callback)).status).toBe(400)
    expect((await anne.browser.open(`${world.url}/connections/finish`)).status).toBe(400)
    expect(await rows()).toEqual([])
  })

  test.each<AuthorizeMood>([
    'refuses',
    'names another issuer',
    'leaves out its issuer',
    'leaves out the state',
    'sends the code of somebody else',
  ])('where the provider %s', async (mood) => {
    double.authorizeMood = mood
    const callback = await away(anne.browser, await page(anne.browser))
    const back = await anne.browser.open(callback)
    const end = back.status === 400 ? back : await anne.browser.open(new URL(onwards(back), world.url).href)
    expect(end.status).toBe(400)
    expect(await rows()).toEqual([])
  })

  test('by an answer at the address of another provider (mix-up)', async () => {
    const callback = await away(anne.browser, await page(anne.browser))
    const before = [double.tokenRequests.length, other.tokenRequests.length]
    const mixed = await anne.browser.open(callback.replace('/connections/acme/', '/connections/other/'))
    expect(mixed.status).toBe(400)
    expect([double.tokenRequests.length, other.tokenRequests.length]).toEqual(before)
  })

  test('an agent to whom the person lends nothing, or that nobody knows', async () => {
    const wish = wishOf(await list())
    const post = async (changes: object) =>
      (await anne.send('POST', '/connections/acme/connect', { body: { ...wish, ...changes } })).status
    for (const agent of ['other-bot', 'nobody-bot'])
      expect(await post({ agents: [{ agent, client: 'helper-app' }] })).toBe(409)
    expect(await post({ rules: ['Read everything'] })).toBe(422)
  })

  test.each([
    ['GET', '/connections'],
    ['POST', '/connections/acme/connect'],
    ['DELETE', '/connections/c_1'],
    ['DELETE', '/connections/c_1/agents/research-bot?client=agent-app'],
  ])('by any token: %s %s', async (method, path) => {
    const authorization = `Bearer ${await world.token({ user: 'anne', agent: 'research-bot' })}`
    const answer = await anne.send(method, path, { headers: { authorization } })
    expect(answer.status).toBe(403)
  })

  test('from another site', async () => {
    const answer = await anne.send('POST', '/connections/acme/connect', {
      body: { agents: [], rules: [] },
      headers: { origin: 'https://evil.example' },
    })
    expect(answer.status).toBe(403)
  })
})

describe('nobody lets an agent use an account that is not as it was shown:', () => {
  const changed = 'has changed since you looked. Nothing was lent'
  const agreements = () => world.database.query('select agent, client from connection_agents')
  /** Each way of which a page says something, or on which it rests. */
  const changes: Readonly<Record<string, () => Promise<unknown>>> = {
    owner: () => save({ owner: 'user:carol' }),
    title: () => save({ title: 'Another title' }),
    purpose: () => save({ purpose: 'Something else' }),
    keys: () => world.database.query(`update agents set jwks = '{"keys": []}' where id = 'research-bot'`),
    client: () =>
      world.database.query(
        `update clients set title = 'Else' where client_id in ('agent-app', 'public-agent')`,
      ),
    'kill switch': () => world.service.agents.disable('research-bot'),
    'end of what was lent': () =>
      world.database.query(`update delegations set state = 'revoked' where id = $1`, [delegation]),
  }
  let before: Record<'agents' | 'clients', object[]>
  beforeAll(async () => {
    before = {
      agents: await world.database.query(
        `select row_to_json(a) as row from agents a where id = 'research-bot'`,
      ),
      clients: await world.database.query('select row_to_json(c) as row from clients c'),
    }
  })
  afterEach(async () => {
    for (const [table, kept] of Object.entries(before))
      await world.database.query(
        `update ${table} as now set ${table === 'agents' ? 'owner = was.owner, purpose = was.purpose, jwks = was.jwks, disabled_at = was.disabled_at,' : ''} title = was.title
         from jsonb_populate_recordset(null::${table}, $1) as was where now.${table === 'agents' ? 'id = was.id' : 'client_id = was.client_id'}`,
        [JSON.stringify(kept.map((one) => (one as { row: object }).row))],
      )
    await world.database.query(`update delegations set state = 'live' where id = $1`, [delegation])
  })
  async function save(over: object): Promise<void> {
    const agent = await world.service.agents.get('research-bot')
    if (agent === undefined) throw new Error('It is registered.')
    await world.service.agents.save({ ...agent, jwks: agent.jwks ?? null, ...over })
  }

  test.each(Object.keys(changes))('its %s, before anything leads to the provider', async (change) => {
    anne.browser.cookies.delete('remit_connect')
    const shown = await page(anne.browser)
    await changes[change]?.()
    const going = await anne.browser.submit(shown, '/connections/acme/connect', {
      party,
      rule: 'Read reports',
    })
    expect([going.status, going.text.includes(changed)]).toEqual([409, true])
    expect(anne.browser.cookies.has('remit_connect')).toBe(false)
  })

  test.each(Object.keys(changes))('its %s, while the person is at the provider', async (change) => {
    const callback = await away(anne.browser, await page(anne.browser))
    const asked = double.tokenRequests.length
    await changes[change]?.()
    const back = await through(anne.browser, callback)
    expect([back.status, back.text.includes(changed)]).toEqual([409, true])
    // Its code is redeemed by nobody.
    expect(double.tokenRequests.length).toBe(asked)
    expect(await rows()).toEqual([])
  })

  test.each([
    ...Object.keys(changes).filter((change) => change !== 'end of what was lent'),
    'account’s scopes',
    'account’s name',
  ])('its %s, where the account is connected already', async (change) => {
    await connect(anne.browser)
    const url = await connections.connectUrl(principal({ client: 'public-agent' }), 'acme')
    const asked = await anne.browser.open(url)
    if (change === 'account’s scopes')
      await world.database.query(`update connections set scopes = scopes || '{reports.delete}'`)
    else if (change === 'account’s name')
      await world.database.query(`update connections set account_title = 'board@acme.test'`)
    else await changes[change]?.()
    const [row] = await rows()
    const wish = { rule: 'Read reports' }
    const refused = await anne.browser.submit(asked, `/connections/${row?.id}/agents`, wish)
    expect([refused.status, refused.text.includes(changed)]).toEqual([409, true])
    expect(await agreements()).toEqual([{ agent: 'research-bot', client: 'agent-app' }])
    if (change === 'kill switch') return
    // Looked at again it is agreed to.
    const again = await anne.browser.submit(
      await anne.browser.open(url),
      `/connections/${row?.id}/agents`,
      wish,
    )
    expect(again.text).toContain('Agreed.')
  })

  test('the paths of its rules, also where their titles are as before', async () => {
    const shown = await page(anne.browser)
    const digests = [...shown.text.matchAll(/name="shown" value="([^"]+)"/g)].map(([, one = '']) => one)
    const entry = double.entry({ rules: [{ ...readReports, paths: ['/**?*'] }, writeReports] })
    const wider = digestOfPlace(createProvider(entry as unknown as ProviderEntry))
    expect(digests).not.toContain(wider)
    const [, ...parties] = digests
    const going = await anne.browser.submit(shown, '/connections/acme/connect', {
      party,
      rule: 'Read reports',
      shown: [wider, ...parties],
    })
    expect([going.status, going.text.includes(changed)]).toEqual([409, true])
  })

  test('anything of it, by a program of the page’s origin', async () => {
    const listed = await list()
    const post = async (body: object) => {
      const answer = await anne.send('POST', '/connections/acme/connect', { body })
      return {
        status: answer.status,
        media: answer.headers.get('content-type'),
        ...((await answer.json()) as object),
      }
    }
    const problem = {
      status: 409,
      media: expect.stringContaining('application/problem+json'),
      code: 'conflict',
      detail: expect.stringContaining(changed),
    }
    const { shown, ...wish } = wishOf(listed)
    const [provider, agent] = shown
    // Of another provider, and of another client.
    expect(await post({ ...wish, shown: [listed.providers[1]?.shown, agent] })).toMatchObject(problem)
    expect(await post({ ...wish, shown: [provider, listed.agents[1]?.shown] })).toMatchObject(problem)
    expect(await post(wish)).toMatchObject({ status: 422, field: 'shown' })
    await save({ purpose: 'Something else' })
    expect(await post({ ...wish, shown })).toMatchObject(problem)
    expect(
      (await anne.send('POST', '/connections/acme/connect', { body: wishOf(await list()) })).status,
    ).toBe(200)
  })
})

describe('while an agent is being changed', needsPostgres, () => {
  test('a yes to it waits for the change and holds no account meanwhile, and is then none', async () => {
    await using here = await openIssuerWorld({
      backend: { database: 'postgres', openfga: 'engine' },
      env: {
        VAULT_PROVIDERS: JSON.stringify([double.entry()]),
        [providerSecretVariable]: providerSecret,
      },
    })
    const lent = await here.lend('anne', 'research-bot', 'organization:acme')
    await here.database.query(
      `insert into connections (id, subject, provider, issuer, account, account_title, state, scopes, sealed, wrapped_key,
         key_version, token_expires_at, refreshable, sealed_at, created_at)
       values ('c_1', 'user:anne', 'acme', $1, 'a', 'a', 'live', '{}', 'none', 'none', 'home', now(), true, now(), now())`,
      [double.origin],
    )
    const { browser } = await openOwnBrowser(here, 'anne')
    const asked = await browser.open(
      await here.service.vault.connections.connectUrl(agentPrincipal({ delegation: lent }), 'acme'),
    )
    const rule = [/name="rule" value="([^"]+)"/.exec(asked.text)?.[1] ?? 'none']
    const answer = await here.database.transaction(async (sql) => {
      await sql.query(`select from agents where id = 'research-bot' for update`)
      const sent = browser.submit(asked, '/connections/c_1/agents', { rule })
      // Others may wait in this database, for something else.
      await expect
        .poll(() =>
          sql.query('select from pg_stat_activity where pg_backend_pid() = any(pg_blocking_pids(pid))'),
        )
        .not.toHaveLength(0)
      // Whoever changes an agent takes its connections after it: in the other order both would wait.
      await sql.query(`select from connections where id = 'c_1' for update nowait`)
      await sql.query(`update agents set purpose = 'Something else' where id = 'research-bot'`)
      return { sent }
    })
    expect((await answer.sent).status).toBe(409)
    expect(await here.database.query('select from connection_agents')).toEqual([])
  })
})

describe('an account is taken back', () => {
  test('whole: its tokens are gone here and the provider is told', async () => {
    await connect(anne.browser)
    const [row] = await rows()
    const gone = await anne.send('DELETE', `/connections/${row?.id}`)
    expect(await gone.json()).toMatchObject({ id: row?.id, told_provider: true })
    expect(double.revoked.slice(-2).map((token) => token.slice(0, 3))).toEqual(['rt_', 'at_'])
    expect(await rows()).toMatchObject([{ state: 'ended', sealed: null, wrapped_key: null }])
    expect(await connections.find(principal(), 'acme')).toMatchObject({ reason: 'connection_required' })
    expect((await anne.send('DELETE', `/connections/${row?.id}`)).status).toBe(404)
  })

  test('also where the provider cannot be told, and the page says what is left to do there', async () => {
    await connect(anne.browser)
    const [row] = await rows()
    const shown = await page(anne.browser)
    await world.database.query(`update connections set issuer = 'https://gone.example'`)
    const after = await anne.browser.submit(shown, `/connections/${row?.id}/disconnect`)
    expect(after.text).toContain('The provider could not be told')
  })

  test('from one agent, and not by somebody else', async () => {
    await connect(anne.browser)
    const [row] = await rows()
    const path = `/connections/${row?.id}/agents/research-bot?client=agent-app`
    expect((await bob.send('DELETE', path)).status).toBe(404)
    expect((await bob.send('DELETE', `/connections/${row?.id}`)).status).toBe(404)
    expect((await anne.send('DELETE', path)).status).toBe(200)
    expect(await connections.find(principal(), 'acme')).toMatchObject({ reason: 'connection_required' })
    expect(await rows()).toMatchObject([{ state: 'live' }])
  })
})

test('no page, answer, log line or record of all this held a token', async () => {
  await connect(anne.browser)
  const listed = await (await anne.send('GET', '/connections')).text()
  const shown = (await page(anne.browser)).text
  const records = await world.database.query('select * from decision_records')
  const everything = [listed, shown, JSON.stringify(records), JSON.stringify(world.logged)].join('\n')
  expect(double.issued.length).toBeGreaterThan(20)
  for (const token of double.issued) expect(everything).not.toContain(token)
})
