import { decodeJwt, SignJWT } from 'jose'
import * as client from 'openid-client'
import { afterAll, beforeAll, describe, expect, test, vi } from 'vitest'
import { openKeyRing } from '../../../src/delegation/tokens/signing-key.ts'
import fc from '../../support/properties.ts'
import type { Browser, Page } from './browser.ts'
import { type IssuerWorld, openIssuerWorld } from './world.ts'

const grantType = 'urn:ietf:params:oauth:grant-type:token-exchange'
const accessToken = 'urn:ietf:params:oauth:token-type:access_token'
const broker = 'https://broker.test/api'
const order = { type: 'trade_order', symbol: 'ACME', side: 'buy', quantity: 10, limit: { amount: '12.50' } }
type Exchanger = 'agent-app' | 'helper-app'
type Answer = Readonly<Record<string, unknown>> & { readonly error?: string; readonly access_token?: string }

let world: IssuerWorld
let browser: Browser
let key: Awaited<ReturnType<Awaited<ReturnType<typeof openKeyRing>>['rotate']>>
let delegation: string
const configurations = new Map<string, client.Configuration>()

beforeAll(async () => {
  // Looked up at each call: a test sets it back.
  world = await openIssuerWorld({ now: () => Date.now() })
  browser = world.browser()
  await world.put({
    'handbook/travel': { text: 'Travel costs are refunded.', access: { viewers: ['user:anne'] } },
  })
  await world.service.issuer.resources.save({
    resource: broker,
    scopes: ['orders.place', 'orders.read'],
    authorizationDetailsTypes: ['trade_order'],
    allowedClients: ['agent-app', 'cli'],
    takesVerification: false,
  })
  key = (await openKeyRing(`${world.config.home}/keys`, { now: Date.now })).current()
  const lentDelegation = await world.service.delegations.lend({
    subject: 'user:anne',
    agent: 'research-bot',
    subAgents: ['other-bot'],
    scope: ['collection:handbook'],
    purpose: 'tests',
    expiresAt: new Date(Date.now() + 3_600_000),
  })
  delegation = lentDelegation.id
  for (const id of ['agent-app', 'helper-app', 'cli'] as const) {
    const clientKey = id === 'cli' ? undefined : world.keys[id]
    const auth =
      clientKey === undefined
        ? client.None()
        : client.PrivateKeyJwt({ key: clientKey.key, kid: clientKey.kid })
    const options = { execute: [client.allowInsecureRequests], algorithm: 'oauth2' as const }
    configurations.set(id, await client.discovery(new URL(world.issuer), id, undefined, auth, options))
  }
})
afterAll(() => world?.[Symbol.asyncDispose]())

const configuration = (id: string): client.Configuration => {
  const found = configurations.get(id)
  if (found === undefined) throw new Error(`There is no ${id}.`)
  return found
}
const addressed = (agent: string) => `${world.url}/agents/${agent}`

/** Up to the consent page, or wherever else the browser ends. */
async function ask(id: string, parameters: Record<string, string>) {
  const verifier = client.randomPKCECodeVerifier()
  const all = {
    redirect_uri: world.redirectUri,
    code_challenge: await client.calculatePKCECodeChallenge(verifier),
    code_challenge_method: 'S256',
    state: client.randomState(),
    ...parameters,
  }
  const first = await browser.open(client.buildAuthorizationUrl(configuration(id), all).href)
  const page = first.text.includes('name="password"')
    ? await browser.submit(first, '/sign-in', { user: 'anne', password: 'correct horse battery' })
    : first
  return { page, checks: { pkceCodeVerifier: verifier, expectedState: all.state } }
}

async function obtain(id: string, parameters: Record<string, string>) {
  const { page, checks } = await ask(id, parameters)
  const back = await browser.submit(page, '/consent', { seconds: '3600' })
  return client.authorizationCodeGrant(configuration(id), back.url, checks)
}

const refusedAs = ({ url }: Page) => url.searchParams.get('error')
const forBroker = (...details: readonly object[]) => ({
  resource: broker,
  scope: 'orders.place',
  authorization_details: JSON.stringify(details),
})

async function exchange(
  exchanger: Exchanger,
  subject: string,
  parameters: Record<string, string>,
): Promise<Answer> {
  const all = { subject_token: subject, subject_token_type: accessToken, ...parameters }
  try {
    return await client.genericGrantRequest(configuration(exchanger), grantType, all)
  } catch (error) {
    if (error instanceof client.ResponseBodyError) return { error: error.error }
    throw error
  }
}

