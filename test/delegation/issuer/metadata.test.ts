import { SignJWT } from 'jose'
import { afterAll, beforeAll, describe, expect, test } from 'vitest'
import { scopesOfKind } from '../../../src/delegation/registry/claims.ts'
import { requestAlgorithms } from '../../../src/delegation/registry/clients.ts'
import { makeHolder } from '../../support/dpop.ts'
import { byHand } from './by-hand.ts'
import { type IssuerWorld, openIssuerWorld } from './world.ts'

// Whatever the authorization server announces (RFC 8414) is tried: a member without a trial here fails the
// last test.

type Metadata = Readonly<Record<string, unknown>>

let world: IssuerWorld
let metadata: Metadata
const tried = new Set<string>()
beforeAll(async () => {
  world = await openIssuerWorld()
  metadata = (await (
    await fetch(`${world.url}/.well-known/oauth-authorization-server/oauth`)
  ).json()) as Metadata
})
afterAll(() => world?.[Symbol.asyncDispose]())

function announced(member: string): unknown {
  tried.add(member)
  return metadata[member]
}

const post = (member: string, fields: Readonly<Record<string, string>>) =>
  fetch(String(announced(member)), { method: 'POST', body: new URLSearchParams(fields) })

async function errorOf(response: Response): Promise<string> {
  return ((await response.json()) as { error: string }).error
}

/** Where an authorization request of `agent-app` leads, or the page that it ends at. */
async function authorize(
  fields: Readonly<Record<string, string>>,
): Promise<{ to: URL | null; page: string }> {
  const url = new URL(String(announced('authorization_endpoint')))
  url.search = new URLSearchParams({
    client_id: 'agent-app',
    redirect_uri: world.redirectUri,
    response_type: 'code',
    code_challenge: 'x'.repeat(43),
    code_challenge_method: 'S256',
    ...fields,
  }).toString()
  const response = await fetch(url, { redirect: 'manual' })
  const location = response.headers.get('location')
  return { to: location === null ? null : new URL(location, url), page: await response.text() }
}

const token = (fields: Readonly<Record<string, string>>) => post('token_endpoint', fields)

