import { SignJWT } from 'jose'
import * as client from 'openid-client'
import { afterAll, beforeAll, describe, expect, test } from 'vitest'
import { type IssuerWorld, openIssuerWorld } from './world.ts'

let world: IssuerWorld
let owner: client.Configuration
let stranger: client.Configuration
let token: string
let refreshToken: string | undefined
beforeAll(async () => {
  world = await openIssuerWorld()
  await world.put({ 'handbook/travel': { text: 'Travel.', access: { viewers: ['user:anne'] } } })
  owner = await as('agent-app')
  stranger = await as('helper-app')
  const verifier = client.randomPKCECodeVerifier()
  const browser = world.browser()
  const url = client.buildAuthorizationUrl(owner, {
    redirect_uri: world.redirectUri,
    code_challenge: await client.calculatePKCECodeChallenge(verifier),
    code_challenge_method: 'S256',
  })
  const back = await world.consent(browser, await browser.open(url.href), {
    objects: ['collection:handbook'],
  })
  const checks = { pkceCodeVerifier: verifier }
  const answer = await client.authorizationCodeGrant(owner, back.url, checks)
  token = answer.access_token
  refreshToken = answer.refresh_token
})
afterAll(() => world?.[Symbol.asyncDispose]())

async function as(id: 'agent-app' | 'helper-app'): Promise<client.Configuration> {
  const { key, kid } = world.keys[id]
  return client.discovery(new URL(world.issuer), id, undefined, client.PrivateKeyJwt({ key, kid }), {
    execute: [client.allowInsecureRequests],
    algorithm: 'oauth2',
  })
}

const status = async () =>
  (await world.call('POST', '/retrieve', { token, body: { query: 'travel' } })).status

test('introspection tells the client of a token who acts for whom, and strangers nothing', async () => {
  expect(await client.tokenIntrospection(owner, token)).toMatchObject({
    active: true,
    sub: 'anne',
    aud: world.url,
    client_id: 'agent-app',
    act: { iss: world.issuer, sub: 'research-bot' },
  })
  expect(await client.tokenIntrospection(stranger, token)).toEqual({ active: false })
  expect(await client.tokenIntrospection(owner, `${token}x`)).toEqual({ active: false })
})

test('revocation ends the token at once, for the client that it was issued to and nobody else', async () => {
  await client.tokenRevocation(stranger, token)
  expect(await status()).toBe(200)
  await client.tokenRevocation(owner, token)
  expect(await status()).toBe(401)
  expect(await client.tokenIntrospection(owner, token)).toEqual({ active: false })
})

test('neither endpoint answers whoever does not prove who they are', async () => {
  for (const path of ['/token/introspection', '/token/revocation']) {
    const body = new URLSearchParams({ token, client_id: 'agent-app' })
    const response = await fetch(`${world.issuer}${path}`, { method: 'POST', body })
    expect(response.status).toBe(401)
  }
})

/** As it stands in Java's own HTTP client, and in the tools that are made of it. */
const javas = 'text/html, image/gif, image/jpeg, *; q=.2, */*; q=.2'

async function byJava(path: string, fields: Readonly<Record<string, string>>): Promise<Response> {
  const { key, kid } = world.keys['agent-app']
  const assertion = new SignJWT({ jti: crypto.randomUUID() })
    .setProtectedHeader({ alg: 'ES256', kid })
    .setIssuer('agent-app')
    .setSubject('agent-app')
    .setAudience(world.issuer)
    .setIssuedAt()
    .setExpirationTime('1 min')
  const body = new URLSearchParams({
    client_id: 'agent-app',
    client_assertion_type: 'urn:ietf:params:oauth:client-assertion-type:jwt-bearer',
    client_assertion: await assertion.sign(key),
    ...fields,
  })
  return fetch(`${world.issuer}${path}`, { method: 'POST', body, headers: { accept: javas } })
}

describe('a program whose HTTP library prefers HTML', () => {
  test.each([
    '/token',
    '/request',
    '/device/auth',
    '/backchannel',
    '/token/introspection',
    '/token/revocation',
    '/TOKEN/',
  ])('reads the errors of %s as JSON', async (path) => {
    const response = await byJava(path, {})
    expect(response.headers.get('content-type')).toMatch(/^application\/json/)
    expect([response.status, await response.json()]).toMatchObject([400, { error: 'invalid_request' }])
  })

  test('learns of a token by introspection, and ends it and what it was made from by revocation', async () => {
    const { access_token: next, refresh_token: last } = await client.refreshTokenGrant(
      owner,
      refreshToken ?? '',
    )
    token = next
    const introspected = async () => (await byJava('/token/introspection', { token })).json()
    expect(await introspected()).toMatchObject({ active: true, sub: 'anne' })
    expect(await status()).toBe(200)
    const revoked = await byJava('/token/revocation', { token, token_type_hint: 'access_token' })
    expect([revoked.status, await revoked.text()]).toEqual([200, ''])
    expect(await status()).toBe(401)
    expect(await introspected()).toEqual({ active: false })
    expect((await byJava('/token/revocation', { token: last ?? '' })).status).toBe(200)
    await expect(client.refreshTokenGrant(owner, last ?? '')).rejects.toMatchObject({
      error: 'invalid_grant',
    })
  })

  test('gets pages where people come by a browser', async () => {
    for (const path of ['/auth', '/auth/nothing', '/device', '/device/nothing']) {
      const response = await fetch(`${world.issuer}${path}`, { headers: { accept: 'text/html' } })
      expect([path, response.headers.get('content-type')]).toEqual([
        path,
        expect.stringMatching(/^text\/html/),
      ])
    }
  })
})
