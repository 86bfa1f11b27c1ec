import { createRemoteJWKSet, decodeJwt, decodeProtectedHeader, jwtVerify } from 'jose'
import * as client from 'openid-client'
import { afterAll, beforeAll, describe, expect, test } from 'vitest'
import { idTokenAlgorithms } from '../../../src/delegation/registry/clients.ts'
import type { Browser } from './browser.ts'
import { type IssuerWorld, openIssuerWorld } from './world.ts'

// openid-client was written by others: what it accepts is the standard, not our reading of it.
let world: IssuerWorld
// One browser, signed in once: every request still asks for consent of its own.
let browser: Browser
beforeAll(async () => {
  world = await openIssuerWorld()
  browser = world.browser()
  await world.put({
    'handbook/travel': { text: 'Travel costs are refunded in a week.', access: { viewers: ['user:anne'] } },
    'finance/budget': {
      collection: 'finance',
      text: 'The budget of travel.',
      access: { owner: 'user:anne' },
    },
  })
  await world.write('user:anne member organization:acme')
})
afterAll(() => world?.[Symbol.asyncDispose]())

async function as(
  clientId: keyof IssuerWorld['keys'] | 'cli' | 'public-agent',
): Promise<client.Configuration> {
  const clientKey = clientId in world.keys ? world.keys[clientId as keyof IssuerWorld['keys']] : undefined
  const auth =
    clientKey === undefined ? client.None() : client.PrivateKeyJwt({ key: clientKey.key, kid: clientKey.kid })
  return client.discovery(new URL(world.issuer), clientId, undefined, auth, {
    execute: [client.allowInsecureRequests],
    algorithm: 'oauth2',
  })
}

async function authorize(
  config: client.Configuration,
  parameters: Record<string, string>,
  consent: Parameters<IssuerWorld['consent']>[2] = {},
  { pushed = false } = {},
) {
  const verifier = client.randomPKCECodeVerifier()
  const all = {
    redirect_uri: world.redirectUri,
    code_challenge: await client.calculatePKCECodeChallenge(verifier),
    code_challenge_method: 'S256',
    state: client.randomState(),
    ...parameters,
  }
  const url = pushed
    ? await client.buildAuthorizationUrlWithPAR(config, all)
    : client.buildAuthorizationUrl(config, all)
  const page = await browser.open(url.href)
  const back = await world.consent(browser, page, consent)
  return { url: back.url, checks: { pkceCodeVerifier: verifier, expectedState: all.state }, page, back }
}

/** Of one poll. */
async function deviceError(device_code: string): Promise<string> {
  const response = await fetch(`${world.issuer}/token`, {
    method: 'POST',
    body: new URLSearchParams({
      grant_type: 'urn:ietf:params:oauth:grant-type:device_code',
      client_id: 'public-agent',
      device_code,
    }),
  })
  return ((await response.json()) as { error: string }).error
}

async function search(token: string): Promise<string[]> {
  const { results } = await world.retrieve(token, { query: 'travel', top_k: 5 })
  return results.map(({ document_id }) => document_id).sort()
}

