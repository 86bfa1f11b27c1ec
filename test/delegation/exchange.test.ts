import { randomBytes } from 'node:crypto'
import { join } from 'node:path'
import { type CryptoKey, decodeJwt, decodeProtectedHeader, exportJWK, generateKeyPair, SignJWT } from 'jose'
import { afterAll, beforeAll, describe, expect, test } from 'vitest'
import { createFga, createFgaApi } from '../../src/authz/openfga.ts'
import { createDelegations } from '../../src/delegation/lending/delegations.ts'
import { createActorTokens } from '../../src/delegation/oauth/actor-token.ts'
import {
  accessTokenType,
  createExchange,
  type ExchangeDeps,
  type ExchangeRequest,
} from '../../src/delegation/oauth/exchange.ts'
import type { NewAgent } from '../../src/delegation/registry/agents.ts'
import { type Client, createClients } from '../../src/delegation/registry/clients.ts'
import { createResources, type NewResource } from '../../src/delegation/registry/resources.ts'
import { createReplayGuard } from '../../src/delegation/tokens/replay-guard.ts'
import { openKeyRing } from '../../src/delegation/tokens/signing-key.ts'
import { startTestIssuer, type TestIssuer } from '../support/issuer.ts'
import { helperBot, openVerifying, ownIssuerUrl, publicUrl, putDelegation, researchBot } from './world.ts'

// The rules of an exchange one by one, without HTTP and OpenFGA, by the words of the refusal. With the whole
// service: issuer/exchange.test.ts, issuer/actor-token.test.ts, issuer/foreign.test.ts,
// issuer/other-apis.test.ts.

const broker = 'https://broker.example'
const bank = 'https://bank.example'
const order = { type: 'trade_order', amount: 1 }
const addressOf = (agent: string) => `${publicUrl}/agents/${agent}`
const jwtType = 'urn:ietf:params:oauth:token-type:jwt'
const bot: Client = { clientId: 'bot-client', kind: 'agent', agent: 'research-bot' }
const helper: Client = { clientId: 'helper-client', kind: 'agent', agent: 'helper-bot' }
const platform: Client = { clientId: 'platform', kind: 'agent', agent: 'desk-bot' }

let issuer: TestIssuer
let world: Awaited<ReturnType<typeof openVerifying>>
let deps: ExchangeDeps
let botKey: CryptoKey

beforeAll(async () => {
  issuer = await startTestIssuer({ preset: 'keycloak', namespace: 'test' })
  world = await openVerifying(issuer)
  const { database: sql, clock, agents, verifier } = world
  // Nothing here asks OpenFGA: nobody would answer.
  const fga = createFga(createFgaApi({ apiUrl: 'http://127.0.0.1:9', timeoutMs: 1 }), 'none', () => 'none')
  deps = {
    sql,
    clock,
    publicUrl,
    issuer: ownIssuerUrl,
    demo: false,
    readActorToken: createActorTokens({
      agents,
      verifier,
      spent: createReplayGuard({ sql }),
      clock,
      issuer: ownIssuerUrl,
    }),
    verifier,
    resources: createResources({ sql, agents, publicUrl }),
    agents,
    delegations: createDelegations({ database: sql, fga, clock, randomBytes }),
    keys: await openKeyRing(join(sql.folder, 'keys'), clock),
  }
  const pair = await generateKeyPair('ES256')
  botKey = pair.privateKey
  const jwks = { keys: [{ ...(await exportJWK(pair.publicKey)), kty: 'EC' as const, alg: 'ES256' }] }
  await save('desk-bot', { jwks })
  await save('hosted-bot', { jwks, hostClients: ['platform'] })
  await save('lone-bot', { jwks })
  const clients = createClients({ sql })
  for (const client of [helper, platform]) await clients.register(client)
  await lend('d_hosted', 'hosted-bot')
  await lend('d_desk', 'desk-bot')
  await lend('d_off', 'off-bot')
})
afterAll(async () => {
  await world[Symbol.asyncDispose]()
  await issuer[Symbol.asyncDispose]()
})

const save = (id: string, rest: Partial<NewAgent> = {}) =>
  world.agents.save({ id, owner: 'user:anne', purpose: 'tests', issuer: ownIssuerUrl, sub: id, ...rest })
const limit = (id: string, ...scopes: readonly string[]) =>
  save(id, { limits: { scopes, collections: undefined } })
const unlimit = () => world.database.query('update agents set scopes = null, collections = null', [])
const resource = (entry: Partial<NewResource> & Pick<NewResource, 'resource'>) =>
  deps.resources.save({ scopes: ['transfer', 'look'], ...entry })

