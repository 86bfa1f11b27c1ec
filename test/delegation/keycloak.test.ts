import { decodeJwt, decodeProtectedHeader } from 'jose'
import { afterAll, beforeAll, describe, expect, test } from 'vitest'
import { openRealm, type Realm, type RealmClient } from '../support/keycloak.ts'
import { needsKeycloak } from '../support/native.ts'
import { accessTokenType, createExchanger } from './issuer/exchanging.ts'
import { type IssuerWorld, openIssuerWorld } from './issuer/world.ts'

// Real tokens of a live Keycloak at the whole service, whose settings trust the realm.

const audiences = { api: 'https://remit.test/api', mcp: 'https://remit.test/mcp' }
const anne = { name: 'anne', password: 'of the realm' }
const bob = { name: 'bob', password: 'of the realm too' }
const portal: RealmClient = { id: 'portal', audience: audiences.api }
const modern: RealmClient = { id: 'modern', audience: audiences.api, rfc9068: true }
const elsewhere: RealmClient = { id: 'elsewhere', audience: 'https://other.test' }
const mcp: RealmClient = { id: 'mcp-portal', audience: audiences.mcp }
const secret = 'a secret of the test'
/** An agent's program, known here as `agent-app`. */
const assistant: RealmClient = { id: 'assistant', audience: audiences.api, secret, exchanges: true }
/** Named like a client of ours, which it is not. */
const namesake: RealmClient = { ...assistant, id: 'agent-app' }
const loader: RealmClient = { id: 'loader', audience: audiences.api, secret, serviceAccount: true }
const robot: RealmClient = { ...loader, id: 'robot' }

