import { type CryptoKey, exportJWK, generateKeyPair, SignJWT } from 'jose'
import * as client from 'openid-client'
import { afterAll, beforeAll, describe, expect, test } from 'vitest'
import { type IssuerWorld, openIssuerWorld } from '../delegation/issuer/world.ts'

// Every client with every token, at every endpoint that takes one. Who may do what is said here once more, in
// the words of the registry, and from nothing of the service.

const exchangeGrant = 'urn:ietf:params:oauth:grant-type:token-exchange'
const accessTokenType = 'urn:ietf:params:oauth:token-type:access_token'
const ledger = 'https://ledger.test'

interface Party {
  readonly id: string
  readonly kind: 'person' | 'agent' | 'service'
  readonly agent?: string
  readonly isPublic: boolean
}

const parties: readonly Party[] = [
  { id: 'agent-app', kind: 'agent', agent: 'research-bot', isPublic: false },
  { id: 'helper-app', kind: 'agent', agent: 'other-bot', isPublic: false },
  { id: 'ledger-app', kind: 'agent', agent: 'ledger-bot', isPublic: false },
  { id: 'public-agent', kind: 'agent', agent: 'research-bot', isPublic: true },
  { id: 'cli', kind: 'person', isPublic: true },
  { id: 'loader-app', kind: 'service', isPublic: false },
]

let world: IssuerWorld
let audiences: readonly string[]
let delegation: string
const configurations = new Map<string, client.Configuration>()

beforeAll(async () => {
  world = await openIssuerWorld()
  const { service, url, issuer } = world
  const pair = await generateKeyPair('ES256')
  await service.agents.save({
    id: 'ledger-bot',
    owner: 'user:dan',
    purpose: 'tests',
    issuer: service.ownIssuer,
    sub: 'ledger-bot',
  })
  await service.clients.register(
    { clientId: 'ledger-app', kind: 'agent', agent: 'ledger-bot' },
    {
      title: 'Ledger',
      redirectUris: [],
      jwks: { keys: [{ ...(await exportJWK(pair.publicKey)), kty: 'EC', kid: 'ledger', alg: 'ES256' }] },
    },
  )
  // An API of others, whose own client passes on what is addressed to it.
  await service.issuer.resources.save({
    resource: ledger,
    scopes: ['entries'],
    ownerClient: 'ledger-app',
  })
  const agents = ['research-bot', 'other-bot', 'ledger-bot']
  audiences = [url, `${url}/mcp`, ledger, ...agents.map((agent) => `${url}/agents/${agent}`)]
  const lent = await service.delegations.lend({
    subject: 'user:anne',
    agent: 'research-bot',
    subAgents: ['other-bot', 'ledger-bot'],
    scope: ['collection:handbook'],
    purpose: 'tests',
    expiresAt: new Date(Date.now() + 3_600_000),
  })
  delegation = lent.id
  const keys: Readonly<Record<string, { key: CryptoKey; kid: string }>> = {
    ...world.keys,
    'ledger-app': { key: pair.privateKey, kid: 'ledger' },
  }
  for (const { id, isPublic } of parties) {
    const known = isPublic ? undefined : keys[id]
    const auth = known === undefined ? client.None() : client.PrivateKeyJwt(known)
    const options = { execute: [client.allowInsecureRequests], algorithm: 'oauth2' as const }
    configurations.set(id, await client.discovery(new URL(issuer), id, undefined, auth, options))
  }
})
afterAll(() => world?.[Symbol.asyncDispose]())

/** A token as our issuer would have signed it for this client and this address. */
async function token({ id, kind, agent }: Party, audience: string): Promise<string> {
  const iat = Math.floor(Date.now() / 1_000)
  const { kid, privateKey } = world.service.keys.current()
  const act = { iss: world.issuer, sub: agent, sub_profile: 'ai_agent' }
  return new SignJWT({
    iss: world.issuer,
    sub: kind === 'service' ? id : 'anne',
    aud: audience,
    client_id: id,
    scope: 'docs.search',
    iat,
    exp: iat + 300,
    jti: crypto.randomUUID(),
    demo: true,
    ...(kind === 'agent' && { act, delegation }),
    ...(kind === 'service' && { sub_profile: 'service' }),
  })
    .setProtectedHeader({ alg: 'ES256', typ: 'at+jwt', kid })
    .sign(privateKey)
}

const as = ({ id }: Party): client.Configuration => {
  const config = configurations.get(id)
  if (config === undefined) throw new Error(`There is no ${id}.`)
  return config
}

async function errorOf(work: Promise<unknown>): Promise<string | undefined> {
  try {
    await work
    return undefined
  } catch (error) {
    if (error instanceof client.ResponseBodyError) return error.error
    throw error
  }
}

/** Whether the registry says that what is sent there is sent to this client. */
const isAddressee = ({ id, agent }: Party, audience: string): boolean =>
  audience === ledger
    ? id === 'ledger-app'
    : agent !== undefined && audience === `${world.url}/agents/${agent}`

describe.each(parties)('$id', (by) => {
  test('exchanges only what was issued to it or is addressed to it, and only as an agent that proves itself', async () => {
    for (const issuedTo of parties)
      for (const audience of audiences) {
        const subject = await token(issuedTo, audience)
        const error = await errorOf(
          client.genericGrantRequest(as(by), exchangeGrant, {
            subject_token: subject,
            subject_token_type: accessTokenType,
            resource: world.url,
          }),
        )
        const isAgent = by.kind === 'agent' && !by.isPublic
        const isPerson = issuedTo.kind === 'person'
        const isFor = (issuedTo.id === by.id || isAddressee(by, audience)) && issuedTo.kind !== 'service'
        // Anne lent to research-bot; the others get there only through it.
        const isLent = !isPerson || by.agent === 'research-bot'
        // What another's API was sent is never made into a token for ours.
        const given = isLent ? (audience === ledger ? 'invalid_target' : undefined) : 'actor_unauthorized'
        const expected = isAgent && isFor ? given : 'invalid_request'
        expect(error, `${by.id} shows a token of ${issuedTo.id} for ${audience}`).toBe(expected)
      }
  })

  test('is told about no other token, and ends no other', async () => {
    for (const issuedTo of parties)
      for (const audience of audiences) {
        const one = await token(issuedTo, audience)
        const label = `${by.id} asks about a token of ${issuedTo.id} for ${audience}`
        const mayKnow = issuedTo.id === by.id || (!by.isPublic && isAddressee(by, audience))
        expect((await client.tokenIntrospection(as(by), one)).active, label).toBe(mayKnow)
        await client.tokenRevocation(as(by), one)
        const owner = as(issuedTo)
        expect((await client.tokenIntrospection(owner, one)).active, label).toBe(issuedTo.id !== by.id)
      }
  })
})

test('a token for one address is let in at no other', async () => {
  for (const issuedTo of parties)
    for (const audience of audiences) {
      const one = await token(issuedTo, audience)
      const { status } = await world.call('POST', '/retrieve', { token: one, body: { query: 'x' } })
      if (audience === world.url) expect(status).not.toBe(401)
      else expect([issuedTo.id, audience, status]).toEqual([issuedTo.id, audience, 401])
    }
})
