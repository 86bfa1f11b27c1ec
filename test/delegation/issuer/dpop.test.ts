import { decodeJwt } from 'jose'
import * as client from 'openid-client'
import { afterAll, beforeAll, describe, expect, test } from 'vitest'
import { type Holder, makeHolder } from '../../support/dpop.ts'
import type { Browser } from './browser.ts'
import { type IssuerWorld, openIssuerWorld } from './world.ts'

const exchangeGrant = 'urn:ietf:params:oauth:grant-type:token-exchange'
const accessToken = 'urn:ietf:params:oauth:token-type:access_token'

let world: IssuerWorld
// One browser, signed in once: every request still asks for consent of its own.
let browser: Browser
beforeAll(async () => {
  world = await openIssuerWorld()
  browser = world.browser()
  await world.put({ 'handbook/travel': { text: 'Travel costs.', access: { viewers: ['user:anne'] } } })
})
afterAll(() => world?.[Symbol.asyncDispose]())

async function as(clientId: keyof IssuerWorld['keys'] | 'cli' | 'public-agent') {
  const clientKey = clientId in world.keys ? world.keys[clientId as keyof IssuerWorld['keys']] : undefined
  const auth =
    clientKey === undefined ? client.None() : client.PrivateKeyJwt({ key: clientKey.key, kid: clientKey.kid })
  return client.discovery(new URL(world.issuer), clientId, undefined, auth, {
    execute: [client.allowInsecureRequests],
    algorithm: 'oauth2',
  })
}

async function handleFor(config: client.Configuration) {
  return client.getDPoPHandle(config, await client.randomDPoPKeyPair('ES256'))
}

async function tokens(
  config: client.Configuration,
  DPoP?: client.DPoPHandle,
  parameters: Record<string, string> = {},
) {
  const verifier = client.randomPKCECodeVerifier()
  const url = client.buildAuthorizationUrl(config, {
    redirect_uri: world.redirectUri,
    code_challenge: await client.calculatePKCECodeChallenge(verifier),
    code_challenge_method: 'S256',
    ...parameters,
  })
  const back = await world.consent(browser, await browser.open(url.href), {
    objects: ['collection:handbook'],
  })
  const checks = { pkceCodeVerifier: verifier }
  return client.authorizationCodeGrant(config, back.url, checks, {}, { ...(DPoP && { DPoP }) })
}

/** One question to the API under the scheme `DPoP`, with this proof. */
const shown = (token: string, proof: string, scheme = 'DPoP') =>
  world.call('POST', '/retrieve', {
    body: { query: 'travel' },
    headers: { authorization: `${scheme} ${token}`, dpop: proof },
  })

