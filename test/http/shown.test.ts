import { decodeJwt } from 'jose'
import * as client from 'openid-client'
import { afterAll, beforeAll, describe, expect, test } from 'vitest'
import { createAsking } from '../delegation/issuer/asking.ts'
import type { Browser, Page } from '../delegation/issuer/browser.ts'
import { document, openWeb, redirectUri, clientId as stranger } from '../delegation/issuer/cimd/web.ts'
import { type IssuerWorld, openIssuerWorld, password } from '../delegation/issuer/world.ts'
import { agentPrincipal } from '../delegation/vault/world.ts'
import { providerSecret, providerSecretVariable, startProvider } from '../support/provider.ts'
import { type OwnBrowser, openOwnBrowser } from './own-browser.ts'

/**
 * Whatever comes of a yes stands in the text of the page that it was said on: each scope, object, agent, time
 * and count of the token, the grant or what is lent. Read from what was made, and looked for in what was
 * shown.
 */

const broker = 'https://broker.test/api'
const order = { type: 'trade_order', symbol: 'ACME', quantity: 10 }
const minute = 60_000
const scopeWords: Readonly<Record<string, string>> = {
  'docs.search': 'search',
  'docs.read': 'read whole documents',
  'approvals.request': 'ask you to approve single sensitive documents',
  'vault.use': 'use the accounts that you have connected',
}

let world: IssuerWorld
let asking: Awaited<ReturnType<typeof createAsking>>
let provider: Awaited<ReturnType<typeof startProvider>>
let anne: OwnBrowser
let delegation: string

beforeAll(async () => {
  provider = await startProvider()
  const web = openWeb()
  web.at.set(stranger, document())
  world = await openIssuerWorld({
    env: {
      CLIENT_ID_METADATA_DOCUMENTS: 'draft-02',
      VAULT_PROVIDERS: JSON.stringify([provider.entry()]),
      [providerSecretVariable]: providerSecret,
    },
    outbound: web.fetch,
  })
  asking = await createAsking(world)
  const access = { viewers: ['user:anne'], sensitive: true }
  await world.put({
    'board/1': { title: 'Minutes of May', text: 'The merger.', access },
    'board/2': { title: 'Minutes of June', text: 'The merger.', access },
  })
  await world.service.issuer.resources.save({
    resource: broker,
    scopes: ['orders.place'],
    authorizationDetailsTypes: ['trade_order'],
    allowedClients: ['agent-app'],
  })
  delegation = await world.lend('anne', 'research-bot', 'collection:handbook')
  await world.database.query(
    `insert into connections (id, subject, provider, issuer, account, account_title, state, scopes, sealed, wrapped_key,
       key_version, token_expires_at, refreshable, sealed_at, created_at)
     values ('c_1', 'user:anne', 'acme', $1, 'a', 'anne@acme', 'live', '{}', 'none', 'none', 'home', now(), true, now(), now())`,
    [provider.origin],
  )
  await world.database.query(
    `insert into connection_agents (connection, agent, client, rules, agreed_at)
     values ('c_1', 'research-bot', 'agent-app', '[]', now())`,
  )
  anne = await openOwnBrowser(world, 'anne')
})
afterAll(async () => {
  await world?.[Symbol.asyncDispose]()
  await provider?.[Symbol.asyncDispose]()
})

/** What a person reads: no markup, what a machine reads in `datetime` aside. */
const textOf = ({ text }: Page): string =>
  text
    .replaceAll(/<style>.*?<\/style>|<script.*?<\/script>/gs, '')
    .replaceAll(/<[^>]*>/g, ' ')
    .replaceAll('&amp;', '&')
    .replaceAll('&quot;', '"')
    .replaceAll(/\s+/g, ' ')

const format = new Intl.DateTimeFormat('en-GB', { dateStyle: 'long', timeStyle: 'short', timeZone: 'UTC' })

function expectSaid(page: Page, words: readonly (string | undefined)[]): void {
  const text = textOf(page)
  // Whole words: "search" is in the name of an agent.
  const isSaid = (one: string) =>
    new RegExp(`(?<![\\w-])${one.replaceAll(/[.*+?^${}()|[\]\\]/g, '\\$&')}(?![\\w-])`).test(text)
  expect(words.filter((one) => one === undefined || !isSaid(one))).toEqual([])
}

const scopesIn = (scope: unknown): string[] =>
  String(scope)
    .split(' ')
    .map((one) => scopeWords[one] ?? one)

/** Every member of a detail of another's, to the letter. */
const membersOf = (detail: object): string[] =>
  Object.entries(detail).flatMap(([name, value]) =>
    name === 'type' ? [String(value)] : [name, String(value)],
  )

async function lentBy(id: unknown) {
  const lent = await world.service.delegations.get(String(id))
  if (lent === undefined) throw new Error('Nothing was lent.')
  return lent
}

const verify = () =>
  world.database.query(
    `update browser_sessions set verified_at = $1, signed_in_at = $1 where person = 'anne'`,
    [new Date()],
  )