describe('an agent gets a person’s consent by code and PKCE', () => {
  test('and its token names person, actor, delegation and one API, and finds what was lent', async () => {
    const config = await as('agent-app')
    const { url, checks } = await authorize(
      config,
      { scope: 'docs.search docs.read', resource: world.url },
      { objects: ['collection:handbook'] },
    )
    const tokens = await client.authorizationCodeGrant(config, url, checks)
    expect(decodeProtectedHeader(tokens.access_token)).toMatchObject({ alg: 'ES256', typ: 'at+jwt' })
    const claims = decodeJwt(tokens.access_token)
    expect(claims).toMatchObject({
      iss: world.issuer,
      sub: 'anne',
      aud: world.url,
      client_id: 'agent-app',
      scope: 'docs.search docs.read',
      act: { iss: world.issuer, sub: 'research-bot', sub_profile: 'ai_agent' },
      delegation: expect.stringMatching(/^d_/),
      grant_id: expect.any(String),
      txn: expect.stringMatching(/^t_/),
      jti: expect.any(String),
      auth_time: expect.any(Number),
    })
    expect((claims.exp ?? 0) - (claims.iat ?? 0)).toBeLessThanOrEqual(300)
    expect(await search(tokens.access_token)).toEqual(['handbook/travel'])
  })

  test('and an ID token by the algorithm that its client is registered with, of a key that is published', async () => {
    const keys = createRemoteJWKSet(new URL(`${world.issuer}/jwks`))
    for (const idTokenAlgorithm of [undefined, ...idTokenAlgorithms]) {
      await world.service.clients.register(
        { clientId: 'desk-app', kind: 'agent', agent: 'research-bot' },
        { title: 'Desk', redirectUris: [world.redirectUri], jwks: undefined, idTokenAlgorithm },
      )
      const config = await client.discovery(new URL(world.issuer), 'desk-app', undefined, client.None(), {
        execute: [client.allowInsecureRequests],
      })
      const nonce = client.randomNonce()
      const asked = { scope: 'openid docs.search', nonce }
      const { url, checks } = await authorize(config, asked, { objects: ['collection:handbook'] })
      const tokens = await client.authorizationCodeGrant(config, url, { ...checks, expectedNonce: nonce })
      expect(tokens.scope).toBe('openid docs.search')
      expect(decodeJwt(tokens.access_token)).toMatchObject({ scope: 'docs.search' })
      const { protectedHeader, payload } = await jwtVerify(tokens.id_token ?? '', keys, {
        issuer: world.issuer,
        audience: 'desk-app',
      })
      expect(protectedHeader.alg).toBe(idTokenAlgorithm ?? 'ES256')
      expect(payload).toMatchObject({ sub: 'anne', nonce })
      // The key that signs ID tokens opens nothing.
      expect(
        (await world.call('POST', '/retrieve', { token: tokens.id_token ?? '', body: { query: 'a' } }))
          .status,
      ).toBe(401)
      const next = await client.refreshTokenGrant(config, tokens.refresh_token ?? '')
      expect(next.scope).toBe('openid docs.search')
    }
  })

  test('by a pushed request with details: the token is narrowed to the collections that were chosen', async () => {
    const config = await as('agent-app')
    const details = JSON.stringify([{ type: 'document_access', collections: ['handbook', 'finance'] }])
    const { url, checks, page } = await authorize(
      config,
      { scope: 'docs.search', resource: world.url, authorization_details: details },
      { objects: ['collection:finance'] },
      { pushed: true },
    )
    expect(page.text).toContain('<h1>Let research-bot read for you?</h1>')
    const tokens = await client.authorizationCodeGrant(config, url, checks)
    expect(tokens.authorization_details).toEqual([{ type: 'document_access', collections: ['finance'] }])
    expect(decodeJwt(tokens.access_token)['authorization_details']).toEqual(tokens.authorization_details)
    expect(await search(tokens.access_token)).toEqual(['finance/budget'])
  })

  test('without naming a scope: it is what an agent may read', async () => {
    const config = await as('agent-app')
    const { url, checks } = await authorize(config, {}, { objects: ['organization:acme'] })
    const tokens = await client.authorizationCodeGrant(config, url, checks)
    expect(decodeJwt(tokens.access_token)).toMatchObject({ scope: 'docs.search docs.read', aud: world.url })
  })

  test('at a page that names the agent’s limit, where it offers more than the limit leaves', async () => {
    const config = await as('agent-app')
    const { page: unlimited } = await authorize(config, {}, { objects: ['collection:handbook'] })
    expect(unlimited.text).not.toContain('is limited to')
    const limit = 'update agents set collections = $1 where id = $2'
    await world.database.query(limit, [['handbook'], 'research-bot'])
    const { page } = await authorize(config, {}, { objects: ['organization:acme'] })
    await world.database.query(limit, [null, 'research-bot'])
    expect(page.text).toContain('value="organization:acme"')
    expect(page.text).toMatch(/<code>research-bot<\/code> is limited to: [^<,]*handbook[^<,]*\.</i)
  })

  test('and the refresh token turns: one that was used ends the whole grant', async () => {
    const config = await as('agent-app')
    const { url, checks } = await authorize(config, {}, { objects: ['collection:handbook'] })
    const first = await client.authorizationCodeGrant(config, url, checks)
    const second = await client.refreshTokenGrant(config, first.refresh_token ?? '')
    expect(decodeJwt(second.access_token)).toMatchObject({
      act: { sub: 'research-bot' },
      delegation: decodeJwt(first.access_token)['delegation'],
    })
    expect(await search(second.access_token)).toEqual(['handbook/travel'])
    await expect(client.refreshTokenGrant(config, first.refresh_token ?? '')).rejects.toMatchObject({
      error: 'invalid_grant',
    })
    await expect(client.refreshTokenGrant(config, second.refresh_token ?? '')).rejects.toMatchObject({
      error: 'invalid_grant',
    })
    const response = await world.call('POST', '/retrieve', {
      token: second.access_token,
      body: { query: 'x' },
    })
    expect(response.status).toBe(401)
  })

  test('and taking the delegation back ends the refresh token with it', async () => {
    const config = await as('agent-app')
    const { url, checks } = await authorize(config, {}, { objects: ['collection:handbook'] })
    const tokens = await client.authorizationCodeGrant(config, url, checks)
    await world.service.delegations.revoke(String(decodeJwt(tokens.access_token)['delegation']))
    await expect(client.refreshTokenGrant(config, tokens.refresh_token ?? '')).rejects.toMatchObject({
      error: 'invalid_grant',
    })
  })
})