async function lend(
  id: string,
  agent: string,
  { subject = 'user:anne', seconds = 86_400, subAgents = [] as readonly string[] } = {},
): Promise<string> {
  const expiresAt = new Date(world.clock.now() + seconds * 1_000)
  await putDelegation(world.database, { id, subject, agent, subAgents, expiresAt })
  return id
}

/** Anne's token for `research-bot` itself, through a person's client. */
const handed = (claims: Readonly<Record<string, unknown>> = {}) =>
  world.ownToken({ aud: addressOf('research-bot'), ...claims })
/** A token that `research-bot` was issued itself. */
const held = (claims: Readonly<Record<string, unknown>> = {}) =>
  world.ownToken({ client_id: 'bot-client', act: researchBot, delegation: 'd_own', ...claims })

/** What Keycloak says to `research-bot` of Anne. */
function theirs(claims: Readonly<Record<string, unknown>>): Promise<string> {
  const iat = Math.floor(world.clock.now() / 1_000)
  const token = { iss: issuer.issuer, aud: addressOf('research-bot'), iat, exp: iat + 300, jti: 'j' }
  const person = { sub: 'anne', typ: 'Bearer', sid: 's', azp: 'person-app', scope: 'docs.read' }
  return issuer.sign({ ...token, ...person, ...claims }, { typ: 'JWT' })
}

type Asked = Partial<Omit<ExchangeRequest, 'subjectToken'>>
const outcomeOf = async (token: Promise<string>, asked: Asked = {}, changed: Partial<ExchangeDeps> = {}) =>
  createExchange({ ...deps, ...changed })({
    client: bot,
    provenKey: undefined,
    subjectToken: await token,
    subjectTokenType: accessTokenType,
    targets: [publicUrl],
    ...asked,
  })
async function given(token: Promise<string>, asked?: Asked, changed?: Partial<ExchangeDeps>) {
  const outcome = await outcomeOf(token, asked, changed)
  if (!outcome.ok) throw new Error(`${outcome.reason}: ${outcome.detail ?? ''}`)
  return { ...outcome.value, claims: decodeJwt(outcome.value.accessToken) }
}
async function refused(token: Promise<string>, asked?: Asked, changed?: Partial<ExchangeDeps>) {
  const outcome = await outcomeOf(token, asked, changed)
  return outcome.ok
    ? 'given'
    : [outcome.reason, outcome.detail].filter((part) => part !== undefined).join(': ')
}
/** The clock is moved to where a second begins, and says which. */
function second(): number {
  world.clock.move(1_000 - (world.clock.now() % 1_000))
  return world.clock.now() / 1_000
}

describe('the token that is given', () => {
  test('says who acts for whom under what, since when, and nothing else', async () => {
    world.clock.move(1_500 - (world.clock.now() % 1_000))
    const iat = Math.floor(world.clock.now() / 1_000)
    const { accessToken, expiresIn, scope, details, claims } = await given(handed({ txn: 't_1' }))
    expect({ expiresIn, scope, details }).toEqual({
      expiresIn: 300,
      scope: 'docs.search docs.read',
      details: [],
    })
    expect(decodeProtectedHeader(accessToken)).toEqual({ alg: 'ES256', typ: 'at+jwt', kid: world.key.kid })
    expect(claims).toEqual({
      iss: ownIssuerUrl,
      sub: 'anne',
      aud: publicUrl,
      client_id: 'bot-client',
      scope: 'docs.search docs.read',
      sub_profile: 'user',
      act: researchBot,
      delegation: 'd_own',
      txn: 't_1',
      iat,
      exp: iat + 300,
      jti: expect.stringMatching(/^j_[\w-]{22}$/),
    })
    expect(await world.verifier.verify(accessToken, 'api')).toMatchObject({ ok: true })
  })

  test('goes on saying what the first one said, and of which key it is', async () => {
    const jkt = 'k'.repeat(43)
    const said = { auth_time: 1_000, amr: ['pwd', 'hwk'], grant_id: 'gf_1', cnf: { jkt } }
    const narrowed = [{ type: 'document_access', collections: ['handbook'] }]
    const { claims, details } = await given(held({ ...said, authorization_details: narrowed }), {
      provenKey: jkt,
    })
    expect(claims).toMatchObject({ ...said, authorization_details: narrowed })
    expect(claims['act']).toEqual({ ...researchBot, act: researchBot })
    expect(details).toEqual(narrowed)
  })

  test('is bound to the key that was proven, where the first one was to none', async () => {
    expect((await given(handed(), { provenKey: 'k'.repeat(43) })).claims).toMatchObject({
      cnf: { jkt: 'k'.repeat(43) },
    })
  })

  test('says in the demo that it is of it', async () => {
    const inDemo = { demo: true, verifier: world.demoVerifier }
    expect((await given(handed({ demo: true }), {}, inDemo)).claims).toMatchObject({ demo: true })
  })

  test('ends after 300 s at the latest, and with what it rests on', async () => {
    const now = second()
    expect((await given(handed({ exp: now + 40 }))).expiresIn).toBe(40)
    await lend('d_short', 'research-bot', { subject: 'user:carl', seconds: 20.7 })
    expect((await given(handed({ sub: 'carl' }))).expiresIn).toBe(20)
    expect((await given(theirs({ exp: now + 3_600 }))).expiresIn).toBe(300)
    await lend('d_over', 'research-bot', { subject: 'user:cleo', seconds: 0.5 })
    expect(await refused(handed({ sub: 'cleo' }))).toBe('invalid_request: no time is left')
  })

  test('is on record with what it was made from', async () => {
    const before = await held({ jti: 'j_before', txn: 't_record' })
    const { claims } = await given(Promise.resolve(before), { scope: 'docs.read' })
    const records = await world.database.query(
      `select subject, actors, client, delegation, detail from decision_records
       where event = 'token_exchanged' and txn = 't_record'`,
      [],
    )
    expect(records).toEqual([
      {
        subject: 'user:anne',
        actors: ['agent:research-bot', 'agent:research-bot'],
        client: 'bot-client',
        delegation: 'd_own',
        detail: {
          resource: publicUrl,
          scope: 'docs.read',
          jti: claims.jti,
          from_issuer: ownIssuerUrl,
          from_jti: 'j_before',
        },
      },
    ])
  })
})