describe('a yes from afar', () => {
  /** Asks by CIBA, agrees by the page that is shown, and fetches the token. */
  async function agreed(
    parameters: Readonly<Record<string, string>>,
    fields: Readonly<Record<string, string | readonly string[]>> = {},
  ) {
    for (const table of ['backchannel_requests', 'approvals', 'approval_askers'])
      await world.database.query(`delete from ${table}`)
    await verify()
    const begun = await asking.begin('agent-app', parameters)
    const open = await asking.open('anne')
    expect([open?.id, begun.body]).toEqual([expect.any(String), expect.objectContaining({ interval: 5 })])
    const page = await anne.browser.open(`${world.url}/approvals/${open?.id}`)
    const done = await anne.browser.submit(page, '/decision', fields)
    expect(done.url.search).toBe('?done=approved')
    const { body } = await asking.poll('agent-app', begun.body.auth_req_id)
    const claims = decodeJwt(body.access_token ?? '')
    const expires = Number(claims.exp) - Number(claims.iat)
    // Whom it is for, by whom, as what; and that it is tokens of so many minutes.
    const { act } = claims as { readonly act?: { readonly sub: string } }
    expectSaid(page, [claims.sub, act?.sub, String(claims['client_id']), ...scopesIn(claims['scope'])])
    expectSaid(page, [`tokens`, `${Math.ceil(expires / 60)} minutes after the first`])
    return { page, claims, grants: await world.service.grants.approvalGrants.listOf('user:anne') }
  }

  test('for a token of ours', async () => {
    const narrowing = [{ type: 'document_access', collections: ['handbook'] }]
    const { page } = await agreed({
      scope: 'openid docs.search docs.read approvals.request vault.use',
      authorization_details: JSON.stringify(narrowing),
    })
    expectSaid(page, ['handbook'])
  })

  test('for documents: each one, for how long, how often', async () => {
    const token = await world.token({ user: 'anne', agent: 'research-bot' })
    const question = { query: 'the merger', top_k: 5, mode: 'keyword' }
    let offer: string | undefined
    await expect
      .poll(async () => {
        const answer = (await world.retrieve(token, question)) as { approval?: { offer_id: string } }
        offer ??= answer.approval?.offer_id
        return offer
      })
      .toBeDefined()
    const detail = JSON.stringify([{ type: 'document_access', offer }])
    const { page, claims, grants } = await agreed(
      { scope: 'openid docs.search', authorization_details: detail },
      { document: ['board/1', 'board/2'], extent: 'once', seconds: '900' },
    )
    const [{ grant: id } = {}] = claims['authorization_details'] as { readonly grant?: string }[]
    const made = grants.find((one) => one.id === id)
    const titles: Readonly<Record<string, string>> = {
      'document:board/1': 'Minutes of May',
      'document:board/2': 'Minutes of June',
    }
    expect(made?.objects).toHaveLength(2)
    expectSaid(page, made?.objects.map((one) => titles[one]) ?? [])
    expectSaid(page, [made?.maxUses === 1 ? 'Once' : 'never', '15 minutes'])
    expect(Math.abs((made?.until.getTime() ?? 0) - Date.now() - 15 * minute)).toBeLessThan(minute)
  })

  test('for a call: where, with which account, what, once', async () => {
    const call = { type: 'vault_call', connection: 'acme', method: 'GET', path: '/issues?q=merger' }
    const { page, claims, grants } = await agreed(
      { scope: 'openid vault.use', authorization_details: JSON.stringify([call]) },
      { seconds: '300' },
    )
    const [{ grant: id } = {}] = claims['authorization_details'] as { readonly grant?: string }[]
    const made = grants.find((one) => one.id === id)
    expectSaid(page, [
      'Acme',
      new URL(provider.origin).host,
      'anne@acme',
      made?.vaultCall?.method,
      '/issues',
      'merger',
    ])
    expectSaid(page, [made?.maxUses === 1 ? 'once' : 'never', '5 minutes'])
  })

  test('for another’s API: each member of what it may do there, and until when it is lent', async () => {
    const { page, claims } = await agreed({
      resource: broker,
      scope: 'openid orders.place',
      authorization_details: JSON.stringify([order]),
    })
    const lent = await lentBy(claims['delegation'])
    expectSaid(page, [lent.resource, ...membersOf(order), format.format(lent.expiresAt)])
    expect(lent).toMatchObject({ scope: [], details: [order], subAgents: [] })
  })
})