/** A token that our own issuer could have signed. */
async function token(claims: Readonly<Record<string, unknown>>): Promise<string> {
  const iat = Math.floor(Date.now() / 1_000)
  const all = {
    iss: world.issuer,
    sub: 'anne',
    client_id: 'cli',
    scope: 'docs.search docs.read',
    iat,
    exp: iat + 300,
    jti: crypto.randomUUID(),
    demo: true,
    ...claims,
  }
  return new SignJWT(all)
    .setProtectedHeader({ alg: 'ES256', typ: 'at+jwt', kid: key.kid })
    .sign(key.privateKey)
}

const actor = (sub: string) => ({ iss: world.issuer, sub, sub_profile: 'ai_agent' })

describe('a token for another’s API', () => {
  test('holds exactly what the person was shown, and opens nothing here', async () => {
    const { page, checks } = await ask('agent-app', forBroker(order))
    for (const words of [
      'trade_order',
      'ACME',
      '10',
      '12.50',
      broker,
      'orders.place',
      'none of your documents',
    ])
      expect(page.text).toContain(words)
    expect(page.text).not.toContain('name="object"')
    const back = await browser.submit(page, '/consent', { seconds: '3600' })
    const tokens = await client.authorizationCodeGrant(configuration('agent-app'), back.url, checks)
    const claims = decodeJwt(tokens.access_token)
    expect(claims).toMatchObject({
      aud: broker,
      scope: 'orders.place',
      act: actor('research-bot'),
      authorization_details: [order],
    })
    const answer = await world.call('POST', '/retrieve', {
      token: tokens.access_token,
      body: { query: 'travel' },
    })
    expect(answer.status).toBe(401)
    const lentDelegation = await world.service.delegations.get(String(claims['delegation']))
    expect(lentDelegation).toMatchObject({ scope: [], resource: broker, details: [order], state: 'live' })
    // What was lent for it is not what the agent's next token for our own API rests on.
    expect((await world.service.delegations.current('user:anne', 'research-bot'))?.id).toBe(delegation)
  })

  test('is refreshed with the same details, and not any more once the API knows them no longer', async () => {
    const first = await obtain('agent-app', forBroker(order))
    const second = await client.refreshTokenGrant(configuration('agent-app'), first.refresh_token ?? '')
    expect(decodeJwt(second.access_token)['authorization_details']).toEqual([order])
    const { resources } = world.service.issuer
    const row = {
      resource: broker,
      scopes: ['orders.place', 'orders.read'],
      allowedClients: ['agent-app', 'cli'],
      takesVerification: false,
    }
    await resources.save(row)
    await expect(
      client.refreshTokenGrant(configuration('agent-app'), second.refresh_token ?? ''),
    ).rejects.toMatchObject({ error: 'invalid_grant' })
    await resources.save({ ...row, authorizationDetailsTypes: ['trade_order'] })
  })

  test('without a scope named is asked for with all of that API’s', async () => {
    const tokens = await obtain('agent-app', { resource: broker })
    expect(decodeJwt(tokens.access_token)).toMatchObject({ aud: broker, scope: 'orders.place orders.read' })
  })

  test('shows text of a client as text, and is not asked for with what could look like another', async () => {
    const sly = { ...order, note: '<b onmouseover="x">& approve</b>' }
    const { page } = await ask('agent-app', forBroker(sly))
    expect(page.text).toContain('&lt;b onmouseover=&quot;x&quot;&gt;&amp; approve&lt;/b&gt;')
    for (const wrong of [
      { ...order, symbol: 'AC\u202eEM' },
      { ...order, note: 'x'.repeat(3_000) },
      { ...order, a: { b: { c: { d: { e: { f: 1 } } } } } },
      { ...order, locations: ['https://elsewhere.test'] },
      { type: 'payment', amount: 1 },
      { type: 'document_access', collections: ['handbook'] },
    ])
      expect(refusedAs((await ask('agent-app', forBroker(wrong))).page), JSON.stringify(wrong)).toBe(
        'invalid_authorization_details',
      )
  })

  test('is asked for with a kind that another process registered, also once the clock was set back', async () => {
    const announced = async () =>
      (await (await fetch(`${world.issuer}/.well-known/openid-configuration`)).json()) as object
    const kinds = (kind: string) => ({
      authorization_details_types_supported: expect.arrayContaining([kind]),
    })
    expect(await announced()).toMatchObject(kinds('trade_order'))
    const resource = 'https://registered-elsewhere.test'
    try {
      vi.useFakeTimers({ toFake: ['Date'], now: Date.now() - 3_600_000 })
      await world.database.query(
        `insert into resources (resource, scopes, authorization_details_types)
         values ($1, '{orders.read}', '{late_order}')`,
        [resource],
      )
      await expect.poll(announced, { interval: 100 }).toMatchObject(kinds('late_order'))
    } finally {
      vi.useRealTimers()
      await world.service.issuer.resources.remove(resource)
    }
  })

  test('is not given to a client that its row does not name', async () => {
    const passedOn = await token({
      aud: addressed('other-bot'),
      client_id: 'agent-app',
      act: actor('research-bot'),
      delegation,
      authorization_details: [{ ...order, locations: [broker] }],
    })
    expect(await exchange('helper-app', passedOn, { resource: broker })).toEqual({ error: 'invalid_target' })
    expect(await exchange('helper-app', passedOn, { resource: world.url })).toHaveProperty('access_token')
  })
})