describe('the request', () => {
  test.each<[string, Asked, string]>([
    ['another type of what is shown', { subjectTokenType: 'x' }, 'subject_token_type is not an access token'],
    ['an actor without its type', { actorToken: 'x' }, 'actor_token and actor_token_type belong together'],
    ['the type alone', { actorTokenType: jwtType }, 'actor_token and actor_token_type belong together'],
    ['another type of what is wanted', { requestedTokenType: jwtType }, 'only access tokens are given'],
  ])('is refused with %s', async (_, asked, why) => {
    expect(await refused(handed(), asked)).toBe(`invalid_request: ${why}`)
  })

  test('may call what is shown a JWT, and name what is given', async () => {
    const asked = { subjectTokenType: jwtType, requestedTokenType: accessTokenType }
    expect(await refused(handed(), asked)).toBe('given')
  })

  test('is an agent’s alone', async () => {
    const person: Client = { clientId: 'pages', kind: 'person' }
    const service: Client = { clientId: 'loader-client', kind: 'service', service: 'loader' }
    for (const client of [person, service])
      expect(await refused(handed(), { client })).toBe('unauthorized_client: only agents exchange tokens')
  })
})

describe('who speaks through a client that hosts others', () => {
  const actorTokenOf = async (agent: string): Promise<Asked> => {
    const iat = Math.floor(world.clock.now() / 1_000)
    const jti = crypto.randomUUID()
    const claims = {
      iss: agent,
      sub: agent,
      aud: ownIssuerUrl,
      client_id: 'platform',
      iat,
      exp: iat + 60,
      jti,
    }
    const token = new SignJWT(claims).setProtectedHeader({ alg: 'ES256', typ: 'actor-token+jwt' })
    return { client: platform, actorToken: await token.sign(botKey), actorTokenType: jwtType }
  }
  const handedTo = (agent: string) => handed({ aud: addressOf(agent) })

  test('is said by its actor token: a hosted one, or the client’s own', async () => {
    for (const agent of ['hosted-bot', 'desk-bot'])
      expect((await given(handedTo(agent), await actorTokenOf(agent))).claims).toMatchObject({
        client_id: 'platform',
        act: { sub: agent },
      })
  })

  test('is nobody without one, with another’s, or with that of an agent that is not hosted', async () => {
    expect(await refused(handedTo('desk-bot'), { client: platform })).toMatch(
      /^invalid_request: several agents act/,
    )
    const ofAnother = { ...(await actorTokenOf('hosted-bot')), client: bot }
    expect(await refused(handed(), ofAnother)).toBe('invalid_request: the actor token is not accepted')
    expect(await refused(handedTo('lone-bot'), await actorTokenOf('lone-bot'))).toBe(
      'actor_unauthorized: this agent does not act through this client',
    )
  })
})

