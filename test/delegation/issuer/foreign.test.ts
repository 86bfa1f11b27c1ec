import { decodeJwt, SignJWT } from 'jose'
import { afterAll, beforeAll, describe, expect, test } from 'vitest'
import { openKeyRing } from '../../../src/delegation/tokens/signing-key.ts'
import { startTestIssuer, type TestIssuer, type TokenOptions } from '../../support/issuer.ts'
import { createExchanger } from './exchanging.ts'
import { type IssuerWorld, openIssuerWorld } from './world.ts'

// Tokens of a trusted issuer at our token endpoint: who may have one of ours for them, and what it says.

let issuer: TestIssuer
let world: IssuerWorld
let exchange: ReturnType<typeof createExchanger>

beforeAll(async () => {
  issuer = await startTestIssuer({
    namespace: 'staff',
    // Two are written like ours, which they are not.
    personClients: ['portal', 'agent-app', 'helper-app'],
    serviceClients: { 'their-loader': 'loader' },
    exchangeClients: { assistant: 'agent-app' },
    scopesAllowed: ['docs.search', 'docs.read', 'docs.write'],
  })
  world = await openIssuerWorld({
    env: { REMIT_DEMO: 'false', TRUSTED_ISSUERS: JSON.stringify([issuer.entry()]) },
  })
  exchange = createExchanger(world)
  await world.put({
    'handbook/travel': { text: 'Travel costs.', access: { viewers: ['user:staff/anne', 'user:anne'] } },
  })
  for (const agent of ['research-bot', 'other-bot'])
    await world.lend('staff/anne', agent, 'collection:handbook')
})
afterAll(async () => {
  await world?.[Symbol.asyncDispose]()
  await issuer?.[Symbol.asyncDispose]()
})

const address = (agent: string) => `${world.url}/agents/${agent}`
const theirs = (options: TokenOptions = {}) => issuer.token({ client_id: 'assistant', ...options })
const ours = (sub: string) => ({ iss: world.issuer, sub, sub_profile: 'ai_agent' })
const refused = { error: 'invalid_request' }

async function own(claims: Readonly<Record<string, unknown>>): Promise<string> {
  const key = (await openKeyRing(`${world.config.home}/keys`, { now: Date.now })).current()
  const iat = Math.floor(Date.now() / 1_000)
  const jti = crypto.randomUUID()
  return new SignJWT({
    iss: world.issuer,
    aud: world.url,
    scope: 'docs.search',
    iat,
    exp: iat + 60,
    jti,
    ...claims,
  })
    .setProtectedHeader({ alg: 'ES256', typ: 'at+jwt', kid: key.kid })
    .sign(key.privateKey)
}

async function asked(token: string | undefined): Promise<string | number> {
  const response = await world.call('POST', '/retrieve', { token: token ?? '', body: { query: 'travel' } })
  const body = (await response.json()) as { readonly code?: string }
  return body.code ?? response.status
}
const why = () => world.logged.findLast(({ event }) => event === 'token_refused')?.fields

describe('the confused deputy', () => {
  test('gets nothing for any pair of requester, client and audience but those that the rule names', async () => {
    const agents = { 'agent-app': 'research-bot', 'helper-app': 'other-bot' } as const
    const audiences = [
      issuer.audiences.api,
      issuer.audiences.mcp,
      address('research-bot'),
      address('other-bot'),
      world.url,
      'https://elsewhere.test',
    ]
    const clients = ['assistant', 'portal', 'unknown', 'agent-app', 'helper-app', 'their-loader']
    let given = 0
    for (const by of ['agent-app', 'helper-app'] as const) {
      for (const client_id of clients) {
        for (const aud of audiences) {
          const isAddressee = aud === address(agents[by])
          const isForUs = aud === issuer.audiences.api || aud === issuer.audiences.mcp
          const mayPass =
            (client_id === 'assistant' && by === 'agent-app' && (isForUs || isAddressee)) ||
            (['portal', 'agent-app', 'helper-app'].includes(client_id) && isAddressee)
          const answer = await exchange(by, await theirs({ client_id, aud }))
          const label = `${by} shows a token of their ${client_id} for ${aud}`
          if (mayPass) expect(answer, label).toHaveProperty('access_token')
          else expect(answer, label).toEqual(refused)
          if (mayPass) given += 1
        }
      }
    }
    expect(given).toBe(9)
  })

  test('is not a public client, or one whose agent lent nothing', async () => {
    const subject = await theirs({ sub: 'bob' })
    expect(await exchange('agent-app', subject)).toEqual({ error: 'actor_unauthorized' })
    expect(await exchange('loader-app', await theirs())).toEqual({ error: 'invalid_request' })
  })

  test('learns nothing by introspection, and ends nothing, of another issuer’s client of its name', async () => {
    const subject = await issuer.token({ client_id: 'agent-app' })
    expect(await exchange('agent-app', subject)).toEqual(refused)
    const { introspect, revoke } = exchange
    expect(await introspect('agent-app', subject)).toEqual({ active: false })
    const person = await issuer.token({ client_id: 'portal' })
    await revoke('agent-app', person)
    expect(await asked(person)).toBe(200)
  })
})