describe('an exchange of details of others', () => {
  const cheap = { ...order, quantity: 1 }

  test('keeps them, or those of them that are asked for, and nothing else', async () => {
    const { access_token: heldToken } = await obtain('agent-app', forBroker(order, cheap))
    const same = await exchange('agent-app', heldToken, { resource: broker })
    expect(same['authorization_details']).toEqual([order, cheap])
    const reordered = Object.fromEntries(Object.entries(cheap).reverse())
    const one = await exchange('agent-app', heldToken, forBroker(reordered))
    expect(decodeJwt(one.access_token ?? '')['authorization_details']).toEqual([cheap])
    const more = [{ ...order, quantity: 11 }, { ...order, quantity: 9 }, { type: 'trade_order' }]
    for (const wider of more)
      expect(await exchange('agent-app', heldToken, forBroker(wider))).toEqual({
        error: 'invalid_authorization_details',
      })
    expect(
      await exchange('agent-app', heldToken, { ...forBroker(), authorization_details: '[]' }),
    ).toMatchObject({
      authorization_details: [order, cheap],
    })
  })

  test('takes them from a token addressed to the agent to the one API that they name, and no other', async () => {
    const located = { ...order, locations: [broker] }
    const { access_token: heldToken } = await obtain('cli', {
      resource: addressed('research-bot'),
      scope: 'docs.search',
      authorization_details: JSON.stringify([located]),
    })
    const answer = await exchange('agent-app', heldToken, { resource: broker })
    expect(decodeJwt(answer.access_token ?? '')).toMatchObject({
      aud: broker,
      scope: '',
      act: actor('research-bot'),
      authorization_details: [located],
    })
    const ours = await exchange('agent-app', heldToken, { resource: world.url })
    expect(decodeJwt(ours.access_token ?? '')).not.toHaveProperty('authorization_details')
    await world.service.issuer.resources.save({
      resource: 'https://second.test',
      scopes: ['read'],
      authorizationDetailsTypes: ['trade_order'],
      allowedClients: ['agent-app'],
    })
    expect(await exchange('agent-app', heldToken, { resource: 'https://second.test' })).toEqual({
      error: 'invalid_authorization_details',
    })
    const unnamed = { resource: addressed('research-bot'), scope: 'docs.search' }
    const { page } = await ask('cli', { ...unnamed, authorization_details: JSON.stringify([order]) })
    expect(refusedAs(page)).toBe('invalid_authorization_details')
  })

  test('never gives a detail that was not granted, whatever is asked for', { timeout: 60_000 }, async () => {
    const detail = fc.record({
      type: fc.constant('trade_order'),
      symbol: fc.constantFrom('A', 'B'),
      quantity: fc.integer({ min: 1, max: 3 }),
      tags: fc.subarray(['x', 'y']),
    })
    await fc.assert(
      fc.asyncProperty(
        fc.uniqueArray(detail, { minLength: 1, maxLength: 4, selector: (one) => JSON.stringify(one) }),
        fc.array(detail, { minLength: 1, maxLength: 3 }),
        async (heldToken, wanted) => {
          const subject = await token({
            aud: broker,
            client_id: 'agent-app',
            act: actor('research-bot'),
            delegation,
            scope: 'orders.place',
            authorization_details: heldToken,
          })
          const answer = await exchange('agent-app', subject, forBroker(...wanted))
          const isIn = (one: object) =>
            heldToken.some((other) => JSON.stringify(other) === JSON.stringify(one))
          expect('access_token' in answer).toBe(wanted.every(isIn))
          const given = (answer['authorization_details'] ?? []) as object[]
          expect(given.every(isIn)).toBe(true)
        },
      ),
      { numRuns: 40 },
    )
  })
})