describe('the token that is shown', () => {
  test('is not accepted where it is none, or has ended', async () => {
    const why = 'invalid_request: the subject token is not accepted'
    expect(await refused(Promise.resolve('x'))).toBe(why)
    const now = second()
    expect(await refused(handed({ iat: now - 10, exp: now }))).toBe(why)
  })

  test('is a person’s', async () => {
    const service = world.ownToken({ client_id: 'loader-client', sub: 'loader-client', scope: 'docs.write' })
    expect(await refused(service)).toBe('invalid_request: the subject is not a person')
  })

  test('is worth nothing without its key, or with another one', async () => {
    const why = 'invalid_request: the subject token is bound to a key that was not proven'
    const bound = () => handed({ cnf: { jkt: 'k'.repeat(43) } })
    expect(await refused(bound())).toBe(why)
    expect(await refused(bound(), { provenKey: 'o'.repeat(43) })).toBe(why)
    expect(await refused(bound(), { provenKey: 'k'.repeat(43) })).toBe('given')
  })

  test('is worth nothing to whom it neither went nor was issued', async () => {
    const why = 'invalid_request: the subject token is neither the client’s own nor addressed to it'
    expect(await refused(world.ownToken())).toBe(why)
    expect(await refused(handed(), { client: helper })).toBe(why)
  })

  test('goes no further where its actor does not name its issuer itself', async () => {
    await save('bot-there', { issuer: issuer.issuer, sub: 'bot-there' })
    const delegation = await lend('d_there', 'bot-there', {
      subject: 'user:test/anne',
      subAgents: ['research-bot'],
    })
    const act = { sub: 'bot-there' }
    expect(await refused(theirs({ delegation, act }))).toBe(
      'invalid_request: an actor of the subject token does not name its issuer',
    )
    expect(await refused(theirs({ delegation, act: { ...act, iss: issuer.issuer } }))).toBe('given')
  })
})

describe('the agent', () => {
  test('is one that is registered, and not disabled', async () => {
    for (const agent of ['nobody', 'off-bot'])
      expect(await refused(world.ownToken(), { client: { clientId: 'pages', kind: 'agent', agent } })).toBe(
        'actor_unauthorized',
      )
  })

  test.each([[null], [{ sub: 'helper-bot' }]])('is not another than may_act names: %j', async (may_act) => {
    expect(await refused(handed({ may_act }))).toBe('invalid_request: may_act names somebody else')
  })

  test('is the one that may_act names', async () => {
    expect(await refused(handed({ may_act: { sub: 'research-bot' } }))).toBe('given')
  })

  test('is the fourth of a chain at most', async () => {
    const three = { ...researchBot, act: { ...researchBot, act: researchBot } }
    expect((await given(held({ act: three }))).claims['act']).toEqual({ ...researchBot, act: three })
    expect(await refused(held({ act: { ...researchBot, act: three } }))).toBe(
      'invalid_request: the chain of actors is full',
    )
  })

  test('is lent to by the delegation of the token, and without one by the newest', async () => {
    await lend('d_newest', 'research-bot', { subject: 'user:nora' })
    await lend('d_older', 'research-bot', { subject: 'user:nora' })
    await world.database.query(
      `update delegations set created_at = now() + interval '1 hour' where id = 'd_newest'`,
      [],
    )
    expect((await given(handed({ sub: 'nora' }))).claims).toMatchObject({ delegation: 'd_newest' })
    expect((await given(held({ sub: 'nora', delegation: 'd_older' }))).claims).toMatchObject({
      delegation: 'd_older',
    })
  })

  const nothing = 'actor_unauthorized: nothing that is live was lent to this agent'

  test('acts for nobody who lent it nothing', async () => {
    expect(await refused(handed({ sub: 'bob' }))).toBe(nothing)
  })

  test('is one to which the first one may pass it on', async () => {
    const passed = (delegation: string) =>
      refused(held({ aud: addressOf('helper-bot'), delegation }), { client: helper })
    expect(await passed('d_own')).toBe(nothing)
    expect(await passed(await lend('d_passed', 'research-bot', { subAgents: ['helper-bot'] }))).toBe('given')
  })

  test('gets nothing by what is taken back while it asks', async () => {
    const delegations: ExchangeDeps['delegations'] = {
      ...deps.delegations,
      async get(id) {
        await world.database.query(`update delegations set state = 'revoked' where id = $1`, [id])
        return deps.delegations.get(id)
      },
    }
    const delegation = await lend('d_taken', 'research-bot')
    expect(await refused(held({ delegation }), {}, { delegations })).toBe(nothing)
  })
})