describe('a token that is bound to its holder’s key', () => {
  let config: client.Configuration
  let holder: Holder
  let token: string
  beforeAll(async () => {
    config = await as('cli')
    holder = await makeHolder()
    // A proof of our own making, so that the test holds the key and can make wrong ones too.
    token = await byOwnProof(holder)
  })

  const retrieve = () => `${world.url}/retrieve`
  const codeOf = async (response: Response) =>
    `${response.status} ${((await response.json()) as { code?: string }).code ?? 'answer'}`

  test('is let in with a proof, once for each proof', async () => {
    const proof = await holder.proof({ url: retrieve(), accessToken: token })
    const response = await shown(token, proof)
    expect(response.headers.get('dpop-nonce')).toMatch(/^[\w-]{43}$/)
    expect(await codeOf(response)).toBe('200 answer')
    const again = await shown(token, proof)
    expect(again.headers.get('www-authenticate')).toMatch(
      /^DPoP error="invalid_dpop_proof", scope="docs.search", .*, algs="ES256 Ed25519 EdDSA"$/,
    )
    expect(await codeOf(again)).toBe('401 invalid_dpop_proof')
  })

  test('is no bearer token, whether or not a proof lies beside it', async () => {
    const response = await world.call('POST', '/retrieve', { token, body: { query: 'travel' } })
    // RFC 9449 §7.2, and how it would be one.
    expect(response.headers.get('www-authenticate')).toMatch(
      /^DPoP error="invalid_token", .*, algs="ES256 Ed25519 EdDSA"$/,
    )
    expect(await codeOf(response)).toBe('401 invalid_token')
    const proof = await holder.proof({ url: retrieve(), accessToken: token })
    expect(await codeOf(await shown(token, proof, 'Bearer'))).toBe('401 invalid_token')
  })

  test('is refused with a thief’s proof, and with one for another token, method, address or host', async () => {
    const thief = await makeHolder()
    const url = retrieve()
    const wrong = [
      await thief.proof({ url, accessToken: token }),
      await thief.proof({ url, accessToken: token, header: { jwk: holder.jwk } }),
      await holder.proof({ url, accessToken: `${token}x` }),
      await holder.proof({ url }),
      await holder.proof({ url, accessToken: token, method: 'GET' }),
      await holder.proof({ url: `${world.url}/documents/a`, accessToken: token }),
      await holder.proof({ url: 'https://elsewhere.test/retrieve', accessToken: token }),
      '',
    ]
    for (const proof of wrong) expect(await codeOf(await shown(token, proof))).toBe('401 invalid_dpop_proof')
  })

  test('is held to PUBLIC_URL, not to the Host by which it came', async () => {
    const { port } = new URL(world.url)
    const elsewhere = `http://127.0.0.1:${port}/retrieve`
    const ask = (proof: string) =>
      fetch(elsewhere, {
        method: 'POST',
        body: JSON.stringify({ query: 'travel' }),
        headers: { 'content-type': 'application/json', authorization: `DPoP ${token}`, dpop: proof },
      })
    const url = elsewhere
    expect((await ask(await holder.proof({ url, accessToken: token }))).status).toBe(401)
    expect((await ask(await holder.proof({ url: retrieve(), accessToken: token }))).status).toBe(200)
  })

  test('with a proof whose time is off is told the nonce that helps', async () => {
    const late = { url: retrieve(), accessToken: token, now: Date.now() - 3_600_000 }
    const response = await shown(token, await holder.proof(late))
    expect(response.headers.get('www-authenticate')).toMatch(/^DPoP error="use_dpop_nonce"/)
    expect(await codeOf(response)).toBe('401 use_dpop_nonce')
    const nonce = response.headers.get('dpop-nonce') ?? ''
    expect(await codeOf(await shown(token, await holder.proof({ ...late, nonce })))).toBe('200 answer')
  })

  test('takes the nonce of the authorization server, so that a client needs one for both', async () => {
    const url = `${world.issuer}/token`
    const response = await fetch(url, {
      method: 'POST',
      headers: { dpop: await holder.proof({ url }) },
      body: new URLSearchParams({ grant_type: 'refresh_token', client_id: 'cli', refresh_token: 'x' }),
    })
    expect(await response.json()).toMatchObject({ error: 'use_dpop_nonce' })
    const nonce = response.headers.get('dpop-nonce') ?? ''
    const late = { url: retrieve(), accessToken: token, now: Date.now() - 3_600_000, nonce }
    expect(await codeOf(await shown(token, await holder.proof(late)))).toBe('200 answer')
  })

  test('with an id in the address is proven for the address as it was sent', async () => {
    const url = `${world.url}/documents/handbook%2Ftravel`
    const reading = (proof: string) =>
      world.call('GET', '/documents/handbook%2Ftravel?approval=g_AAAAAAAAAAAAAAAAAAAAAA', {
        headers: { authorization: `DPoP ${token}`, dpop: proof },
      })
    const proof = await holder.proof({ method: 'GET', url, accessToken: token })
    expect((await reading(proof)).status).toBe(200)
    const decoded = { method: 'GET', url: `${world.url}/documents/handbook/travel`, accessToken: token }
    expect((await reading(await holder.proof(decoded))).status).toBe(401)
  })

  test('spends no proof before the token is known to be good', async () => {
    const spent = () => world.database.query('select id from used_proofs')
    const before = await spent()
    const stray = `${token.slice(0, -4)}AAAA`
    const response = await shown(stray, await holder.proof({ url: retrieve(), accessToken: stray }))
    expect(response.headers.get('www-authenticate')).toMatch(/^DPoP error="invalid_token"/)
    expect(await codeOf(response)).toBe('401 invalid_token')
    expect(await spent()).toEqual(before)
  })

  async function byOwnProof(of: Holder): Promise<string> {
    const verifier = client.randomPKCECodeVerifier()
    const url = client.buildAuthorizationUrl(config, {
      redirect_uri: world.redirectUri,
      scope: 'docs.search docs.read',
      code_challenge: await client.calculatePKCECodeChallenge(verifier),
      code_challenge_method: 'S256',
    })
    const back = await world.consent(browser, await browser.open(url.href))
    const redeem = async (nonce?: string) =>
      fetch(`${world.issuer}/token`, {
        method: 'POST',
        headers: { dpop: await of.proof({ url: `${world.issuer}/token`, ...(nonce && { nonce }) }) },
        body: new URLSearchParams({
          grant_type: 'authorization_code',
          client_id: 'cli',
          code: back.url.searchParams.get('code') ?? '',
          redirect_uri: world.redirectUri,
          code_verifier: verifier,
        }),
      })
    const first = await redeem()
    expect(await first.json()).toMatchObject({ error: 'use_dpop_nonce' })
    const second = await redeem(first.headers.get('dpop-nonce') ?? '')
    const body = (await second.json()) as { access_token: string; token_type: string }
    expect(body).toMatchObject({ token_type: 'DPoP' })
    return body.access_token
  }
})

