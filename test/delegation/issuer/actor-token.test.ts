import { type CryptoKey, decodeJwt, exportJWK, generateKeyPair, type JWK, SignJWT } from 'jose'
import * as client from 'openid-client'
import { afterAll, beforeAll, describe, expect, test } from 'vitest'
import type { NewAgent } from '../../../src/delegation/registry/agents.ts'
import { type IssuerWorld, openIssuerWorld } from './world.ts'

const grantType = 'urn:ietf:params:oauth:grant-type:token-exchange'
const tokenType = 'urn:ietf:params:oauth:token-type:'
type Requester = 'platform' | 'agent-app' | 'helper-app'

let world: IssuerWorld
let botKey: CryptoKey
let botJwk: JWK
const configurations = new Map<Requester, client.Configuration>()

// `platform` is the client of desk-bot, and hosts hosted-bot, which has a key of its own.
beforeAll(async () => {
  world = await openIssuerWorld()
  const { service } = world
  await world.put({ 'handbook/travel': { text: 'Travel costs.', access: { viewers: ['user:anne'] } } })
  const pair = await generateKeyPair('ES256')
  botKey = pair.privateKey
  botJwk = { ...(await exportJWK(pair.publicKey)), alg: 'ES256' }
  const common = { owner: 'user:dan', purpose: 'tests', issuer: service.ownIssuer }
  const jwks = { keys: [{ ...botJwk, kty: 'EC' as const }] }
  await service.agents.save({ ...common, id: 'desk-bot', sub: 'desk-bot' })
  await service.agents.save({
    ...common,
    id: 'hosted-bot',
    sub: 'hosted-bot',
    jwks,
    hostClients: ['platform'],
  })
  await service.agents.save({ ...common, id: 'lone-bot', sub: 'lone-bot', jwks })
  const platform = await generateKeyPair('ES256')
  await service.clients.register(
    { clientId: 'platform', kind: 'agent', agent: 'desk-bot' },
    {
      title: 'Platform',
      redirectUris: [],
      jwks: {
        keys: [{ ...(await exportJWK(platform.publicKey)), kty: 'EC', kid: 'platform-key', alg: 'ES256' }],
      },
    },
  )
  const known = { ...world.keys, platform: { key: platform.privateKey, kid: 'platform-key' } }
  for (const id of ['platform', 'agent-app', 'helper-app'] as const) {
    const { key, kid } = known[id]
    configurations.set(
      id,
      await client.discovery(new URL(world.issuer), id, undefined, client.PrivateKeyJwt({ key, kid }), {
        execute: [client.allowInsecureRequests],
        algorithm: 'oauth2',
      }),
    )
  }
  await world.lend('anne', 'hosted-bot', 'collection:handbook')
  await world.lend('anne', 'desk-bot', 'collection:handbook')
})
afterAll(() => world?.[Symbol.asyncDispose]())

/** Anne's token for the agent itself, as our issuer signs it. */
async function handed(agent: string, claims: Readonly<Record<string, unknown>> = {}): Promise<string> {
  const iat = Math.floor(Date.now() / 1_000)
  const { kid, privateKey } = world.service.keys.current()
  return new SignJWT({
    iss: world.issuer,
    sub: 'anne',
    aud: `${world.url}/agents/${agent}`,
    client_id: 'cli',
    scope: 'docs.search docs.read',
    iat,
    exp: iat + 300,
    jti: crypto.randomUUID(),
    txn: 't_thread',
    demo: true,
    ...claims,
  })
    .setProtectedHeader({ alg: 'ES256', typ: 'at+jwt', kid })
    .sign(privateKey)
}

async function actorToken(
  claims: Readonly<Record<string, unknown>> = {},
  {
    key = botKey,
    ...header
  }: { readonly key?: CryptoKey; readonly typ?: string; readonly kid?: string } = {},
): Promise<string> {
  const iat = Math.floor(Date.now() / 1_000)
  const all: Record<string, unknown> = {
    iss: 'hosted-bot',
    sub: 'hosted-bot',
    aud: world.issuer,
    client_id: 'platform',
    iat,
    exp: iat + 60,
    jti: crypto.randomUUID(),
    ...claims,
  }
  const present = Object.fromEntries(Object.entries(all).filter(([, value]) => value !== undefined))
  return new SignJWT(present)
    .setProtectedHeader({ alg: 'ES256', typ: 'actor-token+jwt', ...header })
    .sign(key)
}