describe('the API', () => {
  test('is one', async () => {
    for (const targets of [[], [publicUrl, publicUrl]])
      expect(await refused(handed(), { targets })).toBe('invalid_target: name exactly one resource')
  })

  test('is known, and for this client', async () => {
    await resource({ resource: bank, allowedClients: ['pages'] })
    for (const target of ['https://unknown.example', bank])
      expect(await refused(handed(), { targets: [target] })).toBe('invalid_target')
  })

  test('is entered from another only where it names the client', async () => {
    await resource({ resource: bank })
    expect(await refused(handed(), { targets: [bank] })).toBe(
      'invalid_target: a token for the one is not exchanged for one to the other',
    )
  })

  test('is the one for which it was lent', async () => {
    await resource({ resource: broker })
    await resource({
      resource: bank,
      allowedClients: ['bot-client'],
      accepts: { [broker]: { look: 'look' } },
    })
    const delegation = await lend('d_broker', 'research-bot')
    await world.database.query('update delegations set resource = $1 where id = $2', [broker, delegation])
    const token = () => held({ aud: broker, scope: 'look', delegation })
    expect((await given(token(), { targets: [broker] })).claims).toMatchObject({ aud: broker, scope: 'look' })
    expect(await refused(token(), { targets: [bank] })).toBe('invalid_target: it was lent for another API')
  })
})

describe('the scopes', () => {
  const tooMuch = 'invalid_scope: more than the subject token and the agent hold'
  const none = 'invalid_scope: nothing of what the subject token holds'

  test('are those that are asked for, each once, of those that the token holds', async () => {
    const scopeOf = async (scope: string | undefined) => (await given(handed(), { scope })).claims['scope']
    expect(await scopeOf(undefined)).toBe('docs.search docs.read')
    expect(await scopeOf(' docs.read  docs.read ')).toBe('docs.read')
    expect(await refused(handed(), { scope: 'docs.read vault.use approvals.request' })).toBe(
      `${tooMuch}: vault.use approvals.request`,
    )
  })

  test('are not none, unless details say what may be done elsewhere', async () => {
    for (const claims of [{}, { authorization_details: [{ type: 'document_access', collections: ['a'] }] }])
      expect(await refused(handed(claims), { scope: '' })).toBe(none)
    await resource({ resource: broker, authorizationDetailsTypes: ['trade_order'] })
    const both = [{ type: 'document_access', collections: ['a'] }, order]
    const asked = { scope: '', targets: [addressOf('research-bot')] }
    const { claims, details } = await given(handed({ authorization_details: both }), asked)
    expect(claims).toMatchObject({ scope: '', authorization_details: both })
    expect(details).toEqual(both)
    const wrong = await refused(handed(), { details: [order] })
    expect(wrong).toBe('invalid_authorization_details: more than the subject token holds')
  })

  test('are within the limits of the agent, and of each that acted before', async () => {
    await limit('research-bot', 'docs.read', 'vault.use')
    expect((await given(handed())).claims['scope']).toBe('docs.read')
    expect(await refused(handed({ scope: 'docs.search' }))).toBe(none)
    const delegation = await lend('d_limited', 'research-bot', { subAgents: ['helper-bot'] })
    const token = held({ aud: addressOf('helper-bot'), delegation })
    expect((await given(token, { client: helper })).claims['scope']).toBe('docs.read')
    await unlimit()
  })

  test('of ours may all be out of bounds for an agent that carries what is for others', async () => {
    await resource({ resource: broker, authorizationDetailsTypes: ['trade_order'] })
    await limit('research-bot', 'look')
    const targets = [addressOf('research-bot')]
    const { details } = await given(handed({ authorization_details: [order] }), { targets })
    expect(details).toEqual([order])
    await unlimit()
  })

  test('are none at an API at which one of the agents may do nothing', async () => {
    const far = 'invalid_scope: nothing of that API is within the limits of its agents'
    await resource({ resource: broker, authorizationDetailsTypes: ['trade_order'] })
    const token = () => held({ aud: broker, scope: 'look', authorization_details: [order] })
    await limit('research-bot', 'docs.read')
    expect(await refused(token(), { targets: [broker] })).toBe(far)
    await unlimit()
    const delegation = await lend('d_far', 'helper-bot', { subAgents: ['research-bot'] })
    const passed = () =>
      held({ act: helperBot, client_id: 'helper-client', aud: broker, scope: 'look', delegation })
    await world.database.query(
      `update resources set owner_client = 'bot-client', scopes = '{look,transfer}' where resource = $1`,
      [broker],
    )
    expect((await given(passed(), { targets: [broker] })).claims['scope']).toBe('look')
    await limit('helper-bot', 'docs.read')
    expect(await refused(passed(), { targets: [broker] })).toBe(far)
    await unlimit()
  })
})