describe('the authorization server announces only what is so:', () => {
  test('its name, at both addresses, and its keys', async () => {
    expect(announced('issuer')).toBe(world.issuer)
    const other = await fetch(`${world.issuer}/.well-known/openid-configuration`)
    expect(await other.json()).toEqual(metadata)
    const { keys } = (await (await fetch(String(announced('jwks_uri')))).json()) as { keys: object[] }
    expect(keys).toEqual(
      ['ES256', 'RS256'].map((alg) => expect.objectContaining({ alg, use: 'sig', kid: expect.any(String) })),
    )
    // OpenID Connect Discovery §3 wants RS256 there.
    expect(announced('id_token_signing_alg_values_supported')).toEqual(['ES256', 'RS256'])
  })

  test('no UserInfo endpoint, since an ID token says all that there is, and none at which clients register', async () => {
    expect([metadata['userinfo_endpoint'], metadata['registration_endpoint']]).toEqual([undefined, undefined])
    expect(announced('claims_supported')).toEqual(['iss', 'sub', 'auth_time'])
    const access = await world.token({ user: 'anne' })
    for (const method of ['GET', 'POST']) {
      const asked = { method, headers: { authorization: `Bearer ${access}` } }
      expect((await fetch(`${world.issuer}/me`, asked)).status).toBe(404)
    }
  })

  test('endpoints that answer, and tell a stranger nothing', async () => {
    for (const member of [
      'token_endpoint',
      'pushed_authorization_request_endpoint',
      'device_authorization_endpoint',
      'introspection_endpoint',
      'revocation_endpoint',
      'backchannel_authentication_endpoint',
    ]) {
      const response = await post(member, { client_id: 'nobody', token: 'x' })
      expect([member, response.status, await errorOf(response)]).toEqual([member, 401, 'invalid_client'])
    }
  })

  test('grant types that are known, and no other', async () => {
    const known = announced('grant_types_supported') as string[]
    expect(known).toHaveLength(6)
    for (const grantType of known) {
      const response = await token({ grant_type: grantType, client_id: 'nobody' })
      expect([grantType, await errorOf(response)]).toEqual([grantType, 'invalid_client'])
    }
    for (const grantType of ['password', 'implicit', 'urn:ietf:params:oauth:grant-type:jwt-bearer']) {
      const response = await token({ grant_type: grantType, client_id: 'cli' })
      expect([grantType, await errorOf(response)]).toEqual([grantType, 'unsupported_grant_type'])
    }
  })

  test('codes by query alone, with S256 alone, and its name beside them (RFC 9207)', async () => {
    expect(announced('response_types_supported')).toEqual(['code'])
    expect(announced('response_modes_supported')).toEqual(['query'])
    expect(announced('code_challenge_methods_supported')).toEqual(['S256'])
    expect(announced('authorization_response_iss_parameter_supported')).toBe(true)
    const refused = await authorize({ prompt: 'none' })
    expect(refused.to?.searchParams.get('error')).toBe('login_required')
    expect(refused.to?.searchParams.get('iss')).toBe(world.issuer)
    for (const mode of ['form_post', 'fragment']) {
      const { to, page } = await authorize({ response_mode: mode, prompt: 'none' })
      expect([mode, to?.searchParams.get('error') ?? page]).toEqual([
        mode,
        expect.stringMatching(/invalid_request|unauthorized_client|unsupported_response_mode/),
      ])
    }
    const plain = await authorize({ code_challenge_method: 'plain' })
    expect(plain.to?.searchParams.get('error')).toBe('invalid_request')
  })

  test('no request objects where a person is at the program, no claims parameter, one kind of subject', async () => {
    expect(announced('request_uri_parameter_supported')).toBe(false)
    expect(announced('request_parameter_supported')).toBe(false)
    expect(announced('claims_parameter_supported')).toBe(false)
    expect(announced('subject_types_supported')).toEqual(['public'])
    expect(announced('claim_types_supported')).toEqual(['normal'])
    expect(announced('claims_supported')).toEqual(['iss', 'sub', 'auth_time'])
    const { to } = await authorize({ request_uri: 'https://app.test/request', prompt: 'none' })
    expect(to?.searchParams.get('error')).toMatch(/request_uri|invalid_request/)
    const { key, kid } = world.keys['agent-app']
    const request = await new SignJWT({ iss: 'agent-app', aud: world.issuer, prompt: 'none' })
      .setProtectedHeader({ alg: 'ES256', kid })
      .setExpirationTime('1 min')
      .sign(key)
    const signed = await authorize({ request })
    expect(signed.to?.searchParams.get('error') ?? signed.page).toContain('request_not_supported')
    const hand = byHand(world)
    const program = { id: 'agent-app', key, kid, alg: 'ES256' }
    const pushed = await hand.send('/request', {
      request: await hand.request(program, { client_id: 'agent-app' }),
      ...(await hand.as(program)),
    })
    expect(pushed.body.error).toBe('request_not_supported')
  })

  test('clients that are public or prove themselves with a key, at every endpoint', async () => {
    for (const endpoint of ['token', 'introspection', 'revocation']) {
      expect(announced(`${endpoint}_endpoint_auth_methods_supported`)).toEqual(['none', 'private_key_jwt'])
      expect(announced(`${endpoint}_endpoint_auth_signing_alg_values_supported`)).toContain('ES256')
    }
    const secret = await token({
      grant_type: 'client_credentials',
      client_id: 'loader-app',
      client_secret: 'x',
    })
    expect([secret.status, await errorOf(secret)]).toEqual([401, 'invalid_client'])
    const started = await post('device_authorization_endpoint', { client_id: 'public-agent' })
    expect(started.status).toBe(200)
  })

  test('its APIs, their scopes and kinds of details, each described where it says', async () => {
    const resources = announced('protected_resources') as string[]
    expect(resources).toEqual([world.url, `${world.url}/mcp`])
    const scopes = announced('scopes_supported')
    for (const resource of resources) {
      const { pathname } = new URL(resource)
      const path = pathname === '/' ? '' : pathname
      const response = await fetch(`${world.url}/.well-known/oauth-protected-resource${path}`)
      const described = (await response.json()) as Metadata
      expect(described['resource']).toBe(resource)
      expect(scopes).toEqual(expect.arrayContaining(described['scopes_supported'] as string[]))
      expect(described['authorization_details_types_supported']).toEqual(
        announced('authorization_details_types_supported'),
      )
    }
    expect(scopes).toEqual(['openid', 'offline_access', ...new Set(Object.values(scopesOfKind).flat())])
    expect((await fetch(String(announced('service_documentation')))).status).toBe(200)
  })

  test('that it asks people who are not there (CIBA): clients poll, or are told; no user code', async () => {
    expect(announced('backchannel_token_delivery_modes_supported')).toEqual(['poll', 'ping'])
    expect(announced('backchannel_user_code_parameter_supported')).toBe(false)
    const algorithms = announced(
      'backchannel_authentication_request_signing_alg_values_supported',
    ) as string[]
    expect(algorithms).toEqual([...requestAlgorithms])
    const hand = byHand(world)
    await world.lend('anne', 'research-bot', 'collection:handbook')
    for (const algorithm of requestAlgorithms) {
      const program = await hand.register(`signs-${algorithm}`, {
        alg: algorithm,
        requestAlgorithm: algorithm,
      })
      const { status } = await hand.ask(program, { login_hint: 'anne', scope: 'openid docs.search' })
      expect([algorithm, status]).toEqual([algorithm, 200])
    }
    expect(metadata['backchannel_authentication_endpoint']).toBe(`${world.issuer}/backchannel`)
  })

  test('the algorithms of proofs: with each of them a whole proof is asked for its nonce, with another it is none', async () => {
    const url = String(announced('token_endpoint'))
    const answer = async (alg: string) => {
      const dpop = await (await makeHolder(alg)).proof({ url })
      const body = new URLSearchParams({ grant_type: 'refresh_token', client_id: 'cli', refresh_token: 'x' })
      return errorOf(await fetch(url, { method: 'POST', headers: { dpop }, body }))
    }
    for (const alg of announced('dpop_signing_alg_values_supported') as string[])
      expect([alg, await answer(alg)]).toEqual([alg, 'use_dpop_nonce'])
    expect(await answer('RS256')).toBe('invalid_dpop_proof')
  })

  test('nothing else', () => {
    expect(Object.keys(metadata).filter((member) => !tried.has(member))).toEqual([])
  })
})
