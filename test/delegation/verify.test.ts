import { createSecretKey } from 'node:crypto'
import { SignJWT, UnsecuredJWT } from 'jose'
import { afterAll, beforeAll, describe, expect, test } from 'vitest'
import { trustedIssuer } from '../../src/config/issuers.ts'
import type { PresentedProof } from '../../src/delegation/tokens/dpop.ts'
import { externalIssuer, type Resource } from '../../src/delegation/tokens/issuers.ts'
import { publicErrorOf } from '../../src/delegation/tokens/reasons.ts'
import { makeHolder } from '../support/dpop.ts'
import { startTestIssuer, type TestIssuer, type TokenOptions } from '../support/issuer.ts'
import { helperBot, openVerifying, ownIssuerUrl, publicUrl, putDelegation, researchBot } from './world.ts'

let issuer: TestIssuer
let world: Awaited<ReturnType<typeof openVerifying>>

beforeAll(async () => {
  issuer = await startTestIssuer({ serviceClients: { 'loader-app': 'loader', 'ghost-app': 'ghost' } })
  world = await openVerifying(issuer)
})
afterAll(async () => {
  await world[Symbol.asyncDispose]()
  await issuer[Symbol.asyncDispose]()
})

const verify = (token: string, resource: Resource = 'api') => world.verifier.verify(token, resource)
const external = (options: TokenOptions = {}) => issuer.token({ now: world.clock.now(), ...options })

async function reason(token: string | Promise<string>, resource: Resource = 'api'): Promise<string> {
  const result = await verify(await token, resource)
  return result.ok ? `accepted as ${result.value.subject}` : result.reason
}

async function accepted(token: string | Promise<string>, resource: Resource = 'api') {
  const result = await verify(await token, resource)
  if (!result.ok) throw new Error(`refused: ${result.reason} ${result.detail ?? ''}`)
  return result.value
}

const agentToken = (options: TokenOptions = {}) =>
  external({ client_id: 'bot-app', act: researchBot, delegation: 'd_ext', ...options })

