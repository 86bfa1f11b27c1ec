import { decodeJwt, SignJWT } from 'jose'
import * as client from 'openid-client'
import { afterAll, beforeAll, describe, expect, test } from 'vitest'
import { openKeyRing } from '../../../src/delegation/tokens/signing-key.ts'
import fc from '../../support/properties.ts'
import { type IssuerWorld, openIssuerWorld } from './world.ts'

const grantType = 'urn:ietf:params:oauth:grant-type:token-exchange'
const accessToken = 'urn:ietf:params:oauth:token-type:access_token'
type Exchanger = 'agent-app' | 'helper-app'
type Answer = Readonly<Record<string, unknown>> & { readonly error?: string; readonly access_token?: string }

let world: IssuerWorld
let key: Awaited<ReturnType<Awaited<ReturnType<typeof openKeyRing>>['rotate']>>
let delegation: string
const configurations = new Map<Exchanger, client.Configuration>()

beforeAll(async () => {
  world = await openIssuerWorld()
  await world.put({
    'handbook/travel': { text: 'Travel costs are refunded.', access: { viewers: ['user:anne', 'user:bob'] } },
    'finance/budget': {
      collection: 'finance',
      text: 'The budget of travel.',
      access: { owner: 'user:anne' },
    },
  })
  key = (await openKeyRing(`${world.config.home}/keys`, { now: Date.now })).current()
  const lentDelegation = await world.service.delegations.lend({
    subject: 'user:anne',
    agent: 'research-bot',
    subAgents: ['other-bot'],
    scope: ['collection:handbook', 'collection:finance'],
    purpose: 'tests',
    expiresAt: new Date(Date.now() + 3_600_000),
  })
  delegation = lentDelegation.id
  for (const id of ['agent-app', 'helper-app'] as const) {
    const clientKey = world.keys[id]
    const auth = client.PrivateKeyJwt({ key: clientKey.key, kid: clientKey.kid })
    const options = { execute: [client.allowInsecureRequests], algorithm: 'oauth2' as const }
    configurations.set(id, await client.discovery(new URL(world.issuer), id, undefined, auth, options))
  }
})
afterAll(() => world?.[Symbol.asyncDispose]())

const addressed = (agent: string) => `${world.url}/agents/${agent}`
const act = (...agents: readonly string[]): object | undefined => {
  const [sub, ...inner] = agents
  const nested = inner.length > 0 ? { act: act(...inner) } : {}
  return sub === undefined ? undefined : { iss: world.issuer, sub, sub_profile: 'ai_agent', ...nested }
}

/** A token that our own issuer could have signed; `undefined` removes a claim. */
async function token(claims: Readonly<Record<string, unknown>> = {}): Promise<string> {
  const iat = Math.floor(Date.now() / 1_000)
  const all: Record<string, unknown> = {
    iss: world.issuer,
    sub: 'anne',
    aud: addressed('research-bot'),
    client_id: 'cli',
    scope: 'docs.search docs.read',
    iat,
    exp: iat + 300,
    jti: crypto.randomUUID(),
    grant_id: 'g_family',
    txn: 't_thread',
    demo: true,
    ...claims,
  }
  const present = Object.fromEntries(Object.entries(all).filter(([, value]) => value !== undefined))
  return new SignJWT(present)
    .setProtectedHeader({ alg: 'ES256', typ: 'at+jwt', kid: key.kid })
    .sign(key.privateKey)
}

async function exchange(
  exchanger: Exchanger,
  subjectToken: string,
  parameters: Readonly<Record<string, string>> | URLSearchParams = {},
): Promise<Answer> {
  const config = configurations.get(exchanger)
  if (config === undefined) throw new Error(`There is no ${exchanger}.`)
  const all = new URLSearchParams({ subject_token: subjectToken, subject_token_type: accessToken })
  const more = new URLSearchParams(parameters)
  if (!more.has('resource')) more.set('resource', world.url)
  for (const [name, value] of more) all.append(name, value)
  try {
    return await client.genericGrantRequest(config, grantType, all)
  } catch (error) {
    if (!(error instanceof client.ResponseBodyError)) throw error
    said = error.error_description
    return { error: error.error }
  }
}
/** Of the last refusal, in words. */
let said: string | undefined

const claimsOf = ({ access_token }: Answer) => decodeJwt(access_token ?? '')

