import { randomBytes, randomUUID } from 'node:crypto'
import { join } from 'node:path'
import { SignJWT } from 'jose'
import { afterAll, afterEach, beforeAll, beforeEach, describe, expect, test } from 'vitest'
import { questionFor } from '../../src/authz/gate.ts'
import { createAgents } from '../../src/delegation/registry/agents.ts'
import { createClients } from '../../src/delegation/registry/clients.ts'
import { openRevocationFeed, type RevocationFeed } from '../../src/delegation/revocation/revocation-feed.ts'
import { createRevocations, type RevocationTarget } from '../../src/delegation/revocation/revocations.ts'
import { createCachedVerifier } from '../../src/delegation/tokens/cached-verifier.ts'
import { createProofs, type Proofs } from '../../src/delegation/tokens/dpop.ts'
import { ownIssuer } from '../../src/delegation/tokens/issuers.ts'
import { createRegistryLookup } from '../../src/delegation/tokens/registry-lookup.ts'
import { type KeyRing, openKeyRing } from '../../src/delegation/tokens/signing-key.ts'
import { createTokenJudge, type Verifier } from '../../src/delegation/tokens/verify.ts'
import { callerOf, type Principal } from '../../src/kernel/principal.ts'
import type { Database } from '../../src/store/sql.ts'
import {
  type MovableClock,
  movableClock,
  openMigrated,
  ownIssuerUrl,
  publicUrl,
  putDelegation,
  researchBot,
} from './world.ts'

let database: Database
let clock: MovableClock
let ring: KeyRing
let authority: RevocationFeed
let proofs: Proofs
let verifier: Verifier
/** Signatures checked, and questions to the registries' tables. */
const worked = { judged: 0, asked: 0 }
/** Runs once, after the next token was judged and before that is remembered. */
let meanwhile: (() => Promise<unknown>) | undefined
let serial = 0

const newVerifier = (max?: number): Verifier => {
  const inner = createTokenJudge({
    issuers: [ownIssuer({ publicUrl, keys: ring.find })],
    lookUp: createRegistryLookup({
      authority,
      sql: {
        query: (text, values) => {
          worked.asked += 1
          return database.query(text, values)
        },
      },
    }),
    clock,
    demo: false,
    newTxn: () => 't_judged',
  })
  return createCachedVerifier({
    authority,
    clock,
    newTxn: () => `t_${randomUUID()}`,
    proofs,
    ...(max !== undefined && { max }),
    judge: {
      ...inner,
      async judge(...asked) {
        worked.judged += 1
        const judged = await inner.judge(...asked)
        await meanwhile?.()
        meanwhile = undefined
        return judged
      },
    },
  })
}

beforeAll(async () => {
  const opened = await openMigrated()
  database = opened
  clock = movableClock()
  ring = await openKeyRing(join(opened.folder, 'keys'), clock)
  authority = await openRevocationFeed({ database, clock, log: () => undefined })
  proofs = createProofs({ sql: database, clock, secret: randomBytes(32) })
  verifier = newVerifier()
})
afterAll(async () => {
  await authority[Symbol.asyncDispose]()
  await database.close()
})

afterEach(async () => {
  await database.query('update epochs set tokens_from = null')
})

let agent: string
let client: string
let delegation: string
beforeEach(async () => {
  serial += 1
  agent = `bot-${serial}`
  client = `client-${serial}`
  delegation = `d_${serial}`
  await createAgents({ sql: database, clock }).save({
    id: agent,
    owner: 'user:anne',
    purpose: 'tests',
    issuer: ownIssuerUrl,
    sub: agent,
  })
  await createClients({ sql: database }).register({ clientId: client, kind: 'agent', agent })
  await putDelegation(database, {
    id: delegation,
    subject: `user:anne-${serial}`,
    agent,
    expiresAt: new Date(clock.now() + 200_000),
  })
  await authority.refresh()
  worked.judged = 0
  worked.asked = 0
})