describe('what is accepted', () => {
  test('a person at a trusted issuer is a user of its namespace', async () => {
    expect(await accepted(external())).toMatchObject({
      kind: 'person',
      subject: 'user:test/anne',
      actors: [],
      client: 'person-app',
      scopes: new Set(['docs.search', 'docs.read']),
      authorizationDetails: [],
    })
  })

  test('an agent acts for the person, its chain kept with the outermost first', async () => {
    const token = agentToken({ act: { ...helperBot, act: researchBot } })
    expect(await accepted(token)).toMatchObject({
      kind: 'agent',
      subject: 'user:test/anne',
      actors: ['agent:helper-bot', 'agent:research-bot'],
      delegation: 'd_ext',
    })
  })

  test('a service of the settings is a service and no person', async () => {
    expect(
      await accepted(external({ client_id: 'loader-app', scope: 'docs.write docs.read' })),
    ).toMatchObject({
      kind: 'service',
      subject: 'service:loader',
      scopes: new Set(['docs.write']),
    })
  })

  test('our own sub is the subject key as it stands, for local accounts and for people of a trusted issuer', async () => {
    expect((await accepted(world.ownToken())).subject).toBe('user:anne')
    expect((await accepted(world.ownToken({ sub: 'test/anne' }))).subject).toBe('user:test/anne')
  })

  test('our own agent client acts under its delegation and keeps grant, txn and sign-in time', async () => {
    const token = world.ownToken({
      client_id: 'bot-client',
      act: researchBot,
      delegation: 'd_own',
      grant_id: 'gf_1',
      txn: 't_1',
      auth_time: 1_000,
    })
    expect(await accepted(token)).toMatchObject({
      kind: 'agent',
      grantId: 'gf_1',
      txn: 't_1',
      authTime: 1_000,
    })
  })

  test('an array of exactly one audience is one audience', async () => {
    expect((await accepted(external({ aud: [issuer.audiences.api] }))).kind).toBe('person')
  })

  test('azp names the client where a generic issuer sends no client_id', async () => {
    const token = external({ overrides: { client_id: undefined, azp: 'person-app' } })
    expect((await accepted(token)).client).toBe('person-app')
  })

  test('a narrowing to collections arrives with the principal', async () => {
    const details = [{ type: 'document_access', collections: ['handbook'] }]
    const principal = await accepted(external({ overrides: { authorization_details: details } }))
    expect(principal.authorizationDetails).toEqual(details)
  })

  test('every agent of a chain narrows, whoever issued the token and whatever it says itself', async () => {
    const save = async (
      id: string,
      scopes: readonly string[],
      collections: readonly string[] | undefined,
    ) => {
      const limits = { scopes, collections }
      await world.agents.save({
        id,
        owner: 'user:anne',
        purpose: 'tests',
        issuer: ownIssuerUrl,
        sub: id,
        limits,
      })
    }
    await save('research-bot', ['docs.search', 'docs.read'], ['handbook', 'finance'])
    await save('helper-bot', ['docs.search', 'approvals.request'], ['finance', 'board'])
    const details = (...collections: string[]) => [{ type: 'document_access', collections }]
    const chain = { act: { ...helperBot, act: researchBot } }
    expect(await accepted(agentToken(chain))).toMatchObject({
      scopes: new Set(['docs.search']),
      authorizationDetails: details('finance'),
    })
    const overrides = { authorization_details: details('handbook', 'board') }
    expect((await accepted(agentToken({ ...chain, overrides }))).authorizationDetails).toEqual(details())
    const ours = world.ownToken({ client_id: 'bot-client', act: researchBot, delegation: 'd_own' })
    expect((await accepted(ours)).authorizationDetails).toEqual(details('handbook', 'finance'))
    for (const id of ['research-bot', 'helper-bot'])
      await world.database.query('update agents set scopes = null, collections = null where id = $1', [id])
    expect((await accepted(agentToken(chain))).authorizationDetails).toEqual([])
  })

  test('a txn that would not be safe in a log line is replaced', async () => {
    const principal = await accepted(external({ overrides: { txn: 'a\nforged line' } }))
    expect(principal.txn).toMatch(/^[0-9a-f-]{36}$/)
  })
})