describe('a token of ours that was made from another issuer’s', () => {
  test('has no grant of theirs, no scope beyond what its settings allow, and no longer life', async () => {
    const exp = Math.floor(Date.now() / 1_000) + 40
    const answer = await exchange(
      'agent-app',
      await theirs({
        scope: 'docs.search vault.use approvals.request docs.write security.read',
        overrides: { grant_id: 'g_theirs', exp, upstream: { iss: world.issuer, sub: 'dan' } },
      }),
    )
    const claims = decodeJwt(answer.access_token ?? '')
    expect(claims).toMatchObject({ sub: 'staff/anne', scope: 'docs.search' })
    expect(claims).not.toHaveProperty('grant_id')
    expect(claims['upstream']).toMatchObject({ iss: issuer.issuer, sub: 'anne' })
    expect(claims.exp).toBeLessThanOrEqual(exp)
    expect(await exchange('agent-app', await theirs({ scope: 'vault.use' }))).toEqual({
      error: 'invalid_scope',
    })
  })

  test('nests the actor of theirs, which names its issuer', async () => {
    const delegation = (await world.service.delegations.current('user:staff/anne', 'research-bot'))?.id ?? ''
    const subject = await theirs({ act: ours('research-bot'), delegation })
    const answer = await exchange('agent-app', subject)
    expect(decodeJwt(answer.access_token ?? '')).toMatchObject({
      act: { ...ours('research-bot'), act: ours('research-bot') },
      delegation,
    })
  })

  test.each([
    ['this agent, by our issuer', true, () => ({ iss: world.issuer, sub: 'research-bot' })],
    ['somebody of that name at their issuer', false, () => ({ sub: 'research-bot' })],
    [
      'this agent through a client of theirs',
      false,
      () => ({ ...ours('research-bot'), client_id: 'agent-app' }),
    ],
    ['another agent', false, () => ours('other-bot')],
  ])('where may_act names %s: %s', async (_, isGiven, mayAct) => {
    const answer = await exchange('agent-app', await theirs({ overrides: { may_act: mayAct() } }))
    if (isGiven) expect(answer).toHaveProperty('access_token')
    else expect(answer).toEqual(refused)
  })

  test('counts only while the account is still that person, and the issuer still trusted', async () => {
    const upstream = { iss: issuer.issuer, sub: 'carl' }
    const token = (sub: string, more: object = {}) => own({ client_id: 'cli', sub, upstream, ...more })
    expect(await asked(await token('staff/carl'))).toBe(200)
    for (const [sub, more] of [
      ['anne', {}],
      ['staff/anne', {}],
      ['staff/carl', { upstream: { iss: 'https://gone.test', sub: 'carl' } }],
      ['staff/carl', { upstream: { ...upstream, sub: 'Carl' } }],
    ] as const) {
      expect(await asked(await token(sub, more))).toBe('invalid_token')
      expect(why()).toEqual({ reason: 'account_changed' })
    }
    const account = { issuer: issuer.issuer, sub: 'carl', person: 'carol' }
    const recordedAs = { subject: 'user:carol', actors: [], client: 'tests', txn: 't' } as const
    await world.service.accountLinks.link(account, recordedAs)
    expect(await asked(await token('staff/carl'))).toBe('invalid_token')
    expect(await asked(await token('carol'))).toBe(200)
    await world.service.accountLinks.unlink(account, recordedAs)
    expect(await asked(await token('carol'))).toBe('invalid_token')
  })

  test.each([
    ['there', 'dora', 'user:staff/dora'],
    ['here', 'dina', 'user:dan'],
  ])('is over when the person is revoked by the name that they have %s', async (_, sub, key) => {
    const recordedAs = { subject: 'user:dan', actors: [], client: 'tests', txn: 't' } as const
    await world.service.accountLinks.link({ issuer: issuer.issuer, sub, person: 'dan' }, recordedAs)
    const tokens = [
      await issuer.token({ client_id: 'portal', sub }),
      await own({ client_id: 'cli', sub: 'dan', upstream: { iss: issuer.issuer, sub } }),
    ]
    await world.database.query(
      `insert into revocations (kind, key, reason, created_at) values ('subject', $1, 'tests', now())`,
      [key],
    )
    for (const token of tokens) {
      expect(await asked(token)).toBe('invalid_token')
      expect(why()).toEqual({ reason: 'revoked' })
    }
    await world.database.query('delete from revocations where key = $1', [key])
    for (const token of tokens) expect(await asked(token)).toBe(200)
  })
})

test('nobody falls back to a standing delegation but an issuer that may: not this one, never our own', async () => {
  await world.service.delegations.lend({
    subject: 'user:staff/anne',
    agent: 'research-bot',
    scope: ['collection:handbook'],
    purpose: 'tests',
    expiresAt: new Date(Date.now() + 3_600_000),
    standing: true,
  })
  const claims = { sub: 'staff/anne', client_id: 'agent-app', act: ours('research-bot') }
  for (const token of [await theirs({ act: ours('research-bot') }), await own(claims)]) {
    expect(await asked(token)).toBe('actor_unauthorized')
    expect(why()).toEqual({ reason: 'delegation_missing' })
  }
})