async function exchange(
  by: Requester,
  subjectToken: string,
  actor?: string,
  {
    type = 'jwt',
    resource = world.url,
    DPoP,
  }: { type?: string; resource?: string; DPoP?: client.DPoPHandle } = {},
): Promise<string> {
  const config = configurations.get(by)
  if (config === undefined) throw new Error(`There is no ${by}.`)
  try {
    const answer = await client.genericGrantRequest(
      config,
      grantType,
      {
        subject_token: subjectToken,
        subject_token_type: `${tokenType}access_token`,
        resource,
        ...(actor !== undefined && { actor_token: actor, actor_token_type: `${tokenType}${type}` }),
      },
      { ...(DPoP && { DPoP }) },
    )
    return answer.access_token
  } catch (error) {
    if (error instanceof client.ResponseBodyError) return error.error
    throw error
  }
}

describe('where one client hosts several agents', () => {
  test('an actor token of the agent’s key says which one acts, and the token that comes of it is let in', async () => {
    const token = await exchange('platform', await handed('hosted-bot'), await actorToken())
    expect(decodeJwt(token)).toMatchObject({
      sub: 'anne',
      client_id: 'platform',
      act: { iss: world.issuer, sub: 'hosted-bot' },
    })
    const response = await world.call('POST', '/retrieve', { token, body: { query: 'travel' } })
    expect(response.status).toBe(200)
  })

  test('without one nobody is taken for the actor, not even the client’s own agent', async () => {
    for (const agent of ['hosted-bot', 'desk-bot'])
      expect(await exchange('platform', await handed(agent))).toBe('invalid_request')
  })

  test('it is good once', async () => {
    const actor = await actorToken()
    const answers = await Promise.all(
      Array.from({ length: 10 }, async () => exchange('platform', await handed('hosted-bot'), actor)),
    )
    expect(answers.filter((answer) => answer === 'invalid_request')).toHaveLength(9)
  })

  test.each<readonly [string, Readonly<Record<string, unknown>>]>([
    ['another client', { client_id: 'agent-app' }],
    ['no client', { client_id: undefined }],
    ['another server', { aud: 'https://elsewhere.test' }],
    ['two servers', { aud: ['https://elsewhere.test', 'x'] }],
    ['another agent', { iss: 'desk-bot', sub: 'desk-bot' }],
    ['an agent that another speaks for', { iss: 'lone-bot' }],
    ['nobody that is registered', { iss: 'nobody', sub: 'nobody' }],
    ['nobody', { iss: undefined, sub: undefined }],
    ['no one use', { jti: undefined }],
    ['no time', { iat: undefined }],
    ['no end', { exp: undefined }],
    ['yesterday', { iat: 1, exp: 60 }],
    ['too long', { exp: Math.floor(Date.now() / 1_000) + 400 }],
    [
      'tomorrow',
      { iat: Math.floor(Date.now() / 1_000) + 86_400, exp: Math.floor(Date.now() / 1_000) + 86_460 },
    ],
  ])('one for %s is not accepted', async (_, claims) => {
    expect(await exchange('platform', await handed('hosted-bot'), await actorToken(claims))).toBe(
      'invalid_request',
    )
  })

  test('one of another key, of another type, of no form or of the client’s own assertions is not accepted', async () => {
    const stranger = (await generateKeyPair('ES256')).privateKey
    const forged = [
      await actorToken({}, { key: stranger }),
      await actorToken({}, { typ: 'JWT' }),
      await actorToken({}, { typ: 'at+jwt' }),
      await actorToken({}, { typ: 'client-authentication+jwt' }),
      'a.b.c',
      'x',
      'x'.repeat(20_000),
    ]
    for (const actor of forged)
      expect(await exchange('platform', await handed('hosted-bot'), actor)).toBe('invalid_request')
    const named = await actorToken()
    expect(await exchange('platform', await handed('hosted-bot'), named, { type: 'saml2' })).toBe(
      'invalid_request',
    )
  })

  test('an agent that this client does not host is not spoken for, whoever signs', async () => {
    const lone = await actorToken({ iss: 'lone-bot', sub: 'lone-bot' })
    await world.lend('anne', 'lone-bot', 'collection:handbook')
    expect(await exchange('platform', await handed('lone-bot'), lone)).toBe('actor_unauthorized')
  })

  test('a token that was sent to one agent is not passed on by another of the same client', async () => {
    expect(await exchange('platform', await handed('desk-bot'), await actorToken())).toBe('invalid_request')
  })

  test('may_act binds the actor and the client that asks, both', async () => {
    const act = { sub: 'hosted-bot', iss: world.issuer }
    const ask = async (mayAct: object) =>
      exchange('platform', await handed('hosted-bot', { may_act: mayAct }), await actorToken())
    expect(decodeJwt(await ask({ ...act, client_id: 'platform' }))).toMatchObject({ act })
    expect(await ask({ ...act, client_id: 'agent-app' })).toBe('invalid_request')
    expect(await ask({ sub: 'desk-bot', client_id: 'platform' })).toBe('invalid_request')
  })

  test('no act is dropped, with an actor token or without', async () => {
    const delegation = await world.service.delegations.lend({
      subject: 'user:anne',
      agent: 'research-bot',
      subAgents: ['hosted-bot'],
      scope: ['collection:handbook'],
      purpose: 'tests',
      expiresAt: new Date(Date.now() + 600_000),
    })
    const before = { iss: world.issuer, sub: 'research-bot', sub_profile: 'ai_agent' }
    const subject = await handed('hosted-bot', {
      client_id: 'agent-app',
      act: before,
      delegation: delegation.id,
    })
    const first = await exchange('platform', subject, await actorToken())
    expect(decodeJwt(first)['act']).toEqual({
      iss: world.issuer,
      sub: 'hosted-bot',
      sub_profile: 'ai_agent',
      act: before,
    })
    expect(await exchange('platform', first)).toBe('invalid_request')
    const again = await exchange('platform', first, await actorToken())
    expect(decodeJwt(again)['act']).toMatchObject({
      sub: 'hosted-bot',
      act: { sub: 'hosted-bot', act: before },
    })
  })

  test('an access token of the agent’s own says it too, through the client that it was issued to only', async () => {
    const own = await exchange('platform', await handed('hosted-bot'), await actorToken())
    const type = 'access_token'
    const token = await exchange('platform', await handed('hosted-bot'), own, { type })
    expect(decodeJwt(token)).toMatchObject({ act: { sub: 'hosted-bot' } })
    expect(await exchange('agent-app', await handed('research-bot'), own, { type })).toBe('invalid_request')
    const person = await world.token({ user: 'anne' })
    expect(await exchange('platform', await handed('hosted-bot'), person, { type })).toBe('invalid_request')
  })

  test('one whose own key is bound needs that key', async () => {
    const config = configurations.get('platform')
    if (config === undefined) throw new Error('There is no platform.')
    const DPoP = client.getDPoPHandle(config, await client.randomDPoPKeyPair('ES256'))
    const bound = await exchange('platform', await handed('hosted-bot'), await actorToken(), { DPoP })
    const type = 'access_token'
    expect(await exchange('platform', await handed('hosted-bot'), bound, { type })).toBe('invalid_request')
    const token = await exchange('platform', await handed('hosted-bot'), bound, { type, DPoP })
    expect(decodeJwt(token)).toMatchObject({ act: { sub: 'hosted-bot' } })
  })

  test('the agent that is no longer hosted, or disabled, is let in no more, its tokens included', async () => {
    const token = await exchange('platform', await handed('hosted-bot'), await actorToken())
    const status = async () =>
      (await world.call('POST', '/retrieve', { token, body: { query: 'travel' } })).status
    const { jwks: _, ...agent } = (await world.service.agents.get('hosted-bot')) ?? {}
    const hostedBy = (...hostClients: readonly string[]) =>
      world.service.agents.save({ ...agent, hostClients } as NewAgent)
    await hostedBy()
    expect(await status()).toBe(403)
    expect(await exchange('platform', await handed('hosted-bot'), await actorToken())).toBe(
      'actor_unauthorized',
    )
    await hostedBy('platform')
    expect(await status()).toBe(200)
    await world.service.agents.disable('hosted-bot')
    expect(await status()).toBe(403)
    expect(await exchange('platform', await handed('hosted-bot'), await actorToken())).toBe('invalid_request')
  })
})