describe('tokens that are refused', () => {
  test('of an unknown issuer', async () => {
    expect(await reason(external({ overrides: { iss: `${issuer.issuer}/` } }))).toBe('unknown_issuer')
  })

  test('for another audience, a prefix of ours, or the other resource', async () => {
    expect(await reason(external({ aud: 'https://elsewhere.test' }))).toBe('wrong_audience')
    expect(await reason(external({ aud: `${issuer.audiences.api}/` }))).toBe('wrong_audience')
    expect(await reason(external(), 'mcp')).toBe('wrong_audience')
    expect(await reason(world.ownToken({ aud: `${publicUrl}/mcp` }), 'api')).toBe('wrong_audience')
  })

  test('for two audiences, ours among them', async () => {
    expect(await reason(external({ aud: [issuer.audiences.api, 'https://elsewhere.test'] }))).toBe(
      'wrong_audience',
    )
    expect(await reason(external({ aud: [issuer.audiences.api, issuer.audiences.mcp] }))).toBe(
      'wrong_audience',
    )
    expect(await reason(external({ aud: [] }))).toBe('wrong_audience')
  })

  test('that are ID tokens (typ JWT, or none)', async () => {
    expect(await reason(external({ header: { typ: 'JWT' } }))).toBe('wrong_type')
    expect(await reason(external({ header: { typ: undefined } }))).toBe('wrong_type')
  })

  test('without a signature (alg none)', async () => {
    const token = new UnsecuredJWT({ sub: 'anne', client_id: 'person-app' })
      .setIssuer(issuer.issuer)
      .setAudience(issuer.audiences.api)
      .setIssuedAt()
      .setExpirationTime('1m')
      .encode()
    expect(await reason(token)).toBe('wrong_algorithm')
  })

  test('signed by HS256 with the public key as the secret', async () => {
    const secret = createSecretKey(Buffer.from(JSON.stringify(issuer.publicJwk)))
    const token = new SignJWT({ sub: 'anne', client_id: 'person-app', jti: 'j' })
      .setProtectedHeader({ alg: 'HS256', typ: 'at+jwt', kid: 'key-0' })
      .setIssuer(issuer.issuer)
      .setAudience(issuer.audiences.api)
      .setIssuedAt()
      .setExpirationTime('1m')
      .sign(secret)
    expect(await reason(token)).toBe('wrong_algorithm')
  })

  test('whose payload was changed after signing', async () => {
    const [header, , signature] = (await external()).split('.')
    const [, payload] = (await external({ sub: 'bob' })).split('.')
    expect(await reason(`${header}.${payload}.${signature}`)).toBe('bad_signature')
  })

  test('signed by another issuer in this one’s name', async () => {
    await using other = await startTestIssuer()
    expect(
      await reason(
        other.token({ now: world.clock.now(), aud: issuer.audiences.api, overrides: { iss: issuer.issuer } }),
      ),
    ).toBe('bad_signature')
  })

  test('signed by the key that their own header brings along or points to', async () => {
    await using evil = await startTestIssuer()
    const token = await evil.token({
      now: world.clock.now(),
      aud: issuer.audiences.api,
      overrides: { iss: issuer.issuer },
      header: { jku: `${evil.issuer}/jwks`, x5u: `${evil.issuer}/x5u`, jwk: evil.publicJwk },
    })
    expect(await reason(token)).toBe('bad_signature')
    expect(evil.asked).toEqual([])
  })

  test('that have ended, to the second, by our clock', async () => {
    expect(await reason(external({ ttl: 1 }))).toMatch(/^accepted/)
    expect(await reason(external({ ttl: 1, now: world.clock.now() - 1_000 }))).toBe('expired')
  })

  test('that do not count yet', async () => {
    const now = Math.floor(world.clock.now() / 1_000)
    expect(await reason(external({ overrides: { nbf: now + 60 } }))).toBe('not_yet_valid')
    expect(await reason(external({ overrides: { iat: now + 60 } }))).toBe('not_yet_valid')
  })

  test('of ours that would live longer than 300 s', async () => {
    const iat = Math.floor(world.clock.now() / 1_000)
    expect(await reason(world.ownToken({ exp: iat + 301 }))).toBe('too_long_lived')
  })

  test.each([
    { jkt: 'x' },
    {},
    null,
    'x',
    { 'x5t#S256': 'a'.repeat(43) },
    { jkt: 'a'.repeat(43), 'x5t#S256': 'a'.repeat(43) },
    { jwk: { kty: 'EC' } },
  ])('bound to their holder in a way that nobody here checks: %j', async (cnf) => {
    expect(await reason(world.ownToken({ cnf }))).toBe('bad_claim')
    expect(await reason(external({ overrides: { cnf } }))).toBe('bad_claim')
  })

  test.each(['sub', 'exp', 'iat', 'jti', 'aud', 'client_id'])('without %s', async (name) => {
    expect(await reason(external({ overrides: { [name]: undefined } }))).toBe('missing_claim')
  })

  test('whose client_id and azp disagree', async () => {
    expect(await reason(external({ overrides: { azp: 'other' } }))).toBe('bad_claim')
  })

  test.each(['', 'x', 'a.b', 'a.b.c', 'Bearer x', 'a'.repeat(20_000), '..', 'e30.e30.'])(
    'that are no tokens: %.20s',
    async (token) => {
      expect(['malformed', 'missing_claim']).toContain(await reason(token))
    },
  )

  test('whose subject would name somebody else or nobody', async () => {
    expect(await reason(world.ownToken({ sub: 'other/anne' }))).toBe('bad_subject')
    expect(await reason(world.ownToken({ sub: 'anne bob' }))).toBe('bad_subject')
    expect(await reason(world.ownToken({ sub: '*' }))).toBe('bad_subject')
    expect(await reason(external({ sub: '\ud800' }))).toBe('bad_subject')
  })

  test.each([
    ['another type', [{ type: 'payment' }]],
    ['a member that we do not know', [{ type: 'document_access', collections: ['a'], actions: ['read'] }]],
    ['the forms for approvals', [{ type: 'document_access', offer: 'o_1' }]],
    ['no collections', [{ type: 'document_access', collections: [] }]],
    [
      'two of them',
      [
        { type: 'document_access', collections: ['a'] },
        { type: 'document_access', collections: ['b'] },
      ],
    ],
    ['no array', { type: 'document_access', collections: ['a'] }],
    ['null', null],
  ])('with authorization_details of %s', async (_, details) => {
    expect(await reason(external({ overrides: { authorization_details: details } }))).toBe('bad_details')
  })
})

