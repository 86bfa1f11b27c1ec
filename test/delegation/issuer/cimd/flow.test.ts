import { decodeJwt } from 'jose'
import * as client from 'openid-client'
import { afterAll, beforeAll, beforeEach, describe, expect, test } from 'vitest'
import { createMetadataClients } from '../../../../src/delegation/oauth/cimd/metadata-clients.ts'
import { createClients } from '../../../../src/delegation/registry/clients.ts'
import { callTool } from '../../../mcp/world.ts'
import type { Browser, Page } from '../browser.ts'
import { type IssuerWorld, openIssuerWorld, password } from '../world.ts'
import { clientId, document, openWeb, redirectUri } from './web.ts'

const web = openWeb()
let world: IssuerWorld
beforeAll(async () => {
  world = await openIssuerWorld({
    env: { CLIENT_ID_METADATA_DOCUMENTS: 'draft-02' },
    outbound: web.fetch,
  })
  await world.put({ 'handbook/travel': { text: 'Travel.', access: { viewers: ['user:anne', 'user:bob'] } } })
})
afterAll(() => world?.[Symbol.asyncDispose]())
beforeEach(() => {
  web.at.clear()
  web.at.set(clientId, document())
})

const verifier = client.randomPKCECodeVerifier()
async function start(browser: Browser, parameters: Readonly<Record<string, string>> = {}): Promise<Page> {
  const query = new URLSearchParams({
    client_id: clientId,
    response_type: 'code',
    redirect_uri: redirectUri,
    resource: `${world.url}/mcp`,
    scope: 'docs.search docs.read',
    code_challenge: await client.calculatePKCECodeChallenge(verifier),
    code_challenge_method: 'S256',
    ...parameters,
  })
  return browser.open(`${world.issuer}/auth?${query}`)
}

async function token(
  parameters: Readonly<Record<string, string>>,
): Promise<Readonly<Record<string, string>>> {
  const body = new URLSearchParams({ client_id: clientId, ...parameters })
  const response = await fetch(`${world.issuer}/token`, { method: 'POST', body })
  return (await response.json()) as Record<string, string>
}

const redeem = ({ url }: Page) =>
  token({
    grant_type: 'authorization_code',
    code: url.searchParams.get('code') ?? '',
    redirect_uri: redirectUri,
    code_verifier: verifier,
  })

const letIn = async (user: string, parameters?: Readonly<Record<string, string>>) => {
  const browser = world.browser()
  const page = await start(browser, parameters)
  return world.consent(browser, page, { user, objects: ['collection:handbook'] })
}

