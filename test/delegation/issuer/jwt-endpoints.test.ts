import * as client from 'openid-client'
import { afterAll, beforeAll, expect, test } from 'vitest'
import { type IssuerWorld, openIssuerWorld } from './world.ts'

let world: IssuerWorld
let owner: client.Configuration
let stranger: client.Configuration
let token: string
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
  token = (await client.authorizationCodeGrant(owner, back.url, checks)).access_token
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