describe('who acts', () => {
  test('no actor and no person client: refused, not taken for the person', async () => {
    expect(await reason(external({ client_id: 'bot-app' }))).toBe('actor_missing')
    expect(await reason(world.ownToken({ client_id: 'bot-client' }))).toBe('actor_missing')
    expect(await reason(world.ownToken({ client_id: 'never-registered' }))).toBe('actor_missing')
  })

  test('a person client’s token that carries act is an agent’s, and needs a delegation', async () => {
    expect(await reason(external({ act: researchBot }))).toBe('delegation_missing')
    expect((await accepted(external({ act: researchBot, delegation: 'd_ext' }))).kind).toBe('agent')
  })

  test.each([null, 'research-bot', {}, { sub: 'research-bot' }, { iss: ownIssuerUrl }, []])(
    'an act that does not say who: %j',
    async (act) => {
      expect(await reason(external({ overrides: { act } }))).toBe('bad_actor')
    },
  )

  test('claims that say the subject is no person', async () => {
    expect(await reason(external({ overrides: { sub_profile: 'ai_agent' } }))).toBe('not_a_person')
    expect(await reason(external({ sub: 'person-app' }))).toBe('not_a_person')
    expect(await reason(agentToken({ overrides: { sub_profile: 'service' } }))).toBe('not_a_person')
  })

  test('an unregistered agent, anywhere in the chain, or one of another issuer with the same sub', async () => {
    expect(await reason(agentToken({ act: { iss: ownIssuerUrl, sub: 'stranger' } }))).toBe('unknown_actor')
    expect(await reason(agentToken({ act: { iss: issuer.issuer, sub: 'research-bot' } }))).toBe(
      'unknown_actor',
    )
    expect(
      await reason(agentToken({ act: { ...researchBot, act: { iss: ownIssuerUrl, sub: 'stranger' } } })),
    ).toBe('unknown_actor')
  })

  test('a disabled agent, anywhere in the chain', async () => {
    const off = { iss: ownIssuerUrl, sub: 'off-bot' }
    expect(await reason(agentToken({ act: off }))).toBe('agent_disabled')
    expect(await reason(agentToken({ act: { ...researchBot, act: off } }))).toBe('agent_disabled')
  })

  test('a chain of four is kept whole; five are refused', async () => {
    const four = { ...researchBot, act: { ...helperBot, act: { ...researchBot, act: helperBot } } }
    expect((await accepted(agentToken({ act: four }))).actors).toHaveLength(4)
    expect(await reason(agentToken({ act: { ...researchBot, act: four } }))).toBe('chain_too_long')
  })

  test('an agent client that another agent speaks through', async () => {
    const token = world.ownToken({ client_id: 'bot-client', act: helperBot, delegation: 'd_own' })
    expect(await reason(token)).toBe('actor_mismatch')
  })

  test('a service’s token with an actor, or of a service that nobody registered', async () => {
    expect(await reason(external({ client_id: 'loader-app', act: researchBot, delegation: 'd_ext' }))).toBe(
      'actor_on_service',
    )
    expect(await reason(world.ownToken({ client_id: 'loader-client', act: researchBot }))).toBe(
      'actor_on_service',
    )
    expect(await reason(external({ client_id: 'ghost-app', scope: 'docs.write' }))).toBe('unknown_service')
  })
})