describe('a client that nobody registered', () => {
  test('is told that it may come', async () => {
    const response = await fetch(`${world.url}/.well-known/oauth-authorization-server/oauth`)
    expect(await response.json()).toMatchObject({ client_id_metadata_document_supported: true })
  })

  test('is shown as one that nobody vouches for, by its address and where it leads back to, not by its own words', async () => {
    const browser = world.browser()
    const page = await browser.submit(await start(browser), '/sign-in', { user: 'anne', password })
    expect(page.text).toContain('<h1>Let a program at assistant.example read for you?</h1>')
    expect(page.text).toContain('nobody here vouches for it')
    expect(page.text).toContain(clientId)
    expect(page.text).toContain('assistant.example')
    expect(page.text).not.toContain('Your Bank')
    expect(page.text).not.toContain('Who answers for it')
  })

  test('is warned of where it leads back to this computer', async () => {
    const names = ['127.0.0.1', '[::1]', 'localhost']
    const redirectUris = names.map((name) => `http://${name}/callback`)
    const cli = 'https://cli.example/client'
    web.at.set(cli, document({ client_id: cli, redirect_uris: redirectUris }))
    const browser = world.browser()
    for (const name of names) {
      const redirectUri = `http://${name}:4711/callback`
      const begun = await start(browser, { client_id: cli, redirect_uri: redirectUri })
      const isSignedIn = !begun.text.includes('name="password"')
      const page = isSignedIn ? begun : await browser.submit(begun, '/sign-in', { user: 'anne', password })
      expect([name, page.text]).toEqual([name, expect.stringContaining('which may be any program on it')])
      const { url } = await browser.submit(page, '/refuse')
      expect(url.href.startsWith(`${redirectUri}?error=access_denied`)).toBe(true)
    }
  })

  test('has no rows before a person lets it in, and then an agent of its own that gets its tokens and passages', async () => {
    const [before] = await world.database.query<{ count: number }>(
      `select count(*)::int as count from agents where id like 'cimd/%'`,
    )
    expect(before).toEqual({ count: 0 })
    const tokens = await redeem(await letIn('anne'))
    const claims = decodeJwt(tokens['access_token'] ?? '')
    expect(claims).toMatchObject({
      sub: 'anne',
      aud: `${world.url}/mcp`,
      client_id: clientId,
      scope: 'docs.search docs.read',
      act: { sub: expect.stringMatching(/^cimd\/[\w-]{43}$/) },
    })
    const found = await callTool(
      world,
      'retrieve',
      { query: 'travel' },
      { token: tokens['access_token'] ?? '' },
    )
    expect(found.body.result).toMatchObject({
      structuredContent: { results: [{ document_id: 'handbook/travel' }] },
    })
    const { sub } = claims['act'] as { sub: string }
    expect(await world.service.agents.get(sub)).toMatchObject({
      limits: { scopes: ['docs.search', 'docs.read', 'approvals.request'] },
      hostClients: [],
    })
    expect(await world.service.clients.get(clientId)).toMatchObject({ kind: 'agent', agent: sub })
  })

  test('gets no scope beyond the least, no agents below it, and nothing of others’ APIs', async () => {
    const wide = await redeem(
      await letIn('anne', { scope: 'docs.search vault.use approvals.request', sub_agents: 'other-bot' }),
    )
    const claims = decodeJwt(wide['access_token'] ?? '')
    expect(claims['scope']).toBe('docs.search approvals.request')
    const [row] = await world.database.query<{ sub_agents: string[] }>(
      'select sub_agents from delegations where id = $1',
      [String(claims['delegation'])],
    )
    expect(row).toEqual({ sub_agents: [] })
    await world.service.issuer.resources.save({ resource: 'https://broker.example', scopes: ['trade'] })
    const other = await start(world.browser(), { resource: 'https://broker.example', scope: 'trade' })
    expect(other.url.searchParams.get('error')).toMatch(/^invalid_(scope|target)$/)
  })

  test.each([
    ['token exchange', { grant_type: 'urn:ietf:params:oauth:grant-type:token-exchange' }],
    ['client credentials', { grant_type: 'client_credentials' }],
    ['a device code', { grant_type: 'urn:ietf:params:oauth:grant-type:device_code', device_code: 'x' }],
  ])('may not use %s, whatever its document says', async (_, parameters) => {
    expect((await token(parameters))['error_description']).toContain('not allowed for this client')
  })

  test('is led back to no other address than those of its document', async () => {
    const page = await start(world.browser(), { redirect_uri: 'https://evil.example/callback' })
    expect(page.url.origin).toBe(world.url)
    expect(page.text).toContain('invalid_redirect_uri')
  })

  test('whose document is no good begins nothing', async () => {
    for (const bad of [document({ client_id: 'https://x.example/y' }), { status: 404 }, 'unreachable']) {
      const id = `https://bad.example/${web.asked.length}`
      web.at.set(id, bad)
      const page = await start(world.browser(), { client_id: id })
      expect([page.status, page.url.pathname]).toEqual([400, '/oauth/auth'])
    }
  })

  test('makes us ask nobody by a token request, or before it was let in', async () => {
    const { length } = web.asked
    const id = 'https://nobody.example/client'
    web.at.set(id, document({ client_id: id }))
    await token({ client_id: id, grant_type: 'refresh_token', refresh_token: 'x' })
    expect(web.asked).toHaveLength(length)
  })

  test('goes on by its refresh token while nobody disables its agent, and begins nothing after that', async () => {
    const tokens = await redeem(await letIn('bob'))
    const again = await token({ grant_type: 'refresh_token', refresh_token: tokens['refresh_token'] ?? '' })
    const { act } = decodeJwt(again['access_token'] ?? '') as { act: { sub: string } }
    await world.service.agents.disable(act.sub)
    try {
      const late = await token({ grant_type: 'refresh_token', refresh_token: again['refresh_token'] ?? '' })
      expect(late['access_token']).toBeUndefined()
      const asked = await callTool(world, 'retrieve', { query: 'a' }, { token: again['access_token'] ?? '' })
      expect(asked.status).toBe(403)
      const page = await start(world.browser())
      expect([page.status, page.url.pathname]).toEqual([400, '/oauth/auth'])
    } finally {
      await world.service.agents.enable(act.sub)
    }
  })

  test('is let in no more once the setting is off, though its rows are there', async () => {
    await letIn('anne')
    const { agents } = world.service
    const clients = createClients({ sql: world.database })
    const off = createMetadataClients({
      clients,
      agents,
      documents: undefined,
      hosts: world.service.deniedHosts,
      issuer: world.issuer,
      clock: { now: Date.now },
    })
    expect(await clients.registered(clientId)).toBeDefined()
    expect(await off.clients.registered(clientId)).toBeUndefined()
    expect(await off.clients.registered('agent-app')).toBeDefined()
  })
})

test('without the setting there are no such clients', async () => {
  await using plain = await openIssuerWorld({ outbound: web.fetch })
  const { length } = web.asked
  const page = await plain
    .browser()
    .open(
      `${plain.issuer}/auth?${new URLSearchParams({ client_id: clientId, response_type: 'code', redirect_uri: redirectUri })}`,
    )
  expect(page.status).toBe(400)
  expect(web.asked).toHaveLength(length)
  const metadata: unknown = await (
    await fetch(`${plain.url}/.well-known/oauth-authorization-server/oauth`)
  ).json()
  expect(metadata).not.toHaveProperty('client_id_metadata_document_supported')
})