async function tokenOf(claims: Record<string, unknown> = {}): Promise<string> {
  const { kid, privateKey } = ring.current()
  const iat = Math.floor(clock.now() / 1_000)
  return new SignJWT({
    iss: ownIssuerUrl,
    sub: `anne-${serial}`,
    aud: publicUrl,
    client_id: client,
    scope: 'docs.search',
    act: { ...researchBot, sub: agent },
    delegation,
    grant_id: `g_${serial}`,
    jti: `j_${serial}`,
    txn: `t_token_${serial}`,
    iat,
    exp: iat + 300,
    ...claims,
  })
    .setProtectedHeader({ alg: 'ES256', typ: 'at+jwt', kid })
    .sign(privateKey)
}

const see = async (token: string) => {
  const result = await verifier.verify(token, 'api')
  return result.ok ? 'accepted' : result.reason
}

/** A token that was seen twice: the second time cost nothing. */
async function knownToken(): Promise<string> {
  const token = await tokenOf()
  expect([await see(token), await see(token)]).toEqual(['accepted', 'accepted'])
  expect(worked).toEqual({ judged: 1, asked: 1 })
  return token
}

describe('what is under way', () => {
  const stillStands = async (token: string) => {
    const result = await verifier.verify(token, 'api', 'under_way')
    return result.ok ? 'accepted' : result.reason
  }

  test('goes on past the end of its token by itself, without another look', async () => {
    const token = await tokenOf({ act: undefined, delegation: undefined, client_id: await serviceClient() })
    expect([await see(token), await see(token)]).toEqual(['accepted', 'accepted'])
    clock.move(300_001)
    expect([await stillStands(token), await stillStands(token), worked.judged]).toEqual([
      'accepted',
      'accepted',
      1,
    ])
    expect(await see(token)).toBe('expired')
    await database.query('update epochs set tokens_from = $1', [new Date(clock.now())])
    expect(await stillStands(token)).toBe('revoked')
  })

  test.each([true, false])(
    'ends with its token that was taken back in time, known before: %s',
    async (isKnown) => {
      const token = await tokenOf({ act: undefined, delegation: undefined, client_id: await serviceClient() })
      if (isKnown) expect(await see(token)).toBe('accepted')
      const until = new Date((Math.floor(clock.now() / 1_000) + 300) * 1_000)
      const revocations = createRevocations({ sql: database, clock })
      await revocations.revoke(
        { kind: 'jti', issuer: ownIssuerUrl, id: `j_${serial}` },
        { until, reason: 'tests' },
      )
      clock.move(400_000)
      await revocations.sweep()
      await authority.sweep()
      expect(await stillStands(token)).toBe('revoked')
    },
  )

  test('ends with what was lent to it', async () => {
    const token = await knownToken()
    expect(await stillStands(token)).toBe('accepted')
    clock.move(200_000)
    expect(await stillStands(token)).toBe('delegation_not_live')
  })

  async function serviceClient(): Promise<string> {
    const service = `service-${serial}`
    await database.query(
      `insert into services (name, collections, prefixes, tuples_first) values ($1, '{}', '{}', false)`,
      [service],
    )
    await createClients({ sql: database }).register({ clientId: `of-${service}`, kind: 'service', service })
    await authority.refresh()
    return `of-${service}`
  }
})

const revoke = (what: RevocationTarget) =>
  createRevocations({ sql: database, clock }).revoke(what, { reason: 'tests' })
const sql = (statement: string) => () => database.query(statement, [])

test('a token that was seen is known again by its hash alone: no signature, no database', async () => {
  const token = await knownToken()
  const first = await verifier.verify(token, 'api')
  expect(first).toMatchObject({
    ok: true,
    value: {
      subject: `user:anne-${serial}`,
      actors: [`agent:${agent}`],
      delegation,
      txn: `t_token_${serial}`,
    },
  })
  expect(worked.judged).toBe(1)
})

test('another token of the same client, chain and delegation is checked, and costs no question', async () => {
  await knownToken()
  expect(await see(await tokenOf({ jti: 'j_other' }))).toBe('accepted')
  expect(worked).toEqual({ judged: 2, asked: 1 })
})

test('one bit of difference is another token', async () => {
  const token = await knownToken()
  const forged = `${token.slice(0, -8)}${token.endsWith('AAAAAAAA') ? 'BBBBBBBB' : 'AAAAAAAA'}`
  expect(await see(forged)).toBe('bad_signature')
})