test('an actor token is no client assertion, also where client and agent share an id and a key', async () => {
  const keys = { keys: [{ ...botJwk, kty: 'EC' as const, kid: 'same-key' }] }
  await world.service.agents.save({
    owner: 'user:dan',
    purpose: 'tests',
    issuer: world.service.ownIssuer,
    id: 'same-bot',
    sub: 'same-bot',
    jwks: keys,
    hostClients: ['platform'],
  })
  await world.service.clients.register(
    { clientId: 'same-bot', kind: 'agent', agent: 'same-bot' },
    { title: 'Same', redirectUris: [], jwks: keys },
  )
  const authenticates = async (typ: string) => {
    const header = { kid: 'same-key', typ }
    const claims = { iss: 'same-bot', sub: 'same-bot' }
    const response = await fetch(`${world.issuer}/device/auth`, {
      method: 'POST',
      body: new URLSearchParams({
        client_id: 'same-bot',
        client_assertion_type: 'urn:ietf:params:oauth:client-assertion-type:jwt-bearer',
        client_assertion: await actorToken(claims, header),
      }),
    })
    return response.status === 200 ? 'yes' : ((await response.json()) as { error: string }).error
  }
  for (const typ of ['actor-token+jwt', 'application/actor-token+jwt', 'at+jwt', 'dpop+jwt', ''])
    expect(await authenticates(typ), typ).toBe('invalid_client')
  for (const typ of ['JWT', 'client-authentication+jwt', 'application/client-authentication+jwt'])
    expect(await authenticates(typ), typ).toBe('yes')
})