describe('a consent', () => {
  const ends: Readonly<Record<string, number>> = {
    '1 hour from now': 60 * minute,
    '7 days from now': 7 * 1_440 * minute,
  }

  /** Asks, agrees to all that the page offers, and gives the token's claims. */
  async function consented(
    parameters: Readonly<Record<string, string>>,
    { end, browser = world.browser() }: { readonly end: string; readonly browser?: Browser },
  ) {
    const verifier = client.randomPKCECodeVerifier()
    const all = {
      client_id: 'agent-app',
      response_type: 'code',
      redirect_uri: world.redirectUri,
      code_challenge: await client.calculatePKCECodeChallenge(verifier),
      code_challenge_method: 'S256',
      ...parameters,
    }
    const first = await browser.open(`${world.issuer}/auth?${new URLSearchParams(all)}`)
    const page = await browser.submit(first, '/sign-in', { user: 'anne', password })
    const [, seconds = ''] = new RegExp(`<option value="(\\d+)"[^>]*>${end}<`).exec(page.text) ?? []
    const objects = [...page.text.matchAll(/name="object" value="([^"]+)"/g)].map(([, id = '']) => id)
    const others = [...page.text.matchAll(/name="sub_agent" value="([^"]+)"/g)].map(([, id = '']) => id)
    const back = await browser.submit(page, '/consent', { object: objects, sub_agent: others, seconds })
    const body = new URLSearchParams({
      grant_type: 'authorization_code',
      code: back.url.searchParams.get('code') ?? '',
      redirect_uri: all.redirect_uri,
      code_verifier: verifier,
      client_id: all.client_id,
    })
    const { key, kid } = world.keys['agent-app']
    const headers = new Headers()
    if (all.client_id === 'agent-app') {
      const config = asking.configurations['agent-app']
      const proof = client.PrivateKeyJwt({ key, kid })
      await Promise.resolve(proof(config.serverMetadata(), config.clientMetadata(), body, headers))
    }
    const answer = await fetch(`${world.issuer}/token`, { method: 'POST', body, headers })
    const { access_token: token = '' } = (await answer.json()) as { readonly access_token?: string }
    const claims = decodeJwt(token)
    expectSaid(page, [claims.sub, String(claims.aud), ...scopesIn(claims['scope'])])
    return { page, claims, ends: Date.now() + (ends[end] ?? 0) }
  }

  test('of an agent: what it may look into, who it passes it on to, until when', async () => {
    const {
      page,
      claims,
      ends: end,
    } = await consented(
      { scope: 'docs.search docs.read', sub_agents: 'other-bot' },
      { end: '7 days from now' },
    )
    const lent = await lentBy(claims['delegation'])
    expect(lent.scope.length).toBeGreaterThan(0)
    expectSaid(page, [
      lent.agent,
      ...lent.subAgents,
      ...lent.scope.map((one) => one.replace('collection:', 'The ')),
    ])
    expect(lent.subAgents).toEqual(['other-bot'])
    expect(Math.abs(lent.expiresAt.getTime() - end)).toBeLessThan(minute)
  })

  test('of a stranger: at which address, and where it goes', async () => {
    const {
      page,
      claims,
      ends: end,
    } = await consented(
      { client_id: stranger, redirect_uri: redirectUri, resource: `${world.url}/mcp`, scope: 'docs.search' },
      { end: '1 hour from now' },
    )
    expectSaid(page, [String(claims['client_id']), new URL(redirectUri).host])
    expect(Math.abs((await lentBy(claims['delegation'])).expiresAt.getTime() - end)).toBeLessThan(minute)
  })

  test('of an agent at another’s API: each member, word for word', async () => {
    const browser = anne.browser
    await verify()
    const {
      page,
      claims,
      ends: end,
    } = await consented(
      { resource: broker, scope: 'orders.place', authorization_details: JSON.stringify([order]) },
      { end: '1 hour from now', browser },
    )
    const lent = await lentBy(claims['delegation'])
    expectSaid(page, [lent.agent, lent.resource, ...lent.details.flatMap(membersOf)])
    expect(Math.abs(lent.expiresAt.getTime() - end)).toBeLessThan(minute)
  })

  test('of a program of their own: that it acts as them', async () => {
    const { page, claims } = await consented(
      { client_id: 'cli', scope: 'docs.search docs.read' },
      { end: '1 hour from now' },
    )
    expectSaid(page, ['as you?', 'everything that you may do yourself'])
    expect(claims).not.toHaveProperty('act')
  })
})

test('an agent’s use of an account: which agent, by which program, each method and path', async () => {
  const principal = agentPrincipal({ delegation, client: 'public-agent' })
  const url = await world.service.vault.connections.connectUrl(principal, 'acme')
  await verify()
  const page = await anne.browser.open(url)
  const rules = [...page.text.matchAll(/name="rule" value="([^"]+)"/g)].map(([, title = '']) => title)
  await anne.browser.submit(page, '/connections/c_1/agents', { rule: rules })
  const [made] = await world.database.query<{
    agent: string
    client: string
    rules: { title: string; methods: string[]; paths: string[] }[]
  }>(`select agent, client, rules from connection_agents where client = 'public-agent'`)
  expect(made?.rules.length).toBeGreaterThan(0)
  expectSaid(page, ['anne@acme', made?.agent, 'Research in the terminal'])
  expectSaid(page, made?.rules.flatMap(({ title, methods, paths }) => [title, ...methods, ...paths]) ?? [])
})
