import { decodeProtectedHeader, SignJWT } from 'jose'
import * as client from 'openid-client'
import { afterAll, beforeAll, expect, test } from 'vitest'
import { type IssuerWorld, openIssuerWorld } from '../delegation/issuer/world.ts'
import { startTestIssuer, type TestIssuer } from '../support/issuer.ts'

// What a real flow hands out beside the access token, and what clients sign themselves: none of it opens the
// API, and none of it is a subject token. tokens.test.ts does the same with what was made up.

const exchangeGrant = 'urn:ietf:params:oauth:grant-type:token-exchange'
const accessTokenType = 'urn:ietf:params:oauth:token-type:access_token'

let world: IssuerWorld
let issuer: TestIssuer
let config: client.Configuration
let tokens: client.TokenEndpointResponse
let code: string
beforeAll(async () => {
  issuer = await startTestIssuer()
  world = await openIssuerWorld()
  await world.put({ 'handbook/travel': { text: 'Travel costs.', access: { viewers: ['user:anne'] } } })
  const { key, kid } = world.keys['agent-app']
  config = await client.discovery(
    new URL(world.issuer),
    'agent-app',
    undefined,
    client.PrivateKeyJwt({ key, kid }),
    { execute: [client.allowInsecureRequests], algorithm: 'oauth2' },
  )
  const browser = world.browser()
  const pkceCodeVerifier = client.randomPKCECodeVerifier()
  const url = client.buildAuthorizationUrl(config, {
    redirect_uri: world.redirectUri,
    scope: 'openid docs.search',
    resource: world.url,
    code_challenge: await client.calculatePKCECodeChallenge(pkceCodeVerifier),
    code_challenge_method: 'S256',
  })
  const back = await world.consent(browser, await browser.open(url.href), {
    objects: ['collection:handbook'],
  })
  code = back.url.searchParams.get('code') ?? ''
  tokens = await client.authorizationCodeGrant(config, back.url, { pkceCodeVerifier })
})
afterAll(async () => {
  await world?.[Symbol.asyncDispose]()
  await issuer?.[Symbol.asyncDispose]()
})

const ask = async (token: string) =>
  (await world.call('POST', '/retrieve', { token, body: { query: 'travel' } })).status

const exchange = (subject_token: string) =>
  client
    .genericGrantRequest(config, exchangeGrant, {
      subject_token,
      subject_token_type: accessTokenType,
      resource: world.url,
    })
    .then(
      () => 'exchanged',
      (error: unknown) => (error instanceof client.ResponseBodyError ? error.error : String(error)),
    )

test('the access token of the same answer is let in, and can be exchanged', async () => {
  expect(await ask(tokens.access_token)).toBe(200)
  expect(await exchange(tokens.access_token)).toBe('exchanged')
})

const strays: Readonly<Record<string, () => Promise<string> | string>> = {
  'the ID token': () => tokens.id_token ?? '',
  'the refresh token': () => tokens.refresh_token ?? '',
  'the code': () => code,
  'the client’s own assertion': () => assertion('JWT'),
  'an assertion that calls itself an access token': () => assertion('at+jwt'),
  'the ID token signed anew as an access token, by the client': async () => {
    const { kid } = decodeProtectedHeader(tokens.id_token ?? '')
    const claims = JSON.parse(
      Buffer.from((tokens.id_token ?? '').split('.')[1] ?? '', 'base64url').toString(),
    ) as Record<string, unknown>
    return new SignJWT({ ...claims, aud: world.url, client_id: 'agent-app' })
      .setProtectedHeader({ alg: 'ES256', typ: 'at+jwt', kid: kid ?? '' })
      .sign(world.keys['agent-app'].key)
  },
  'a token of an issuer that nobody trusts': () => issuer.token({ aud: world.url }),
}

test.each(Object.entries(strays))('%s opens nothing and is exchanged for nothing', async (_, make) => {
  const stray = await make()
  expect(stray).not.toBe('')
  expect(await ask(stray)).toBe(401)
  expect(await exchange(stray)).toBe('invalid_request')
})

async function assertion(typ: string): Promise<string> {
  const { key, kid } = world.keys['agent-app']
  const iat = Math.floor(Date.now() / 1_000)
  return new SignJWT({ iss: 'agent-app', sub: 'agent-app', aud: world.url, iat, exp: iat + 60, jti: 'a' })
    .setProtectedHeader({ alg: 'ES256', typ, kid })
    .sign(key)
}
