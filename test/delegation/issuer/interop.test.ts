import { decodeJwt } from 'jose'
import * as oauth from 'oauth4webapi'
import { afterAll, beforeAll, describe, expect, test } from 'vitest'
import type { Browser } from './browser.ts'
import { type IssuerWorld, openIssuerWorld } from './world.ts'

// Every flow once more by a second client library of others, lower level than the first and strict in its own
// way: it reads each answer by the letter of its RFC. flows.test.ts, exchange.test.ts and dpop.test.ts do it
// by openid-client.

type ClientId = keyof IssuerWorld['keys'] | 'cli' | 'public-agent'
const insecure = { [oauth.allowInsecureRequests]: true }
const exchangeGrant = 'urn:ietf:params:oauth:grant-type:token-exchange'
const accessTokenType = 'urn:ietf:params:oauth:token-type:access_token'

let world: IssuerWorld
let server: oauth.AuthorizationServer
// One browser, signed in once: every request still asks for consent of its own.
let browser: Browser
beforeAll(async () => {
  world = await openIssuerWorld()
  browser = world.browser()
  await world.put({
    'handbook/travel': { text: 'Travel costs.', access: { viewers: ['user:anne'] } },
    'finance/budget': { collection: 'finance', text: 'The travel budget.', access: { owner: 'user:anne' } },
  })
  const url = new URL(world.issuer)
  const answer = await oauth.discoveryRequest(url, { ...insecure, algorithm: 'oauth2' })
  server = await oauth.processDiscoveryResponse(url, answer)
})
afterAll(() => world?.[Symbol.asyncDispose]())

interface Party {
  readonly client: oauth.Client
  readonly auth: oauth.ClientAuth
}

function as(id: ClientId): Party {
  const clientKey = id in world.keys ? world.keys[id as keyof IssuerWorld['keys']] : undefined
  const auth =
    clientKey === undefined ? oauth.None() : oauth.PrivateKeyJwt({ key: clientKey.key, kid: clientKey.kid })
  return { client: { client_id: id }, auth }
}

/** Tries again where the server asks for a nonce, as RFC 9449 §8 wants it. */
async function withNonce(
  send: () => Promise<Response>,
  read: (answer: Response) => Promise<oauth.TokenEndpointResponse>,
) {
  try {
    return await read(await send())
  } catch (error) {
    if (!oauth.isDPoPNonceError(error)) throw error
    return read(await send())
  }
}

interface Asking {
  readonly parameters?: Readonly<Record<string, string>>
  readonly objects?: readonly string[]
  readonly isPushed?: boolean
  readonly DPoP?: oauth.DPoPHandle
}

/**
 * Code and PKCE, from the request to the answer at the redirect address, whose `state` and `iss` were
 * checked.
 */
async function authorized({ client, auth }: Party, { parameters = {}, objects, isPushed, DPoP }: Asking) {
  const verifier = oauth.generateRandomCodeVerifier()
  const state = oauth.generateRandomState()
  const asked = new URLSearchParams({
    client_id: client.client_id,
    redirect_uri: world.redirectUri,
    response_type: 'code',
    code_challenge: await oauth.calculatePKCECodeChallenge(verifier),
    code_challenge_method: 'S256',
    state,
    ...parameters,
  })
  const url = new URL(server.authorization_endpoint ?? '')
  if (isPushed === true) {
    const pushed = () =>
      oauth.pushedAuthorizationRequest(server, client, auth, asked, { ...insecure, ...(DPoP && { DPoP }) })
    const { request_uri } = await oauth.processPushedAuthorizationResponse(server, client, await pushed())
    url.search = new URLSearchParams({ client_id: client.client_id, request_uri }).toString()
  } else url.search = asked.toString()
  const back = await world.consent(browser, await browser.open(url.href), { ...(objects && { objects }) })
  return { verifier, state, back: back.url }
}

async function tokens(party: Party, asking: Asking): Promise<oauth.TokenEndpointResponse> {
  const { client, auth } = party
  const { DPoP } = asking
  const { verifier, state, back } = await authorized(party, asking)
  const parameters = oauth.validateAuthResponse(server, client, back, state)
  return withNonce(
    () =>
      oauth.authorizationCodeGrantRequest(server, client, auth, parameters, world.redirectUri, verifier, {
        ...insecure,
        ...(DPoP && { DPoP }),
      }),
    (answer) => oauth.processAuthorizationCodeResponse(server, client, answer),
  )
}

const refresh = ({ client, auth }: Party, token: string | undefined, DPoP?: oauth.DPoPHandle) =>
  withNonce(
    () =>
      oauth.refreshTokenGrantRequest(server, client, auth, token ?? '', {
        ...insecure,
        ...(DPoP && { DPoP }),
      }),
    (answer) => oauth.processRefreshTokenResponse(server, client, answer),
  )

const exchange = ({ client, auth }: Party, parameters: Record<string, string>, DPoP?: oauth.DPoPHandle) =>
  withNonce(
    () =>
      oauth.genericTokenEndpointRequest(
        server,
        client,
        auth,
        exchangeGrant,
        { subject_token_type: accessTokenType, ...parameters },
        { ...insecure, ...(DPoP && { DPoP }) },
      ),
    (answer) => oauth.processGenericTokenEndpointResponse(server, client, answer),
  )