describe('scopes by kind', () => {
  test.each(['docs.write', 'directory.write', 'agents.write', 'security.read', 'security.write'])(
    'an agent that claims %s is refused whole',
    async (scope) => {
      expect(await reason(agentToken({ scope: `docs.search ${scope}` }))).toBe('scope_for_actor')
    },
  )

  test('a person holds no writing scope, a service no reading one', async () => {
    const everything =
      'docs.search docs.read docs.write directory.write vault.use approvals.request security.read'
    const person = await accepted(world.ownToken({ scope: everything }))
    expect([...person.scopes].sort()).toEqual(['docs.read', 'docs.search', 'security.read'])
    const service = await accepted(
      world.ownToken({ client_id: 'loader-client', sub: 'loader-client', scope: everything }),
    )
    expect([...service.scopes].sort()).toEqual(['directory.write', 'docs.write'])
  })

  test('another issuer hands out only what its settings allow, and never an administrator’s scope', async () => {
    const person = await accepted(external({ scope: 'docs.search security.read agents.write openid' }))
    expect([...person.scopes]).toEqual(['docs.search'])
    const agent = await accepted(agentToken({ scope: 'docs.search vault.use' }))
    expect([...agent.scopes]).toEqual(['docs.search'])
  })
})

describe('delegations', () => {
  test('somebody else’s delegation is refused', async () => {
    expect(await reason(agentToken({ sub: 'mallory' }))).toBe('delegation_mismatch')
    expect(await reason(agentToken({ delegation: 'd_own' }))).toBe('delegation_mismatch')
  })

  test('another agent’s delegation is refused, unless it is a sub-agent that the consent names', async () => {
    const token = world.ownToken({ client_id: 'pages', act: helperBot, delegation: 'd_own' })
    expect(await reason(token)).toBe('delegation_mismatch')
    expect((await accepted(agentToken({ act: helperBot }))).actors).toEqual(['agent:helper-bot'])
  })

  test('one that was never made, is still being made, is revoked or has ended is refused', async () => {
    const end = new Date(world.clock.now() + 60_000)
    const row = { subject: 'user:test/anne', agent: 'research-bot', expiresAt: end }
    await putDelegation(world.database, { ...row, id: 'd_lending', state: 'lending' })
    await putDelegation(world.database, { ...row, id: 'd_revoked', state: 'revoked' })
    await putDelegation(world.database, { ...row, id: 'd_ended', expiresAt: new Date(world.clock.now()) })
    expect(await reason(agentToken({ delegation: 'd_none' }))).toBe('delegation_unknown')
    for (const delegation of ['d_lending', 'd_revoked', 'd_ended']) {
      expect(await reason(agentToken({ delegation }))).toBe('delegation_not_live')
    }
  })

  test('one whose agent was disabled carries nobody, not even its sub-agents', async () => {
    const expiresAt = new Date(world.clock.now() + 60_000)
    await putDelegation(world.database, {
      id: 'd_off',
      subject: 'user:test/anne',
      agent: 'off-bot',
      subAgents: ['helper-bot'],
      expiresAt,
    })
    expect(await reason(agentToken({ act: helperBot, delegation: 'd_off' }))).toBe('delegation_not_live')
  })
})

