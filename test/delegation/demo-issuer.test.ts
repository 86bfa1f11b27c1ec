import { randomBytes } from 'node:crypto'
import { stat } from 'node:fs/promises'
import { join } from 'node:path'
import { decodeJwt } from 'jose'
import { afterAll, beforeAll, describe, expect, test } from 'vitest'
import { createAdministrators } from '../../src/delegation/administrators.ts'
import { type Agents, createAgents } from '../../src/delegation/agents.ts'
import { createClients } from '../../src/delegation/clients.ts'
import { createDelegations, type Delegations } from '../../src/delegation/delegations.ts'
import { createDemoIssuer, type DemoIssuer } from '../../src/delegation/demo-issuer.ts'
import { createProofs } from '../../src/delegation/dpop.ts'
import { ownIssuer } from '../../src/delegation/issuers.ts'
import { createPeople } from '../../src/delegation/people.ts'
import { createServices } from '../../src/delegation/services.ts'
import { openKeyRing } from '../../src/delegation/signing-key.ts'
import { createVerifier, type Verifier } from '../../src/delegation/verify.ts'
import { type MovableClock, movableClock, openMigrated, own, publicUrl } from './world.ts'
import { openFga } from './world-fga.ts'

let database: Awaited<ReturnType<typeof openMigrated>>
let clock: MovableClock
let agents: Agents
let delegations: Delegations
let issuer: DemoIssuer
let verifier: Verifier

beforeAll(async () => {
  database = await openMigrated()
  clock = movableClock()
  const fga = await openFga(database, clock)
  agents = createAgents({ sql: database, clock })
  const people = createPeople({ sql: database })
  const services = createServices({ sql: database, fga })
  const administrators = createAdministrators({ sql: database })
  delegations = createDelegations({ database, fga, clock, randomBytes })
  for (const key of ['anne', 'bob']) await people.save({ key, name: key })
  for (const id of ['research-bot', 'off-bot'])
    await agents.save({ id, owner: 'user:anne', purpose: 'tests', issuer: own, sub: id })
  await agents.disable('off-bot')
  await database.query(`insert into collections (id, title) values ('handbook', 'Handbook')`)
  await services.save({ name: 'loader', collections: ['handbook'], prefixes: [] })
  await administrators.add('user:bob', ['security.read'])
  await delegations.lend({
    subject: 'user:anne',
    agent: 'research-bot',
    scope: ['collection:handbook'],
    purpose: 'tests',
    expiresAt: new Date(clock.now() + 86_400_000),
    id: 'd_anne',
  })
  const keys = await openKeyRing(join(database.folder, 'keys'), clock)
  issuer = createDemoIssuer({
    publicUrl,
    keys,
    people,
    agents,
    services,
    administrators,
    delegations,
    clock,
    randomBytes,
    clients: createClients({ sql: database }),
  })
  verifier = createVerifier({
    issuers: [ownIssuer({ publicUrl, keys: keys.find })],
    sql: database,
    clock,
    demo: true,
    newTxn: () => 'unused',
    proofs: createProofs({ sql: database, clock, secret: randomBytes(32) }),
  })
})
afterAll(() => database.close())

async function principal(request: Parameters<DemoIssuer['mint']>[0], resource: 'api' | 'mcp' = 'api') {
  const result = await verifier.verify(await issuer.mint(request), resource)
  return result.ok ? result.value : result.reason
}