async function dpopFor({ client }: Party): Promise<oauth.DPoPHandle> {
  return oauth.DPoP(client, await oauth.generateKeyPair('ES256'))
}

async function found(token: string, DPoP?: oauth.DPoPHandle): Promise<string[]> {
  const answer = await oauth.protectedResourceRequest(
    token,
    'POST',
    new URL(`${world.url}/retrieve`),
    new Headers({ 'content-type': 'application/json' }),
    JSON.stringify({ query: 'travel', top_k: 5 }),
    { ...insecure, ...(DPoP && { DPoP }) },
  )
  const { results } = (await answer.json()) as { results: { document_id: string }[] }
  return results.map(({ document_id }) => document_id).sort()
}

const refusedWith = (error: string) => expect.objectContaining({ error })
const failure = (work: Promise<unknown>) =>
  work.then(
    () => 'it worked',
    (error: unknown) => error,
  )

describe('by oauth4webapi', () => {
  test('code and PKCE for one API, whose token finds what was lent', async () => {
    const answer = await tokens(as('agent-app'), {
      parameters: { scope: 'docs.search', resource: world.url },
      objects: ['collection:handbook'],
    })
    expect(decodeJwt(answer.access_token)).toMatchObject({ aud: world.url, act: { sub: 'research-bot' } })
    expect(await found(answer.access_token)).toEqual(['handbook/travel'])
  })

  test('an answer from another issuer, or without one, is told apart from ours', async () => {
    const { client } = as('agent-app')
    const { state, back } = await authorized(as('agent-app'), { objects: ['collection:handbook'] })
    for (const iss of ['https://elsewhere.test', undefined]) {
      const mixed = new URL(back)
      if (iss === undefined) mixed.searchParams.delete('iss')
      else mixed.searchParams.set('iss', iss)
      expect(() => oauth.validateAuthResponse(server, client, mixed, state)).toThrow(/iss/)
    }
    expect(oauth.validateAuthResponse(server, client, back, state).get('code')).toBeTruthy()
  })

  test('a pushed request with details, bound to a key from its beginning to the answer', async () => {
    const party = as('agent-app')
    const DPoP = await dpopFor(party)
    const details = [{ type: 'document_access', collections: ['finance'] }]
    // The first proof asks for a nonce; the second is the request.
    await failure(tokens(party, { isPushed: true, DPoP, objects: ['collection:finance'] }))
    const answer = await tokens(party, {
      parameters: { scope: 'docs.search', authorization_details: JSON.stringify(details) },
      objects: ['collection:finance'],
      isPushed: true,
      DPoP,
    })
    expect(answer).toMatchObject({ token_type: 'dpop', authorization_details: details })
    expect(await found(answer.access_token, DPoP)).toEqual(['finance/budget'])
    expect(await failure(found(answer.access_token))).toBeInstanceOf(oauth.WWWAuthenticateChallengeError)
  })

  test('a code that was asked for by one key is not redeemed by another', async () => {
    const party = as('public-agent')
    const [mine, thief] = [await dpopFor(party), await dpopFor(party)]
    const jkt = await mine.calculateThumbprint()
    const redirect_uri = 'http://127.0.0.1/callback'
    const verifier = oauth.generateRandomCodeVerifier()
    const state = oauth.generateRandomState()
    const url = new URL(server.authorization_endpoint ?? '')
    url.search = new URLSearchParams({
      client_id: 'public-agent',
      redirect_uri,
      response_type: 'code',
      code_challenge: await oauth.calculatePKCECodeChallenge(verifier),
      code_challenge_method: 'S256',
      state,
      dpop_jkt: jkt,
    }).toString()
    const back = await world.consent(browser, await browser.open(url.href), {
      objects: ['collection:handbook'],
    })
    const parameters = oauth.validateAuthResponse(server, party.client, back.url, state)
    const redeem = (DPoP: oauth.DPoPHandle) =>
      withNonce(
        () =>
          oauth.authorizationCodeGrantRequest(
            server,
            party.client,
            party.auth,
            parameters,
            redirect_uri,
            verifier,
            {
              ...insecure,
              DPoP,
            },
          ),
        (answer) => oauth.processAuthorizationCodeResponse(server, party.client, answer),
      )
    expect(await failure(redeem(thief))).toEqual(refusedWith('invalid_grant'))
  })

  test('refresh: each token once, the second use ends the grant; bound for a public client', async () => {
    const party = as('agent-app')
    const first = await tokens(party, { objects: ['collection:handbook'] })
    const second = await refresh(party, first.refresh_token)
    expect(await found(second.access_token)).toEqual(['handbook/travel'])
    for (const used of [first, second])
      expect(await failure(refresh(party, used.refresh_token))).toEqual(refusedWith('invalid_grant'))

    const open = as('cli')
    const [mine, thief] = [await dpopFor(open), await dpopFor(open)]
    const bound = await tokens(open, { parameters: { scope: 'docs.search' }, DPoP: mine })
    for (const DPoP of [undefined, thief])
      expect(await failure(refresh(open, bound.refresh_token, DPoP))).toEqual(refusedWith('invalid_grant'))
    const next = await refresh(open, bound.refresh_token, mine)
    expect(await found(next.access_token, mine)).toEqual(['finance/budget', 'handbook/travel'])
  })

  test('the device flow, bound to a key', async () => {
    const party = as('public-agent')
    const { client, auth } = party
    const DPoP = await dpopFor(party)
    const started = await oauth.processDeviceAuthorizationResponse(
      server,
      client,
      await oauth.deviceAuthorizationRequest(server, client, auth, { scope: 'docs.search' }, insecure),
    )
    const poll = () =>
      withNonce(
        () => oauth.deviceCodeGrantRequest(server, client, auth, started.device_code, { ...insecure, DPoP }),
        (answer) => oauth.processDeviceCodeResponse(server, client, answer),
      )
    expect(await failure(poll())).toEqual(refusedWith('authorization_pending'))
    const entry = await browser.open(started.verification_uri)
    const confirm = await browser.submit(entry, '/oauth/device', { user_code: started.user_code })
    await world.consent(browser, await browser.submit(confirm, '/oauth/device'), {
      objects: ['collection:handbook'],
    })
    const { access_token } = await poll()
    expect(await found(access_token, DPoP)).toEqual(['handbook/travel'])
  })

  test('client credentials by private_key_jwt, for the service’s own API only', async () => {
    const { client, auth } = as('loader-app')
    const ask = async (parameters: Record<string, string>) =>
      oauth.processClientCredentialsResponse(
        server,
        client,
        await oauth.clientCredentialsGrantRequest(server, client, auth, parameters, insecure),
      )
    const { access_token } = await ask({ scope: 'docs.write', resource: world.url })
    expect(decodeJwt(access_token)).toMatchObject({ sub: 'loader-app', aud: world.url })
    expect(await failure(ask({ scope: 'docs.write', resource: `${world.url}/mcp` }))).toEqual(
      refusedWith('invalid_target'),
    )
  })

  test('exchange, bound and unbound', async () => {
    const party = as('agent-app')
    const DPoP = await dpopFor(party)
    const { access_token } = await tokens(party, { objects: ['collection:handbook'] })
    const asked = { subject_token: access_token, resource: `${world.url}/mcp`, scope: 'docs.search' }
    const open = await exchange(party, asked)
    expect(open).toMatchObject({ token_type: 'bearer', issued_token_type: accessTokenType })
    expect(decodeJwt(open.access_token)).toMatchObject({ aud: `${world.url}/mcp` })
    const bound = await exchange(party, { ...asked, resource: world.url }, DPoP)
    expect(bound.token_type).toBe('dpop')
    expect(await found(bound.access_token, DPoP)).toEqual(['handbook/travel'])
  })

  test('introspection tells who acts, for whom, within what and by which key; revocation ends it', async () => {
    const party = as('agent-app')
    const { client, auth } = party
    const DPoP = await dpopFor(party)
    const details = [{ type: 'document_access', collections: ['handbook'] }]
    const answer = await tokens(party, {
      parameters: { scope: 'docs.search', authorization_details: JSON.stringify(details) },
      objects: ['collection:handbook'],
      DPoP,
    })
    const introspect = async (token: string) =>
      oauth.processIntrospectionResponse(
        server,
        client,
        await oauth.introspectionRequest(server, client, auth, token, insecure),
      )
    expect(await introspect(answer.access_token)).toMatchObject({
      active: true,
      sub: 'anne',
      token_type: 'DPoP',
      act: { iss: world.issuer, sub: 'research-bot' },
      cnf: { jkt: await DPoP.calculateThumbprint() },
      authorization_details: details,
      txn: decodeJwt(answer.access_token)['txn'],
      delegation: decodeJwt(answer.access_token)['delegation'],
    })
    expect(await introspect(answer.refresh_token ?? '')).toMatchObject({
      active: true,
      client_id: 'agent-app',
    })
    const revoke = async (token: string) =>
      oauth.processRevocationResponse(await oauth.revocationRequest(server, client, auth, token, insecure))
    await revoke(answer.access_token)
    expect(await introspect(answer.access_token)).toEqual({ active: false })
    expect(await failure(found(answer.access_token, DPoP))).toBeInstanceOf(
      oauth.WWWAuthenticateChallengeError,
    )
    await revoke(answer.refresh_token ?? '')
    expect(await introspect(answer.refresh_token ?? '')).toEqual({ active: false })
    expect(await failure(refresh(party, answer.refresh_token, DPoP))).toEqual(refusedWith('invalid_grant'))
  })

  test('a refresh token that is revoked takes the access tokens of its grant along', async () => {
    const party = as('agent-app')
    const answer = await tokens(party, { objects: ['collection:handbook'] })
    const { client, auth } = party
    await oauth.processRevocationResponse(
      await oauth.revocationRequest(server, client, auth, answer.refresh_token ?? '', insecure),
    )
    expect(await failure(found(answer.access_token))).toBeInstanceOf(oauth.WWWAuthenticateChallengeError)
  })
})