describe('revocation', () => {
  test('of a token, by its issuer and jti', async () => {
    const token = await external({ overrides: { jti: 'shared-jti' } })
    const ours = await world.ownToken({ jti: 'shared-jti' })
    await world.revocations.revoke(
      { kind: 'jti', issuer: issuer.issuer, id: 'shared-jti' },
      { reason: 'test' },
    )
    expect(await reason(token)).toBe('revoked')
    expect(await reason(ours)).toMatch(/^accepted/)
  })

  test('of a grant family, until it is over', async () => {
    const until = new Date(world.clock.now() + 1_000)
    await world.revocations.revoke(
      { kind: 'grant', issuer: ownIssuerUrl, id: 'gf_dead' },
      { until, reason: 'test' },
    )
    expect(await reason(world.ownToken({ grant_id: 'gf_dead' }))).toBe('revoked')
    // By the database's clock too, which goes on while this one stands.
    world.clock.move(3_600_000)
    expect(await reason(world.ownToken({ grant_id: 'gf_dead' }))).toMatch(/^accepted/)
  })

  test('of a person, by every door, and of an agent in any place of a chain, and of a service', async () => {
    await world.revocations.revoke({ kind: 'subject', id: 'user:test/gone' }, { reason: 'left' })
    expect(await reason(external({ sub: 'gone' }))).toBe('revoked')
    expect(await reason(world.ownToken({ sub: 'test/gone' }))).toBe('revoked')
    const until = new Date(world.clock.now() + 1_000)
    await world.revocations.revoke({ kind: 'agent', id: 'helper-bot' }, { until, reason: 'test' })
    expect(await reason(agentToken({ act: { ...researchBot, act: helperBot } }))).toBe('revoked')
    await world.revocations.revoke({ kind: 'subject', id: 'service:loader' }, { until, reason: 'test' })
    expect(await reason(world.ownToken({ client_id: 'loader-client', sub: 'loader-client' }))).toBe('revoked')
    expect(await reason(external({ client_id: 'loader-app', scope: 'docs.write' }))).toBe('revoked')
    world.clock.move(3_600_000)
  })

  test('is never shortened by a later one', async () => {
    await world.revocations.revoke({ kind: 'subject', id: 'user:test/long' }, { reason: 'for ever' })
    await world.revocations.revoke(
      { kind: 'subject', id: 'user:test/long' },
      { until: new Date(world.clock.now()), reason: 'short' },
    )
    expect(await reason(external({ sub: 'long' }))).toBe('revoked')
  })
})

describe('the demo', () => {
  test('its tokens are refused in every other mode, whoever signed them', async () => {
    expect(await reason(world.ownToken({ demo: true }))).toBe('demo_token_refused')
    expect(await reason(external({ overrides: { demo: true } }))).toBe('demo_token_refused')
  })

  test('in the demo our own tokens must say that they are its', async () => {
    const plain = await world.demoVerifier.verify(await world.ownToken(), 'api')
    expect(plain).toMatchObject({ ok: false, reason: 'demo_token_required' })
    const marked = await world.demoVerifier.verify(await world.ownToken({ demo: true }), 'api')
    expect(marked.ok).toBe(true)
    const sayingSo = await world.demoVerifier.verify(await external({ overrides: { demo: true } }), 'api')
    expect(sayingSo).toMatchObject({ ok: false, reason: 'demo_token_refused' })
  })
})

test('what the caller is told is a 401, a 403 or a 503, and which', () => {
  expect(publicErrorOf('bad_signature')).toBe('invalid_token')
  expect(publicErrorOf('revoked')).toBe('invalid_token')
  expect(publicErrorOf('actor_missing')).toBe('actor_unauthorized')
  expect(publicErrorOf('delegation_not_live')).toBe('actor_unauthorized')
  expect(publicErrorOf('keys_unavailable')).toBe('authorization_unavailable')
})

test('the same sub at two issuers is two people', async () => {
  expect((await accepted(external({ sub: 'anne' }))).subject).not.toBe(
    (await accepted(world.ownToken({ sub: 'anne' }))).subject,
  )
})

describe('a token that is bound to a key', () => {
  const url = `${publicUrl}/retrieve`
  const shown = async (token: string, presented?: PresentedProof) => {
    const result = await world.verifier.verify(token, 'api', presented)
    return result.ok ? result.value.boundTo : result.reason
  }

  test.each(['ours', 'a trusted issuer’s'])(
    'by %s needs the proof of that key, each time anew',
    async (whose) => {
      const holder = await makeHolder()
      const cnf = { jkt: holder.jkt }
      const token = await (whose === 'ours' ? world.ownToken({ cnf }) : external({ overrides: { cnf } }))
      const made = async (by = holder): Promise<PresentedProof> => ({
        proof: await by.proof({ url, accessToken: token, now: world.clock.now() }),
        method: 'POST',
        url,
      })
      expect(await shown(token)).toBe('proof_missing')
      expect(await shown(token, { ...(await made()), proof: '' })).toBe('proof_invalid')
      expect(await shown(token, await made(await makeHolder()))).toBe('proof_of_another_key')
      expect(await shown(token, { ...(await made()), method: 'GET' })).toBe('proof_invalid')
      const proof = await made()
      expect(await shown(token, proof)).toBe(holder.jkt)
      expect(await shown(token, proof)).toBe('proof_invalid')
      const late = await holder.proof({ url, accessToken: token, now: world.clock.now() - 90_000 })
      expect(await shown(token, { proof: late, method: 'POST', url })).toBe('nonce_needed')
    },
  )

  test('is not taken for one by a proof that lies beside it', async () => {
    const token = await external()
    const holder = await makeHolder()
    const proof = await holder.proof({ url, accessToken: token, now: world.clock.now() })
    expect(await shown(token, { proof, method: 'POST', url })).toBe('not_bound')
  })
})