test('a person’s own client gets their own token, without an actor', async () => {
  const config = await as('cli')
  const { url, checks } = await authorize(config, { scope: 'docs.search' }, { user: 'anne' })
  const { access_token } = await client.authorizationCodeGrant(config, url, checks)
  expect(decodeJwt(access_token)).not.toHaveProperty('act')
  expect(await search(access_token)).toEqual(['finance/budget', 'handbook/travel'])
})

test('a service proves itself with its key and gets its own token', async () => {
  const config = await as('loader-app')
  const { access_token, refresh_token } = await client.clientCredentialsGrant(config, { scope: 'docs.write' })
  expect(refresh_token).toBeUndefined()
  expect(decodeJwt(access_token)).toMatchObject({ sub: 'loader-app', scope: 'docs.write', aud: world.url })
  const response = await world.call('PUT', '/documents/handbook%2Fnew', {
    token: access_token,
    body: { collection: 'handbook', title: 'New', text: 'New.', access: { viewers: ['user:bob'] } },
    headers: { prefer: 'wait=20' },
  })
  expect([200, 202]).toContain(response.status)
})

test('a program without a browser gets consent by the device flow', { timeout: 30_000 }, async () => {
  const config = await as('public-agent')
  const started = await client.initiateDeviceAuthorization(config, { scope: 'docs.search' })
  expect(started.interval).toBe(5)
  const polling = client.pollDeviceAuthorizationGrant(config, started)
  const entry = await browser.open(started.verification_uri)
  const confirm = await browser.submit(entry, '/oauth/device', { user_code: started.user_code })
  expect(confirm.text).toContain('Research in the terminal')
  const asked = await browser.submit(confirm, '/oauth/device')
  const done = await world.consent(browser, asked, { objects: ['collection:handbook'] })
  expect(done.text).toContain('Connected')
  const { access_token } = await polling
  expect(decodeJwt(access_token)).toMatchObject({ sub: 'anne', act: { sub: 'research-bot' } })
  expect(await search(access_token)).toEqual(['handbook/travel'])
})

test('whoever polls too soon is told to slow down', async () => {
  const config = await as('public-agent')
  const { device_code } = await client.initiateDeviceAuthorization(config, { scope: 'docs.search' })
  expect(await deviceError(device_code)).toBe('authorization_pending')
  expect(await deviceError(device_code)).toBe('slow_down')
  // Nothing was refused: a log that has a line for every wait is not read.
  expect(world.logged.filter(({ fields }) => JSON.stringify(fields).includes('public-agent'))).toEqual([])
})

test('a code that is typed again while a browser is on its way with it ends for both, and the device hears so', async () => {
  const config = await as('public-agent')
  const started = await client.initiateDeviceAuthorization(config, { scope: 'docs.search' })
  const type = async (one: Browser) =>
    one.submit(await one.open(started.verification_uri), '/oauth/device', { user_code: started.user_code })
  // Typed twice before anybody goes on, it is nobody's yet.
  await type(browser)
  const asked = await browser.submit(await type(browser), '/oauth/device')
  expect(await deviceError(started.device_code)).toBe('authorization_pending')
  expect((await type(world.browser())).text).toContain('Start again from the device.')
  const late = await world.consent(browser, asked, { objects: ['collection:handbook'] })
  expect(late.text).not.toContain('Connected')
  expect(await deviceError(started.device_code)).toBe('expired_token')
  expect(await deviceError(started.device_code)).toBe('invalid_grant')
})
