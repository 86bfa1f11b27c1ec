import { decodeJwt } from 'jose'
import * as client from 'openid-client'
import { afterAll, beforeAll, expect, test } from 'vitest'
import { type Browser, openBrowser } from './browser.ts'
import { type IssuerWorld, openIssuerWorld, password } from './world.ts'

let world: IssuerWorld
let browser: Browser
let config: client.Configuration
beforeAll(async () => {
  world = await openIssuerWorld()
  await world.service.administrators.add('user:bob', ['security.read'])
  browser = world.browser()
  config = await client.discovery(new URL(world.issuer), 'remit-console', undefined, client.None(), {
    execute: [client.allowInsecureRequests],
    algorithm: 'oauth2',
  })
})
afterAll(() => world?.[Symbol.asyncDispose]())

async function begin(parameters: Record<string, string> = {}, by = browser) {
  const verifier = client.randomPKCECodeVerifier()
  const url = client.buildAuthorizationUrl(config, {
    redirect_uri: `${world.url}/console/callback`,
    resource: world.url,
    scope: 'openid security.read security.write docs.read',
    code_challenge: await client.calculatePKCECodeChallenge(verifier),
    code_challenge_method: 'S256',
    ...parameters,
  })
  return { page: await by.open(url.href), checks: { pkceCodeVerifier: verifier } }
}

const redeem = async ({ page, checks }: Awaited<ReturnType<typeof begin>>, bound = true) =>
  client.authorizationCodeGrant(config, page.url, checks, undefined, {
    ...(bound && { DPoP: client.getDPoPHandle(config, await client.randomDPoPKeyPair('ES256')) }),
  })

const refusalOf = ({ page }: Awaited<ReturnType<typeof begin>>) => page.url.searchParams.get('error')

test('whoever signs in to the console gets the roles that they have, and no other scope, by no page that asks', async () => {
  const { page, checks } = await begin()
  const back = await browser.submit(page, '/sign-in', { user: 'bob', password })
  expect(back.url.pathname).toBe('/console/callback')
  const { access_token, refresh_token } = await redeem({ page: back, checks })
  expect(decodeJwt(access_token)).toMatchObject({ sub: 'bob', scope: 'security.read', aud: world.url })
  expect(decodeJwt(access_token)).not.toHaveProperty('act')
  expect(refresh_token).toBeUndefined()
})

test('asks nothing while the session lasts, and its codes give no token without a key', async () => {
  const begun = await begin({ prompt: 'none' })
  await expect(redeem(begun, false)).rejects.toMatchObject({ error: 'invalid_grant' })
  expect(world.logged.at(-1)?.fields).toMatchObject({ reason: expect.stringMatching(/DPoP/i) })
  expect((await redeem(await begin({ prompt: 'none' }))).token_type).toBe('dpop')
})

test('puts nothing on the operator’s log as refused where a first proof is only told a nonce', async () => {
  const refusals = () => world.logged.filter(({ event }) => event === 'grant_refused').length
  const before = refusals()
  expect((await redeem(await begin({ prompt: 'none' }))).token_type).toBe('dpop')
  expect(refusals()).toBe(before)
})

test('sends no code to another port of this machine, and none for another API', async () => {
  const elsewhere = new URL(world.url)
  elsewhere.port = '1'
  const { page } = await begin({ redirect_uri: `${elsewhere.origin}/console/callback`, prompt: 'none' })
  expect([page.status, page.url.origin]).toEqual([400, world.url])
  expect(refusalOf(await begin({ resource: `${world.url}/mcp`, prompt: 'none' }))).toBe('access_denied')
})

test('lets nobody in without a session, without a role, or whose sign-in counts no more', async () => {
  expect(refusalOf(await begin({ prompt: 'none' }, openBrowser(world.url)))).toBe('login_required')
  await world.service.administrators.remove('user:bob')
  expect(refusalOf(await begin({ prompt: 'none' }))).toBe('access_denied')
  await world.service.administrators.add('user:bob', ['security.read'])
  expect(refusalOf(await begin({ prompt: 'none' }))).toBe(null)
  await world.service.revocations.revoke({ kind: 'subject', id: 'user:bob' }, { reason: 'left' })
  expect(refusalOf(await begin({ prompt: 'none' }))).toBe('access_denied')
})

test('whoever gives back its token is signed out of it, in every tab and on record; nobody else’s client ends it', async () => {
  await world.service.administrators.add('user:anne', ['security.read'])
  const by = world.browser()
  const { page, checks } = await begin({}, by)
  const first = await redeem({ page: await by.submit(page, '/sign-in', { user: 'anne', password }), checks })
  const tokens = [first, await redeem(await begin({ prompt: 'none' }, by))].map((one) => one.access_token)
  const active = async () =>
    Promise.all(tokens.map(async (token) => (await client.tokenIntrospection(config, token)).active))
  const execute = [client.allowInsecureRequests]
  const issuer = new URL(world.issuer)
  const cli = await client.discovery(issuer, 'cli', undefined, client.None(), {
    execute,
    algorithm: 'oauth2',
  })
  await client.tokenRevocation(cli, first.access_token)
  expect(await active()).toEqual([true, true])
  expect(refusalOf(await begin({ prompt: 'none' }, by))).toBe(null)

  await client.tokenRevocation(config, first.access_token)
  expect(await active()).toEqual([false, false])
  expect(refusalOf(await begin({ prompt: 'none' }, by))).toBe('login_required')
  const ended = await world.database.query(
    `select client from decision_records where event = 'signed_out' and subject = 'user:anne'`,
  )
  expect(ended).toEqual([{ client: 'remit-console' }])
})

test('is not a client that an operator can take away', async () => {
  await expect(world.service.clients.assertRemovable('remit-console')).rejects.toThrow('registers it anew')
})