test.each([
  ['one bit of the signature', (token: string) => flip(token, 2)],
  ['one bit of the payload', (token: string) => flip(token, 1)],
  ['a signature that is cut short', (token: string) => token.slice(0, -2)],
  ['no signature', (token: string) => token.slice(0, token.lastIndexOf('.') + 1)],
] as const)('%s makes it no token', async (_, spoil) => {
  const token = await world.ownToken()
  expect(await reason(token)).toBe('accepted as user:anne')
  expect(await reason(spoil(token))).not.toContain('accepted')
})

test('a header that would change what is signed is not passed over (crit, RFC 7515 §4.1.11)', async () => {
  const { kid, privateKey } = world.key
  const header = { alg: 'ES256', typ: 'at+jwt', kid, crit: ['x'], x: 1 }
  const [, payload] = (await world.ownToken()).split('.')
  const head = Buffer.from(JSON.stringify(header)).toString('base64url')
  const signed = Buffer.from(`${head}.${payload}`)
  const signature = await crypto.subtle.sign({ name: 'ECDSA', hash: 'SHA-256' }, privateKey, signed)
  const token = `${head}.${payload}.${Buffer.from(signature).toString('base64url')}`
  expect(await reason(token)).toBe('malformed')
})

function flip(token: string, part: number): string {
  const parts = token.split('.')
  const bytes = Buffer.from(parts[part] ?? '', 'base64url')
  bytes.writeUInt8(bytes.readUInt8(20) ^ 1, 20)
  parts[part] = bytes.toString('base64url')
  return parts.join('.')
}

test('of thousands of tokens at once 8 are verified in a turn of the event loop, 2,000 wait, and the rest is told to come again', async () => {
  const { verifierOf, ownIssuer, ownToken } = world
  if (ownIssuer === undefined) throw new Error('There is no issuer of ours.')
  const verifier = verifierOf([ownIssuer])
  const token = await ownToken()
  let turns = 0
  let isOver = false
  const count = (): void => {
    turns += 1
    if (!isOver) setImmediate(count)
  }
  setImmediate(count)
  const outcomes = await Promise.allSettled(
    Array.from({ length: 2_100 }, () => verifier.verify(token, 'api')),
  )
  isOver = true
  const verified = outcomes.filter((one) => one.status === 'fulfilled' && one.value.ok)
  expect(verified).toHaveLength(2_008)
  expect(turns).toBeGreaterThan(2_000 / 8 - 10)
  expect(outcomes.at(-1)).toMatchObject({
    reason: { code: 'authorization_unavailable', headers: { 'retry-after': '1' } },
  })
})

test('tokens of an issuer that does not answer wait for it alone', async () => {
  const { verifierOf, ownIssuer, ownToken } = world
  if (ownIssuer === undefined) throw new Error('There is no issuer of ours.')
  const never = () => new Promise<never>(() => undefined)
  const silent = externalIssuer(trustedIssuer.parse(issuer.entry()), {
    fetch: never,
    timeoutMs: 60_000,
  })
  const verifier = verifierOf([ownIssuer, silent])
  const token = await external()
  for (let nth = 0; nth < 100; nth += 1) void verifier.verify(token, 'api').catch(() => undefined)
  expect(await verifier.verify(await ownToken(), 'api')).toMatchObject({ ok: true })
}, 10_000)