test('a token that is bound to nothing is refused under the scheme DPoP, whatever proof comes with it', async () => {
  const holder = await makeHolder()
  const { access_token } = await tokens(await as('cli'), undefined, { scope: 'docs.search' })
  const url = `${world.url}/retrieve`
  const response = await shown(access_token, await holder.proof({ url, accessToken: access_token }))
  expect(response.status).toBe(401)
  expect(response.headers.get('www-authenticate')).toMatch(/^DPoP error="invalid_token"/)
  expect((await world.call('POST', '/retrieve', { token: access_token, body: { query: 'x' } })).status).toBe(
    200,
  )
})

describe('a refresh token', () => {
  test('of a public client is bound to the key that it was first proven with', async () => {
    const config = await as('cli')
    const DPoP = await handleFor(config)
    const first = await tokens(config, DPoP, { scope: 'docs.search' })
    const thief = await handleFor(config)
    for (const options of [{}, { DPoP: thief }])
      await expect(
        client.refreshTokenGrant(config, first.refresh_token ?? '', {}, options),
      ).rejects.toMatchObject({ error: 'invalid_grant' })
    const second = await client.refreshTokenGrant(config, first.refresh_token ?? '', {}, { DPoP })
    expect(second.token_type).toBe('dpop')
    expect(decodeJwt(second.access_token)['cnf']).toEqual(decodeJwt(first.access_token)['cnf'])
  })
})

describe('an exchange', () => {
  const exchange = async (
    by: 'agent-app' | 'helper-app',
    subjectToken: string,
    resource: string,
    DPoP?: client.DPoPHandle,
  ) => {
    try {
      return await client.genericGrantRequest(
        await as(by),
        exchangeGrant,
        { subject_token: subjectToken, subject_token_type: accessToken, resource },
        { ...(DPoP && { DPoP }) },
      )
    } catch (error) {
      if (error instanceof client.ResponseBodyError) return { error: error.error, access_token: '' }
      throw error
    }
  }

  test('with a proof gives a token that is bound to its key, and is used with it', async () => {
    const config = await as('agent-app')
    const DPoP = await handleFor(config)
    const { access_token } = await tokens(config)
    const exchanged = await exchange('agent-app', access_token, world.url, DPoP)
    expect(exchanged).toMatchObject({ token_type: 'dpop' })
    expect(decodeJwt(exchanged.access_token)).toMatchObject({ cnf: { jkt: expect.any(String) } })
    const response = await client.fetchProtectedResource(
      config,
      exchanged.access_token,
      new URL(`${world.url}/retrieve`),
      'POST',
      JSON.stringify({ query: 'travel' }),
      new Headers({ 'content-type': 'application/json' }),
      { DPoP },
    )
    expect(response.status).toBe(200)
    expect(
      (await world.call('POST', '/retrieve', { token: exchanged.access_token, body: { query: 'x' } })).status,
    ).toBe(401)
  })

  test('of a bound token needs the proof of its key: neither none nor another’s will do', async () => {
    const config = await as('agent-app')
    const DPoP = await handleFor(config)
    const { access_token } = await tokens(config, DPoP)
    const refused = { error: 'invalid_request' }
    expect(await exchange('agent-app', access_token, world.url)).toMatchObject(refused)
    expect(await exchange('agent-app', access_token, world.url, await handleFor(config))).toMatchObject(
      refused,
    )
    const exchanged = await exchange('agent-app', access_token, world.url, DPoP)
    expect(decodeJwt(exchanged.access_token)['cnf']).toEqual(decodeJwt(access_token)['cnf'])
  })

  test('refuses a proof that was made ahead, for another address or used before', async () => {
    const holder = await makeHolder()
    const { access_token } = await tokens(await as('agent-app'))
    const config = await as('agent-app')
    const url = `${world.issuer}/token`
    let nonce = ''
    const ask = async (proof: string): Promise<string> => {
      const headers = new Headers({ dpop: proof })
      config[client.customFetch] = async (address, { body, method, headers: sent }) => {
        for (const [name, value] of Object.entries(sent)) headers.set(name, value)
        const response = await fetch(address, { method, headers, body: body as string })
        nonce = response.headers.get('dpop-nonce') ?? nonce
        return response
      }
      const parameters = {
        subject_token: access_token,
        subject_token_type: accessToken,
        resource: world.url,
      }
      return client.genericGrantRequest(config, exchangeGrant, parameters).then(
        ({ token_type }) => token_type,
        (error: unknown) => (error instanceof client.ResponseBodyError ? error.error : String(error)),
      )
    }
    expect(await ask(await holder.proof({ url }))).toBe('use_dpop_nonce')
    expect(await ask(await holder.proof({ url: world.url, nonce }))).toBe('invalid_dpop_proof')
    const proof = await holder.proof({ url, nonce })
    expect(await ask(proof)).toBe('dpop')
    expect(await ask(proof)).toBe('invalid_dpop_proof')
  })
})