describe('a live Keycloak', needsKeycloak, () => {
  let realm: Realm
  let stranger: Realm
  let world: IssuerWorld
  let exchange: ReturnType<typeof createExchanger>
  let anneSub: string
  let moved = 0

  beforeAll(async () => {
    realm = await openRealm({
      clients: [portal, modern, elsewhere, mcp, assistant, namesake, loader, robot],
      scopes: ['docs.search', 'docs.read', 'docs.write'],
    })
    stranger = await openRealm({ clients: [portal] })
    anneSub = await realm.addUser(anne)
    await realm.addUser(bob)
    await stranger.addUser(anne)
    const entry = {
      issuer: realm.issuer,
      audiences,
      namespace: 'staff',
      preset: 'keycloak',
      person_clients: ['portal', 'modern', 'elsewhere', 'mcp-portal', 'robot', 'handing', 'admin-acts'],
      service_clients: { loader: 'loader' },
      exchange_clients: { assistant: 'agent-app' },
      scopes_allowed: ['docs.search', 'docs.read', 'docs.write'],
      standing: true,
    }
    world = await openIssuerWorld({
      env: { REMIT_DEMO: 'false', TRUSTED_ISSUERS: JSON.stringify([entry]) },
      now: () => Date.now() + moved,
    })
    exchange = createExchanger(world)
    await world.put({
      'handbook/travel': {
        text: 'Travel costs are refunded.',
        access: { viewers: [`user:staff/${anneSub}`, 'user:anne'] },
      },
      'finance/budget': {
        collection: 'finance',
        text: 'The budget of travel.',
        access: { owner: 'user:anne' },
      },
    })
  }, 120_000)
  afterAll(async () => {
    await world?.[Symbol.asyncDispose]()
    await realm?.[Symbol.asyncDispose]()
    await stranger?.[Symbol.asyncDispose]()
  })

  const asked = async (token: string | undefined): Promise<string> => {
    const response = await world.call('POST', '/retrieve', { token: token ?? '', body: { query: 'travel' } })
    const body = (await response.json()) as { code?: string; results?: { document_id: string }[] }
    return body.code ?? (body.results ?? []).map(({ document_id }) => document_id).join(' ')
  }
  const why = () => world.logged.findLast(({ event }) => event === 'token_refused')?.fields
  const accessToken = async (client: RealmClient, user = anne, scope?: string) =>
    (await realm.signIn(client, user, scope)).access_token

  test('is understood: a person reads what is theirs, by either kind of header', async () => {
    const plain = await accessToken(portal)
    expect(decodeProtectedHeader(plain)['typ']).toBe('JWT')
    expect(await asked(plain)).toBe('handbook/travel')
    const named = await accessToken(modern)
    expect(decodeProtectedHeader(named)['typ']).toBe('at+jwt')
    expect(await asked(named)).toBe('handbook/travel')
    expect(await asked(await accessToken(portal, bob))).toBe('')
  })

  test('gives no more than it was asked for', async () => {
    expect(await asked(await accessToken(portal, anne, 'openid docs.read'))).toBe('insufficient_scope')
    expect(await asked(await accessToken(portal, anne, 'openid'))).toBe('insufficient_scope')
  })

  test('has ID and refresh tokens, which pass for nothing, not even for an exchange', async () => {
    for (const client of [portal, modern, assistant]) {
      const { id_token, refresh_token } = await realm.signIn(client, anne)
      expect(await asked(id_token)).toBe('invalid_token')
      expect(why()).toEqual({ reason: 'wrong_type' })
      expect(await asked(refresh_token)).toBe('invalid_token')
      expect(why()).toEqual({ reason: 'wrong_algorithm' })
      for (const subject of [id_token, refresh_token]) {
        expect(await exchange('agent-app', subject ?? '')).toEqual({ error: 'invalid_request' })
        const subject_token_type = 'urn:ietf:params:oauth:token-type:id_token'
        expect(await exchange('agent-app', subject ?? '', { subject_token_type })).toEqual({
          error: 'invalid_request',
        })
      }
    }
  })

  test('and an ID token that a mapper addresses to us is still none', async () => {
    const bent: RealmClient = { ...portal, id: audiences.api }
    await realm.addClient(bent)
    const { id_token = '' } = await realm.signIn(bent, anne)
    expect(decodeJwt(id_token).aud).toBe(audiences.api)
    expect(await asked(id_token)).toBe('invalid_token')
    expect(why()).toEqual({ reason: 'wrong_type' })
  })

  test('has other realms, which are not trusted', async () => {
    expect(await asked((await stranger.signIn(portal, anne)).access_token)).toBe('invalid_token')
    expect(why()).toEqual({ reason: 'unknown_issuer' })
  })

  test('gives tokens for other APIs and for MCP, which are not ours here', async () => {
    for (const client of [elsewhere, mcp]) {
      expect(await asked(await accessToken(client))).toBe('invalid_token')
      expect(why()).toEqual({ reason: 'wrong_audience' })
    }
  })

  test('gives programs tokens of their own: a registered service writes, and none is a person', async () => {
    const scope = 'docs.write docs.search'
    const service = await realm.grant(loader, { grant_type: 'client_credentials', scope })
    const put = { collection: 'handbook', title: 'New', text: 'New.' }
    const wrote = await world.call('PUT', '/documents/handbook%2Fnew', {
      token: service.access_token,
      body: put,
    })
    expect(wrote.status).toBe(202)
    expect(await asked(service.access_token)).toBe('forbidden')
    // Even where the settings call its client a person's.
    const program = await realm.grant(robot, { grant_type: 'client_credentials', scope })
    expect(await asked(program.access_token)).toBe('actor_unauthorized')
    expect(why()).toEqual({ reason: 'not_a_person' })
  })

  test('exchanges tokens itself: the new one is the person’s by its new client only', async () => {
    const front: RealmClient = { id: 'front', audience: 'assistant' }
    await realm.addClient(front)
    const exchanged = await realm.grant(assistant, {
      grant_type: 'urn:ietf:params:oauth:grant-type:token-exchange',
      subject_token: await accessToken(front),
      subject_token_type: accessTokenType,
      scope: 'docs.search docs.read',
    })
    expect(decodeJwt(exchanged.access_token)).toMatchObject({ azp: 'assistant', sub: anneSub })
    // Its client is no person's, and nothing says who acts.
    expect(await asked(exchanged.access_token)).toBe('actor_unauthorized')
    expect(why()).toEqual({ reason: 'actor_missing' })
  })

  describe('whose token is exchanged at our token endpoint', () => {
    test('gives the agent one of ours, for that person, within what they lent, with who they are there', async () => {
      const subject = await accessToken(assistant)
      expect(await asked(subject)).toBe('actor_unauthorized')
      expect(await exchange('agent-app', subject)).toEqual({ error: 'actor_unauthorized' })
      const delegation = await world.lend(`staff/${anneSub}`, 'research-bot', 'collection:handbook')
      const answer = await exchange('agent-app', subject)
      expect(answer).not.toHaveProperty('refresh_token')
      const claims = decodeJwt(answer.access_token ?? '')
      expect(claims).toMatchObject({
        iss: world.issuer,
        sub: `staff/${anneSub}`,
        aud: world.url,
        client_id: 'agent-app',
        act: { iss: world.issuer, sub: 'research-bot' },
        delegation,
        scope: 'docs.search docs.read',
        upstream: { iss: realm.issuer, sub: anneSub, jti: decodeJwt(subject).jti },
      })
      expect(claims).not.toHaveProperty('grant_id')
      expect(claims.exp).toBeLessThanOrEqual(decodeJwt(subject).exp ?? 0)
      expect(await asked(answer.access_token)).toBe('handbook/travel')
      // Through the next exchange, too.
      const again = await exchange('agent-app', answer.access_token ?? '')
      expect(decodeJwt(again.access_token ?? '')['upstream']).toEqual(claims['upstream'])
      const [record] = await world.database.query(
        `select subject, actors, detail from decision_records where event = 'token_exchanged' order by record_no limit 1`,
      )
      expect(record).toMatchObject({
        subject: `user:staff/${anneSub}`,
        actors: ['agent:research-bot'],
        detail: { from_issuer: realm.issuer, from_jti: decodeJwt(subject).jti },
      })
    })

    test('gives nobody else one: not another client of ours, not for another’s client of our name', async () => {
      await world.lend(`staff/${anneSub}`, 'other-bot', 'collection:handbook')
      expect(await exchange('helper-app', await accessToken(assistant))).toEqual({ error: 'invalid_request' })
      expect(await exchange('agent-app', await accessToken(namesake))).toEqual({ error: 'invalid_request' })
      // A person's own token is good at our API, and that is all that it is good for.
      expect(await exchange('agent-app', await accessToken(portal))).toEqual({ error: 'invalid_request' })
    })

    test('gives the agent one to which the realm addressed it', async () => {
      const to = (id: string, agent: string): RealmClient => ({
        id,
        audience: `${world.url}/agents/${agent}`,
      })
      const handing = to('handing', 'research-bot')
      await realm.addClient(handing)
      const subject = await accessToken(handing)
      expect(await exchange('helper-app', subject)).toEqual({ error: 'invalid_request' })
      const answer = await exchange('agent-app', subject)
      expect(await asked(answer.access_token)).toBe('handbook/travel')
      expect(await asked(subject)).toBe('invalid_token')
    })

    test('ends what came of it when that token is revoked here, and only as that issuer’s', async () => {
      const subject = await accessToken(assistant)
      const issued = await exchange('agent-app', subject)
      const revoke = (issuer: string) =>
        world.database.query(
          `insert into revocations (kind, key, reason, created_at) values ('jti', $1, 'tests', now())`,
          [`${issuer} ${decodeJwt(subject).jti}`],
        )
      await revoke(world.issuer)
      expect(await asked(issued.access_token)).toBe('handbook/travel')
      await revoke(realm.issuer)
      expect(await asked(issued.access_token)).toBe('invalid_token')
      expect(why()).toEqual({ reason: 'revoked' })
      expect(await exchange('agent-app', subject)).toEqual({ error: 'invalid_request' })
    })
  })

  test('has an account that is linked to a local one: one person by every door, until the link ends', async () => {
    const account = { issuer: realm.issuer, sub: anneSub, person: 'anne' }
    const recordedAs = { subject: 'user:anne', actors: [], client: 'tests', txn: 't' } as const
    const before = await exchange('agent-app', await accessToken(assistant))
    await world.service.accountLinks.link(account, recordedAs)
    const direct = await accessToken(portal)
    expect((await asked(direct)).split(' ').sort()).toEqual(['finance/budget', 'handbook/travel'])
    // What was given to the account before it was Anne's is over; what it lent was lent by somebody else.
    expect(await asked(before.access_token)).toBe('invalid_token')
    expect(why()).toEqual({ reason: 'account_changed' })
    expect(await exchange('agent-app', await accessToken(assistant))).toEqual({ error: 'actor_unauthorized' })
    await world.lend('anne', 'research-bot', 'collection:finance')
    const issued = await exchange('agent-app', await accessToken(assistant))
    expect(decodeJwt(issued.access_token ?? '')).toMatchObject({
      sub: 'anne',
      upstream: { iss: realm.issuer, sub: anneSub },
    })
    expect(await asked(issued.access_token)).toBe('finance/budget')
    await world.service.accountLinks.unlink(account, recordedAs)
    expect(await asked(issued.access_token)).toBe('invalid_token')
    expect(await asked(direct)).toBe('handbook/travel')
  })

  test('names an actor: the registered agent of that issuer, under the person’s one standing delegation', async () => {
    const { agents, delegations } = world.service
    const botSub = 'service-account-of-the-bot'
    await agents.save({
      id: 'realm-bot',
      owner: 'user:dan',
      purpose: 'tests',
      issuer: realm.issuer,
      sub: botSub,
    })
    const acting = { ...portal, id: 'acting', claims: { act: { sub: botSub } } }
    await realm.addClient(acting)
    expect(await asked(await accessToken(acting))).toBe('actor_unauthorized')
    expect(why()).toEqual({ reason: 'delegation_missing' })
    const lentDelegation = await delegations.lend({
      subject: `user:staff/${anneSub}`,
      agent: 'realm-bot',
      scope: ['collection:handbook'],
      purpose: 'tests',
      expiresAt: new Date(Date.now() + 3_600_000),
      standing: true,
    })
    expect(await asked(await accessToken(acting))).toBe('handbook/travel')
    // It names its actor without an issuer: we know whom it means, and write it into no token of ours.
    expect(await exchange('agent-app', await accessToken(acting))).toEqual({ error: 'invalid_request' })
    await delegations.revoke(lentDelegation.id)
    expect(await asked(await accessToken(acting))).toBe('actor_unauthorized')
    const impersonated = {
      ...acting,
      id: 'admin-acts',
      claims: { act: { sub: 'the-administrators-user-id' } },
    }
    await realm.addClient(impersonated)
    expect(await asked(await accessToken(impersonated))).toBe('actor_unauthorized')
    expect(why()).toEqual({ reason: 'unknown_actor' })
  })

  test('signs with a new key, which is picked up within half a minute', async () => {
    const old = decodeProtectedHeader(await accessToken(portal)).kid
    await realm.rotateKey()
    const token = await accessToken(portal)
    expect(decodeProtectedHeader(token).kid).not.toBe(old)
    moved += 31_000
    expect(await asked(token)).toBe('handbook/travel')
  })
})