describe('between two APIs nothing passes', () => {
  // Each client owns one API. `shared` names nobody: everybody may ask people for it, nobody gets there by
  // exchange. All have one word, which passes only where the target says as what.
  const apis = {
    'https://one.test': {
      owner: 'agent-app',
      allowed: ['agent-app', 'helper-app'],
      accepts: { 'https://shared.test': { read: 'look' } },
    },
    'https://two.test': {
      owner: 'helper-app',
      allowed: ['helper-app'],
      accepts: { 'https://one.test': { read: 'read' } },
    },
    'https://shared.test': { owner: 'agent-app', allowed: undefined, accepts: {} },
  } as const
  const agents = { 'agent-app': 'research-bot', 'helper-app': 'other-bot' } as const

  beforeAll(async () => {
    for (const [resource, { owner, allowed, accepts }] of Object.entries(apis))
      await world.service.issuer.resources.save({
        resource,
        scopes: ['read', 'look'],
        accepts,
        ownerClient: owner,
        ...(allowed && { allowedClients: allowed }),
      })
  })

  test('unless the target’s row names the client, and never from another’s API into ours: all pairs', async () => {
    const others = Object.keys(apis)
    const own = () => [world.url, `${world.url}/mcp`, ...Object.values(agents).map(addressed)]
    const seen = { given: 0, refused: 0 }
    for (const exchanger of ['agent-app', 'helper-app'] as const) {
      for (const from of [...others, ...own()]) {
        for (const to of [...others, ...own()]) {
          for (const issuedTo of ['agent-app', 'helper-app'] as const) {
            const subject = await token({
              aud: from,
              client_id: issuedTo,
              act: actor(agents[issuedTo]),
              delegation,
              scope: 'docs.search read',
            })
            const { owner = undefined } = from in apis ? apis[from as keyof typeof apis] : {}
            const mayShow =
              issuedTo === exchanger || owner === exchanger || from === addressed(agents[exchanger])
            const named: readonly string[] = to in apis ? (apis[to as keyof typeof apis].allowed ?? []) : []
            const mayHave = to === 'https://shared.test' || !(to in apis) || named.includes(exchanger)
            const mayPass = from === to || (to in apis ? named.includes(exchanger) : !(from in apis))
            const answer = await exchange(exchanger, subject, { resource: to })
            const label = `${exchanger} shows a token of ${issuedTo} for ${from}, wants ${to}`
            const accepted: Readonly<Record<string, Readonly<Record<string, string>>>> =
              to in apis ? apis[to as keyof typeof apis].accepts : {}
            const as = from === to || !(to in apis) ? 'its own' : accepted[from]?.['read']
            const isGiven = mayShow && mayHave && mayPass && as !== undefined
            expect('access_token' in answer, `${label}: ${JSON.stringify(answer)}`).toBe(isGiven)
            const refused = mayHave && mayPass ? 'invalid_scope' : 'invalid_target'
            if (!isGiven) expect(answer.error, label).toBe(mayShow ? refused : 'invalid_request')
            else if (as !== 'its own') expect(answer['scope'], label).toBe(as)
            seen[isGiven ? 'given' : 'refused'] += 1
          }
        }
      }
    }
    expect(seen.given).toBeGreaterThan(20)
    expect(seen.refused).toBeGreaterThan(100)
  }, 60_000)

  test('by a scope of ours: no other API can have one, and a row that has is not used', async () => {
    const { issuer } = world.service
    const row = { resource: 'https://old.test', scopes: ['read'], allowedClients: ['agent-app'] }
    for (const scope of ['docs.read', 'vault.use', 'security.write', 'docs.write', 'openid'])
      await expect(issuer.resources.save({ ...row, scopes: ['read', scope] })).rejects.toMatchObject({
        field: 'scopes.1',
      })
    await issuer.resources.save(row)
    const subject = await token({
      aud: world.url,
      client_id: 'agent-app',
      act: actor('research-bot'),
      delegation,
      scope: 'docs.search docs.read',
    })
    expect(await exchange('agent-app', subject, { resource: row.resource })).toEqual({
      error: 'invalid_scope',
    })
    // As it could be registered before.
    await world.database.query(`update resources set scopes = '{docs.read}' where resource = $1`, [
      row.resource,
    ])
    expect(await exchange('agent-app', subject, { resource: row.resource })).toEqual({
      error: 'invalid_target',
    })
    expect(refusedAs((await ask('agent-app', { resource: row.resource })).page)).toBe('invalid_target')
    expect((await issuer.resources.unusable()).map(({ resource }) => resource)).toEqual([row.resource])
    await issuer.resources.remove(row.resource)
  })

  test('and start says which rows those are', async () => {
    let row: Promise<unknown> | undefined
    await using old = await openIssuerWorld({
      database: (real) => ({
        ...real,
        async query(text, values) {
          row ??= real.query(
            `insert into resources (resource, scopes, authorization_details_types)
             values ('https://old.test', '{docs.read}', '{}')`,
          )
          await row
          return real.query(text, values)
        },
      }),
    })
    expect(old.logged).toContainEqual({
      event: 'resource_unusable',
      fields: { resource: 'https://old.test', scopes: ['docs.read'] },
    })
  })

  test.each([
    ['from Remit', () => ({ [world.url]: { 'docs.search': 'read' } })],
    ['from itself', () => ({ 'https://third.test': { look: 'read' } })],
    ['as what it does not have', () => ({ 'https://one.test': { read: 'write' } })],
    ['from what is no address', () => ({ one: { read: 'read' } })],
  ])('and no row takes a scope %s', async (_, accepts) => {
    const row = { resource: 'https://third.test', scopes: ['read'], accepts: accepts() }
    await expect(world.service.issuer.resources.save(row)).rejects.toMatchObject({ field: 'accepts' })
  })

  test('by what was lent for one of them', async () => {
    const { id } = await world.service.delegations.lend({
      subject: 'user:anne',
      agent: 'research-bot',
      scope: [],
      resource: 'https://two.test',
      purpose: 'tests',
      expiresAt: new Date(Date.now() + 3_600_000),
    })
    const subject = await token({
      aud: addressed('research-bot'),
      client_id: 'agent-app',
      act: actor('research-bot'),
      delegation: id,
    })
    for (const resource of [world.url, 'https://one.test'])
      expect(await exchange('agent-app', subject, { resource })).toEqual({ error: 'invalid_target' })
  })
})