describe('an exchange', () => {
  test('gives the agent a token of its own for one API, with the same thread and family', async () => {
    const answer = await exchange('agent-app', await token())
    expect(answer).toMatchObject({
      issued_token_type: accessToken,
      token_type: 'bearer',
      scope: 'docs.search docs.read',
    })
    expect(answer).not.toHaveProperty('refresh_token')
    expect(claimsOf(answer)).toMatchObject({
      sub: 'anne',
      aud: world.url,
      client_id: 'agent-app',
      act: act('research-bot'),
      delegation,
      txn: 't_thread',
      grant_id: 'g_family',
    })
    const found = await world.retrieve(answer.access_token ?? '', { query: 'travel', top_k: 5 })
    expect(found.results.map(({ document_id }) => document_id).sort()).toEqual([
      'finance/budget',
      'handbook/travel',
    ])
    const records = await world.database.query(
      `select subject, actors, client from decision_records where event = 'token_exchanged'`,
    )
    expect(records).toContainEqual({
      subject: 'user:anne',
      actors: ['agent:research-bot'],
      client: 'agent-app',
    })
  })

  test('to a sub-agent nests the actor that passed it on, and only where the delegation names it', async () => {
    const first = await exchange('agent-app', await token(), { resource: addressed('other-bot') })
    const second = await exchange('helper-app', first.access_token ?? '', { scope: 'docs.search' })
    expect(claimsOf(second)).toMatchObject({
      act: act('other-bot', 'research-bot'),
      delegation,
      scope: 'docs.search',
    })
    const narrow = await world.lend('anne', 'research-bot', 'collection:handbook')
    const unnamed = await token({
      aud: addressed('other-bot'),
      client_id: 'agent-app',
      act: act('research-bot'),
      delegation: narrow,
    })
    expect(await exchange('helper-app', unnamed)).toEqual({ error: 'actor_unauthorized' })
  })

  test('never outlives the token that came', async () => {
    const exp = Math.floor(Date.now() / 1_000) + 40
    expect(claimsOf(await exchange('agent-app', await token({ exp }))).exp).toBeLessThanOrEqual(exp)
  })

  test('of a token whose family was ended is refused, and what came of it ends too', async () => {
    const issued = await exchange('agent-app', await token({ grant_id: 'g_ended' }))
    const path = { token: issued.access_token ?? '', body: { query: 'travel' } }
    expect((await world.call('POST', '/retrieve', path)).status).toBe(200)
    await world.database.query(
      `insert into revocations (kind, key, reason, created_at) values ('grant', $1, 'tests', now())`,
      [`${world.issuer} g_ended`],
    )
    expect((await world.call('POST', '/retrieve', path)).status).toBe(401)
    expect(await exchange('agent-app', issued.access_token ?? '')).toEqual({ error: 'invalid_request' })
  })
})