test('what is known at one resource is nothing at the other', async () => {
  const token = await knownToken()
  expect(await verifier.verify(token, 'mcp')).toMatchObject({ ok: false, reason: 'wrong_audience' })
})

test('requests under a token without a txn have one each, and are of one caller', async () => {
  const principals = await seenThrice(await tokenOf({ txn: undefined }))
  expect(new Set(principals.map(({ txn }) => txn)).size).toBe(3)
  expect(worked.judged).toBe(1)
  // What is worked out of a caller, such as what OpenFGA is asked of them, is there the next time.
  expect(new Set(principals.map(callerOf)).size).toBe(1)
  expect(new Set(principals.map((principal) => questionFor(principal))).size).toBe(1)
})

test('requests under two tokens are of two callers', async () => {
  const [one] = await seenThrice(await tokenOf({ txn: undefined }))
  const [other] = await seenThrice(await tokenOf({ txn: undefined, jti: 'j_other' }))
  expect(one && callerOf(one)).not.toBe(other && callerOf(other))
})

async function seenThrice(token: string): Promise<readonly Principal[]> {
  const seen: Principal[] = []
  for (let time = 0; time < 3; time += 1) {
    const result = await verifier.verify(token, 'api')
    if (result.ok) seen.push(result.value)
  }
  expect(seen.length).toBe(3)
  return seen
}

describe('a known token is refused at its very next sight', () => {
  const removals: readonly [string, string, () => Promise<unknown>][] = [
    [
      'its jti is on the list',
      'revoked',
      () => revoke({ kind: 'jti', issuer: ownIssuerUrl, id: `j_${serial}` }),
    ],
    [
      'its grant is on the list',
      'revoked',
      () => revoke({ kind: 'grant', issuer: ownIssuerUrl, id: `g_${serial}` }),
    ],
    ['its person is on the list', 'revoked', () => revoke({ kind: 'subject', id: `user:anne-${serial}` })],
    ['its agent is on the list', 'revoked', () => revoke({ kind: 'agent', id: agent })],
    ['its agent was disabled', 'agent_disabled', () => createAgents({ sql: database, clock }).disable(agent)],
    [
      'its agent is another now',
      'unknown_actor',
      () => database.query(`update agents set sub = 'moved' || id where id = $1`, [agent]),
    ],
    [
      'its delegation was revoked',
      'delegation_not_live',
      () => database.query(`update delegations set state = 'revoked' where id = $1`, [delegation]),
    ],
    [
      'its delegation was cut short',
      'delegation_not_live',
      () =>
        database.query('update delegations set expires_at = $2 where id = $1', [
          delegation,
          new Date(clock.now() - 1),
        ]),
    ],
    ['its delegation is gone', 'delegation_unknown', sql('delete from delegations')],
    ['its delegation ended by itself', 'delegation_not_live', async () => clock.move(200_000)],
    [
      'its client stands for another agent',
      'actor_mismatch',
      async () => {
        await createAgents({ sql: database, clock }).save({
          id: `other-${serial}`,
          owner: 'user:anne',
          purpose: 'tests',
          issuer: ownIssuerUrl,
          sub: `other-${serial}`,
        })
        await database.query('update clients set agent = $2 where client_id = $1', [
          client,
          `other-${serial}`,
        ])
      },
    ],
    [
      'its client is a service’s',
      'actor_on_service',
      async () => {
        await database.query(
          `insert into services (name, collections, prefixes, tuples_first) values ($1, '{}', '{}', true)`,
          [agent],
        )
        await database.query(
          `update clients set kind = 'service', agent = null, service = $2 where client_id = $1`,
          [client, agent],
        )
      },
    ],
    [
      'its key came and went',
      'unknown_key',
      async () => {
        await ring.rotate()
        clock.move(86_400_001)
        await ring.sweep()
        clock.move(-86_400_001)
      },
    ],
    [
      'it dates from a time that the database has forgotten',
      'revoked',
      () => database.query('update epochs set tokens_from = $1', [new Date(clock.now() + 1_000)]),
    ],
    ['it is over', 'expired', async () => clock.move(300_000)],
  ]

  test.each(removals)('%s', async (_, reason, remove) => {
    const token = await knownToken()
    await remove()
    expect(await see(token)).toBe(reason)
    expect(await see(token)).toBe(reason)
  })

  test.each(removals)('%s, while memory has caught up', async (_, reason, remove) => {
    const token = await knownToken()
    await remove()
    await authority.refresh()
    expect(authority.current).toBeDefined()
    expect(await see(token)).toBe(reason)
  })

  test.each(removals.slice(0, 9))(
    '%s, between its first judgement and its being remembered',
    async (_, reason, remove) => {
      const token = await tokenOf()
      meanwhile = async () => {
        await remove()
        await authority.refresh()
      }
      await see(token)
      expect(await see(token)).toBe(reason)
    },
  )
})