test('an agent whose limits hold no scope of an API gets no token for it by details, however it asks', async () => {
  const { agents } = world.service
  const found = await agents.get('research-bot')
  if (found === undefined) throw new Error('There is no research-bot.')
  const { jwks: _, ...agent } = found
  const limitTo = async (...scopes: readonly string[]) => {
    const { limits, ...same } = agent
    await agents.save({ ...same, limits: { ...limits, scopes } })
  }
  const { access_token: heldToken } = await obtain('cli', {
    resource: addressed('research-bot'),
    scope: 'docs.search',
    authorization_details: JSON.stringify([{ ...order, locations: [broker] }]),
  })
  const exchanged = () => exchange('agent-app', heldToken, { resource: broker })
  const direct = { resource: broker, scope: 'docs.search', authorization_details: JSON.stringify([order]) }
  const before = await obtain('agent-app', forBroker(order))
  await limitTo('docs.search')
  expect(await exchanged()).toEqual({ error: 'invalid_scope' })
  for (const asked of [forBroker(order), direct])
    expect(refusedAs((await ask('agent-app', asked)).page)).toBe('invalid_scope')
  await expect(
    client.refreshTokenGrant(configuration('agent-app'), before.refresh_token ?? ''),
  ).rejects.toMatchObject({ error: 'invalid_scope' })
  await limitTo('docs.search', 'orders.read')
  expect(await exchanged()).toHaveProperty('access_token')
  await agents.save(agent)
})