describe('a token of the demo', () => {
  test('for a person is theirs, with an administrator’s roles only where they have them', async () => {
    expect(await principal({ user: 'anne' })).toMatchObject({
      kind: 'person',
      subject: 'user:anne',
      actors: [],
      scopes: new Set(['docs.search', 'docs.read']),
    })
    expect(await principal({ user: 'bob' })).toMatchObject({
      scopes: new Set(['docs.search', 'docs.read', 'security.read']),
    })
  })

  test('for an agent carries the chain and the live delegation', async () => {
    expect(await principal({ user: 'anne', agent: 'research-bot' })).toMatchObject({
      kind: 'agent',
      subject: 'user:anne',
      actors: ['agent:research-bot'],
      delegation: 'd_anne',
      client: 'demo-agent-research-bot',
    })
  })

  test('for a service may write and nothing else', async () => {
    expect(await principal({ service: 'loader' })).toMatchObject({
      kind: 'service',
      subject: 'service:loader',
      scopes: new Set(['docs.write', 'directory.write']),
    })
  })

  test('says that it is the demo’s, lives 300 s and is good for one resource', async () => {
    const claims = decodeJwt(await issuer.mint({ user: 'anne', resource: 'mcp' }))
    expect(claims).toMatchObject({ iss: own, aud: `${publicUrl}/mcp`, demo: true, client_id: 'demo-person' })
    expect((claims.exp ?? 0) - (claims.iat ?? 0)).toBe(300)
    expect(await principal({ user: 'anne', resource: 'mcp' }, 'api')).toBe('wrong_audience')
    expect(await principal({ user: 'anne', resource: 'mcp' }, 'mcp')).toMatchObject({ kind: 'person' })
  })

  test('holds only the scopes asked for', async () => {
    expect(await principal({ user: 'anne', agent: 'research-bot', scopes: ['docs.search'] })).toMatchObject({
      scopes: new Set(['docs.search']),
    })
  })

  test('is refused once the delegation is revoked', async () => {
    const end = new Date(clock.now() + 1_000_000)
    const { id } = await delegations.lend({
      subject: 'user:bob',
      agent: 'research-bot',
      scope: ['collection:handbook'],
      purpose: 'tests',
      expiresAt: end,
    })
    const token = await issuer.mint({ user: 'bob', agent: 'research-bot' })
    expect((await verifier.verify(token, 'api')).ok).toBe(true)
    await delegations.revoke(id)
    expect(await verifier.verify(token, 'api')).toMatchObject({ ok: false, reason: 'delegation_not_live' })
  })
})

describe('no token is minted for', () => {
  test.each<[string, Parameters<DemoIssuer['mint']>[0], string, string]>([
    ['an unknown person', { user: 'mallory' }, 'user', 'anne, bob'],
    ['an unknown agent', { user: 'anne', agent: 'stranger' }, 'agent', 'no agent stranger'],
    ['a disabled agent', { user: 'anne', agent: 'off-bot' }, 'agent', 'disabled'],
    ['an agent that was lent nothing', { user: 'bob', agent: 'research-bot' }, 'agent', 'lent nothing'],
    ['an unknown service', { service: 'stranger' }, 'service', 'no service stranger'],
    ['a scope that the bearer may not hold', { user: 'anne', scopes: ['docs.write'] }, 'scope', 'docs.write'],
    [
      'an administrator’s scope without the role',
      { user: 'anne', scopes: ['security.read'] },
      'scope',
      'security.read',
    ],
  ])('%s', async (_, request, field, says) => {
    await expect(issuer.mint(request)).rejects.toMatchObject({
      code: 'invalid_request',
      field,
      public: expect.stringContaining(says),
    })
  })
})

test('the key is kept over restarts, in a file that only its owner can read', async () => {
  const folder = join(database.folder, 'more-keys')
  const [first, second] = await Promise.all([openKeyRing(folder, clock), openKeyRing(folder, clock)])
  expect(second.current().kid).toBe(first.current().kid)
  expect((await stat(folder)).mode & 0o777).toBe(0o700)
  expect((await stat(join(folder, 'issuer-es256.json'))).mode & 0o777).toBe(0o600)
  expect(Object.keys(first.jwks().keys[0] ?? {}).sort()).toEqual([
    'alg',
    'crv',
    'kid',
    'kty',
    'use',
    'x',
    'y',
  ])
})

test('roles add up and only users can have them', async () => {
  const administrators = createAdministrators({ sql: database })
  await administrators.add('user:ida', ['security.write'])
  expect(await administrators.add('user:ida', ['agents.write', 'security.write'])).toEqual([
    'agents.write',
    'security.write',
  ])
  expect(await administrators.has('user:ida', 'security.read')).toBe(false)
  await expect(administrators.add('group:eng', ['security.read'])).rejects.toMatchObject({
    code: 'invalid_request',
  })
})