describe('an exchange is refused', () => {
  test('for every client that the token is neither addressed to nor issued to', async () => {
    const clients = ['agent-app', 'helper-app'] as const
    const agents = { 'agent-app': 'research-bot', 'helper-app': 'other-bot' } as const
    for (const exchanger of clients) {
      for (const audience of [world.url, `${world.url}/mcp`, ...clients.map((id) => addressed(agents[id]))]) {
        for (const issuedTo of ['cli', ...clients] as const) {
          const isAgent = issuedTo !== 'cli'
          const subject = await token({
            aud: audience,
            client_id: issuedTo,
            ...(isAgent && { act: act(agents[issuedTo]), delegation }),
          })
          const mayPass = issuedTo === exchanger || audience === addressed(agents[exchanger])
          const answer = await exchange(exchanger, subject)
          const label = `${exchanger} shows a token of ${issuedTo} for ${audience}`
          if (!mayPass) expect(answer, label).toEqual({ error: 'invalid_request' })
          // Anne lent to research-bot; other-bot gets there through it alone.
          else if (issuedTo === 'cli' && exchanger === 'helper-app')
            expect(answer, label).toEqual({ error: 'actor_unauthorized' })
          else expect(answer, label).toHaveProperty('access_token')
        }
      }
    }
  })

  test('when the chain of actors is full, however often it is washed', async () => {
    let answer = await exchange('agent-app', await token())
    for (let depth = 2; depth <= 4; depth += 1) {
      answer = await exchange('agent-app', answer.access_token ?? '')
      expect(claimsOf(answer)['act']).toEqual(act(...Array.from({ length: depth }, () => 'research-bot')))
    }
    expect(await exchange('agent-app', answer.access_token ?? '')).toEqual({ error: 'invalid_request' })
  })

  test('for an agent’s token that lost its actor', async () => {
    const lost = await token({ client_id: 'agent-app', delegation })
    expect(await exchange('agent-app', lost)).toEqual({ error: 'invalid_request' })
  })

  test.each([
    ['somebody else', { sub: 'other-bot' }],
    ['this agent at another issuer', { sub: 'research-bot', iss: 'https://elsewhere.test' }],
    ['this agent through another client', { sub: 'research-bot', client_id: 'public-agent' }],
    ['nobody', {}],
    ['no object', 'research-bot'],
  ])('where may_act names %s', async (_, mayAct) => {
    expect(await exchange('agent-app', await token({ may_act: mayAct }))).toEqual({
      error: 'invalid_request',
    })
  })

  test('where may_act names this agent it is given', async () => {
    const subject = await token({ may_act: { sub: 'research-bot', iss: world.issuer } })
    expect(await exchange('agent-app', subject)).toHaveProperty('access_token')
  })

  test.each([
    ['an unknown API', 'invalid_target', { resource: 'https://elsewhere.test' }],
    ['more scope', 'invalid_scope', { scope: 'docs.search approvals.request' }],
    ['a scope of others', 'invalid_scope', { scope: 'docs.write' }],
    ['an actor of its own choice', 'invalid_request', { actor_token: 'x', actor_token_type: accessToken }],
    ['another kind of token', 'invalid_request', { requested_token_type: `${accessToken}x` }],
  ])('with %s', async (_, error, parameters) => {
    expect(await exchange('agent-app', await token(), parameters)).toEqual({ error })
  })

  test('with more scope, in words that name what is too much', async () => {
    await exchange('agent-app', await token(), { scope: 'docs.search approvals.request vault.use' })
    expect(said).toMatch(/hold: approvals\.request vault\.use$/)
  })

  test('with two APIs', async () => {
    const two = new URLSearchParams([
      ['resource', world.url],
      ['resource', `${world.url}/mcp`],
    ])
    expect(await exchange('agent-app', await token(), two)).toEqual({ error: 'invalid_target' })
  })

  test('for whoever nothing was lent by, or no longer', async () => {
    expect(await exchange('agent-app', await token({ sub: 'bob' }))).toEqual({ error: 'actor_unauthorized' })
    const id = await world.lend('bob', 'research-bot', 'collection:handbook')
    const issued = await exchange('agent-app', await token({ sub: 'bob' }))
    expect(issued).toHaveProperty('access_token')
    await world.service.delegations.revoke(id)
    expect(await exchange('agent-app', await token({ sub: 'bob' }))).toEqual({ error: 'actor_unauthorized' })
    expect(await exchange('agent-app', issued.access_token ?? '')).toEqual({ error: 'invalid_request' })
  })

  test('for a public client, which proves nothing, and for a service', async () => {
    for (const [id, kept] of [
      ['public-agent', undefined],
      ['loader-app', world.keys['loader-app']],
    ] as const) {
      const auth = kept === undefined ? client.None() : client.PrivateKeyJwt({ key: kept.key, kid: kept.kid })
      const options = { execute: [client.allowInsecureRequests], algorithm: 'oauth2' as const }
      const config = await client.discovery(new URL(world.issuer), id, undefined, auth, options)
      await expect(
        client.genericGrantRequest(config, grantType, {
          subject_token: await token(),
          subject_token_type: accessToken,
          resource: world.url,
        }),
      ).rejects.toMatchObject({ error: 'invalid_request' })
    }
  })
})

test('scope and collections only ever narrow', { timeout: 60_000 }, async () => {
  const scopes = ['docs.search', 'docs.read', 'approvals.request', 'vault.use', 'docs.write', 'security.read']
  const collections = ['handbook', 'finance', 'board']
  const some = (list: readonly string[]) => fc.subarray([...list], { minLength: 1 })
  await fc.assert(
    fc.asyncProperty(
      some(scopes.slice(0, 4)),
      fc.option(some(scopes), { nil: undefined }),
      fc.option(some(collections), { nil: undefined }),
      fc.option(some(collections), { nil: undefined }),
      async (heldScopes, wantedScopes, heldCollections, wantedCollections) => {
        const details = (ids: readonly string[]) => [{ type: 'document_access', collections: ids }]
        const subject = await token({
          scope: heldScopes.join(' '),
          ...(heldCollections && { authorization_details: details(heldCollections) }),
        })
        const answer = await exchange('agent-app', subject, {
          ...(wantedScopes && { scope: wantedScopes.join(' ') }),
          ...(wantedCollections && { authorization_details: JSON.stringify(details(wantedCollections)) }),
        })
        const within = (wanted: readonly string[], held: readonly string[]) =>
          wanted.every((one) => held.includes(one))
        const isNarrower =
          within(wantedScopes ?? [], heldScopes) &&
          (heldCollections === undefined || within(wantedCollections ?? [], heldCollections))
        expect('access_token' in answer).toBe(isNarrower)
        if (!isNarrower) return
        const claims = claimsOf(answer)
        expect(within(String(claims['scope']).split(' '), heldScopes)).toBe(true)
        const granted = claims['authorization_details'] as ReturnType<typeof details> | undefined
        if (heldCollections !== undefined)
          expect(within(granted?.[0]?.collections ?? ['everything'], heldCollections)).toBe(true)
        if (wantedCollections !== undefined) expect(granted).toEqual(details(wantedCollections))
      },
    ),
    { numRuns: 60 },
  )
})