test('a delegation that goes live after its token was refused lets the token pass', async () => {
  await database.query(`update delegations set state = 'lending' where id = $1`, [delegation])
  const token = await tokenOf()
  expect(await see(token)).toBe('delegation_not_live')
  await database.query(`update delegations set state = 'live' where id = $1`, [delegation])
  expect(await see(token)).toBe('accepted')
})

test('a change of another delegation leaves what is known', async () => {
  const token = await knownToken()
  await putDelegation(database, {
    id: 'd_elsewhere',
    subject: 'user:bob',
    agent,
    expiresAt: new Date(clock.now() + 1e5),
  })
  await database.query(`update delegations set state = 'revoked' where id = 'd_elsewhere'`)
  await authority.refresh()
  expect([await see(token), worked.judged]).toEqual(['accepted', 1])
})

test('a token that is first seen after some other change is known at its second sight', async () => {
  await knownToken()
  await revoke({ kind: 'jti', issuer: ownIssuerUrl, id: 'j_of_somebody' })
  await authority.refresh()
  const token = await tokenOf({ jti: 'j_later' })
  expect([await see(token), await see(token)]).toEqual(['accepted', 'accepted'])
  expect(worked).toEqual({ judged: 2, asked: 1 })
})

test('a link of an account to another person ends what was known of all', async () => {
  const token = await knownToken()
  await database.query(`insert into people (key, name) values ('eve', 'Eve') on conflict do nothing`)
  await database.query(`insert into account_links values ('https://elsewhere.example', 'x', 'eve', now())`)
  await authority.refresh()
  expect([await see(token), worked.judged]).toEqual(['accepted', 2])
})

test('a refusal is not remembered', async () => {
  const token = await tokenOf({ aud: 'https://elsewhere.example' })
  expect([await see(token), await see(token)]).toEqual(['wrong_audience', 'wrong_audience'])
  expect(worked.judged).toBe(2)
})

test('a token that is bound to a key is known, and still refused without its proof', async () => {
  const token = await tokenOf({ cnf: { jkt: 'a'.repeat(43) } })
  expect([await see(token), await see(token)]).toEqual(['proof_missing', 'proof_missing'])
  expect(worked.judged).toBe(1)
})

test('a hundred tokens of one agent cost a hundred signatures and one question; seen again, however often, nothing', async () => {
  const tokens = await Promise.all(
    Array.from({ length: 100 }, (_, index) => tokenOf({ jti: `j_many_${index}` })),
  )
  const seeAll = async () => new Set(await Promise.all(tokens.map(see)))
  for (const token of tokens) expect(await see(token)).toBe('accepted')
  expect(worked).toEqual({ judged: 100, asked: 1 })
  for (let time = 0; time < 3; time += 1) expect(await seeAll()).toEqual(new Set(['accepted']))
  expect(worked).toEqual({ judged: 100, asked: 1 })
})

test('remembers so many tokens and no more, those that are used first', async () => {
  const small = newVerifier(2)
  const [one, two, three] = [await tokenOf(), await tokenOf({ jti: 'j_b' }), await tokenOf({ jti: 'j_c' })]
  for (const token of [one, two, one, three]) await small.verify(token, 'api')
  worked.judged = 0
  await small.verify(one, 'api')
  await small.verify(three, 'api')
  expect(worked.judged).toBe(0)
  await small.verify(two, 'api')
  expect(worked.judged).toBe(1)
})
