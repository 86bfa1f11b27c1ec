import { randomBytes } from 'node:crypto'
import { mkdtemp, rm } from 'node:fs/promises'
import { tmpdir } from 'node:os'
import { join } from 'node:path'
import { type JWTHeaderParameters, SignJWT } from 'jose'
import { trustedIssuer } from '../../src/config/issuers.ts'
import { createAgents } from '../../src/delegation/registry/agents.ts'
import { createClients } from '../../src/delegation/registry/clients.ts'
import { openRevocationFeed } from '../../src/delegation/revocation/revocation-feed.ts'
import { createRevocations } from '../../src/delegation/revocation/revocations.ts'
import { createCachedVerifier } from '../../src/delegation/tokens/cached-verifier.ts'
import { createProofs } from '../../src/delegation/tokens/dpop.ts'
import { externalIssuer, type IssuerSource, ownIssuer } from '../../src/delegation/tokens/issuers.ts'
import { createRegistryLookup } from '../../src/delegation/tokens/registry-lookup.ts'
import { openKeyRing } from '../../src/delegation/tokens/signing-key.ts'
import { createTokenJudge } from '../../src/delegation/tokens/verify.ts'
import type { Clock } from '../../src/kernel/clock.ts'
import type { Database } from '../../src/store/sql.ts'
import { openTestDatabase } from '../support/database.ts'
import type { TestIssuer } from '../support/issuer.ts'

export const publicUrl = 'http://localhost:8787'
export const ownIssuerUrl = `${publicUrl}/oauth`

/** A clock that stands still until it is moved. */
export interface MovableClock extends Clock {
  move(milliseconds: number): void
}

export function movableClock(): MovableClock {
  let now = Date.now()
  return {
    now: () => now,
    move(milliseconds) {
      now += milliseconds
    },
  }
}

/** A migrated database of its own, and a folder that goes with it. */
export async function openMigrated(kind?: Database['kind']): Promise<Database & { readonly folder: string }> {
  const folder = await mkdtemp(join(tmpdir(), 'remit-test-'))
  const database = await openTestDatabase(kind)
  const close = async () => {
    await database.close()
    await rm(folder, { recursive: true, force: true })
  }
  return { ...database, folder, close, [Symbol.asyncDispose]: close }
}

export interface DelegationRowOptions {
  readonly id: string
  readonly subject: string
  readonly agent: string
  readonly subAgents?: readonly string[]
  readonly state?: 'lending' | 'live' | 'revoked'
  readonly expiresAt: Date
}

/** A row alone, for what is decided before OpenFGA is asked. */
export async function putDelegation(database: Database, row: DelegationRowOptions): Promise<void> {
  await database.query(
    `insert into delegations (id, subject, agent, sub_agents, scope, purpose, standing, expires_at, state, created_at)
     values ($1, $2, $3, $4, '{organization:acme}', 'tests', false, $5, $6, now())`,
    [row.id, row.subject, row.agent, [...(row.subAgents ?? [])], row.expiresAt, row.state ?? 'live'],
  )
}

/** Everything that verifying needs, with agents `research-bot`, `helper-bot` and `off-bot` (disabled). */
export async function openVerifying(issuer: TestIssuer, options: { readonly demo?: boolean } = {}) {
  const database = await openMigrated()
  const clock = movableClock()
  const ring = await openKeyRing(join(database.folder, 'keys'), clock)
  const key = ring.current()
  const agents = createAgents({ sql: database, clock })
  for (const id of ['research-bot', 'helper-bot', 'off-bot']) {
    await agents.save({ id, owner: 'user:anne', purpose: 'tests', issuer: ownIssuerUrl, sub: id })
  }
  await agents.disable('off-bot')
  await database.query(
    `insert into services (name, collections, prefixes, tuples_first) values ('loader', '{}', '{}', true)`,
  )
  const clients = createClients({ sql: database })
  await clients.register({ clientId: 'pages', kind: 'person' })
  await clients.register({ clientId: 'bot-client', kind: 'agent', agent: 'research-bot' })
  await clients.register({ clientId: 'loader-client', kind: 'service', service: 'loader' })
  const issuers: IssuerSource[] = [
    ownIssuer({ publicUrl, keys: ring.find }),
    externalIssuer(trustedIssuer.parse(issuer.entry()), { fetch, elapsed: clock.now, timeoutMs: 5_000 }),
  ]
  const proofs = createProofs({ sql: database, clock, secret: randomBytes(32) })
  const authority = await openRevocationFeed({ database, clock, log: () => undefined })
  const newTxn = () => crypto.randomUUID()
  const lookUp = createRegistryLookup({ sql: database, authority })
  const verifierOf = (judged: readonly IssuerSource[], demo = false) =>
    createCachedVerifier({
      judge: createTokenJudge({ issuers: judged, lookUp, clock, demo, newTxn }),
      authority,
      clock,
      newTxn,
      proofs,
    })
  const verifierWith = (demo: boolean) => verifierOf(issuers, demo)
  const end = new Date(clock.now() + 86_400_000)
  await putDelegation(database, { id: 'd_own', subject: 'user:anne', agent: 'research-bot', expiresAt: end })
  await putDelegation(database, {
    id: 'd_ext',
    subject: 'user:test/anne',
    agent: 'research-bot',
    subAgents: ['helper-bot'],
    expiresAt: end,
  })

  /** A token of the built-in issuer with any claims; `undefined` removes one. */
  async function ownToken(claims: Record<string, unknown> = {}, header: Partial<JWTHeaderParameters> = {}) {
    const iat = Math.floor(clock.now() / 1_000)
    const all: Record<string, unknown> = {
      iss: ownIssuerUrl,
      sub: 'anne',
      aud: publicUrl,
      client_id: 'pages',
      scope: 'docs.search docs.read',
      iat,
      exp: iat + 300,
      jti: crypto.randomUUID(),
      ...claims,
    }
    const present = Object.fromEntries(Object.entries(all).filter(([, value]) => value !== undefined))
    return new SignJWT(present)
      .setProtectedHeader({ alg: 'ES256', typ: 'at+jwt', kid: key.kid, ...header })
      .sign(key.privateKey)
  }

  return {
    database,
    clock,
    key,
    agents,
    verifierOf,
    ownIssuer: issuers[0],
    revocations: createRevocations({ sql: database, clock }),
    proofs,
    verifier: verifierWith(options.demo ?? false),
    demoVerifier: verifierWith(true),
    ownToken,
    authority,
    async [Symbol.asyncDispose]() {
      await authority[Symbol.asyncDispose]()
      await database[Symbol.asyncDispose]()
    },
  }
}

export const researchBot = { iss: ownIssuerUrl, sub: 'research-bot', sub_profile: 'ai_agent' }
export const helperBot = { iss: ownIssuerUrl, sub: 'helper-bot', sub_profile: 'ai_agent' }
