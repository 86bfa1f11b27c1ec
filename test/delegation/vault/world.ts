import { randomBytes } from 'node:crypto'
import type { RecordActor } from '../../../src/audit/record.ts'
import { createAgents } from '../../../src/delegation/registry/agents.ts'
import { createConnections } from '../../../src/delegation/vault/connections.ts'
import {
  type ConnectionTokens,
  createEnvelope,
  type Envelope,
} from '../../../src/delegation/vault/envelope.ts'
import { createLocalKeys } from '../../../src/delegation/vault/keys.ts'
import { createProvider, type ProviderEntry, type Rule } from '../../../src/delegation/vault/provider.ts'
import { createProviderClient } from '../../../src/delegation/vault/provider-client.ts'
import { createLiveTokens, type LiveTokensDeps } from '../../../src/delegation/vault/tokens.ts'
import type { Clock } from '../../../src/kernel/clock.ts'
import type { Principal } from '../../../src/kernel/principal.ts'
import { createSystemFetch, type GuardedFetch } from '../../../src/outbound/guarded-fetch.ts'
import type { Database } from '../../../src/store/sql.ts'
import { type ProviderDouble, providerSecret } from '../../support/provider.ts'
import { movableClock, ownIssuerUrl, publicUrl, putDelegation } from '../world.ts'

export const readRule: Rule = { title: 'Read everything', methods: ['GET'], paths: ['/**?*'] }

export const recordedAs: RecordActor = {
  subject: 'user:anne',
  actors: ['agent:research-bot'],
  client: 'agent-app',
  delegation: 'd_1',
  txn: 't_test',
}

export interface PutConnection {
  readonly id?: string
  readonly subject?: `user:${string}`
  readonly tokens: ConnectionTokens
  readonly agent?: string
  readonly client?: string
  /** Seconds from now. */
  readonly endsIn?: number
  readonly state?: 'live' | 'needs_reconnect'
}

/**
 * The vault on a database, with one provider, agents `research-bot` and `other-bot`, and a delegation `d_1`
 * to the first.
 */
export async function openVaultParts(
  database: Database,
  double: ProviderDouble,
  options: { readonly entry?: object } = {},
) {
  const clock = movableClock()
  const keys = createLocalKeys([{ version: 'one', key: new Uint8Array(Buffer.alloc(32, 1)) }])
  const envelope = createEnvelope(keys)
  const provider = createProvider(double.entry(options.entry) as unknown as ProviderEntry)
  const logged: { readonly event: string; readonly fields?: object }[] = []
  const log = (event: string, fields?: object) => void logged.push({ event, ...(fields && { fields }) })
  const systemFetch = createSystemFetch([double.origin])
  const clientBy = (outbound: GuardedFetch) =>
    createProviderClient(provider, providerSecret, { publicUrl, outbound, clock })
  const client = clientBy(systemFetch)
  /** A process of its own on the same database. */
  const process = ({
    sealing = envelope,
    step = async () => undefined,
    own = database,
    outbound,
    clock: ownClock = clock,
  }: {
    /** Default: the one of them all. */
    readonly clock?: Clock
    readonly sealing?: Envelope
    /** Its connections to the database. */
    readonly own?: Database
    readonly outbound?: (real: GuardedFetch) => GuardedFetch
    readonly step?: NonNullable<LiveTokensDeps['step']>
  } = {}) => {
    const ownClient = outbound === undefined ? client : clientBy(outbound(systemFetch))
    const tokens = createLiveTokens({
      database: own,
      envelope: sealing,
      clients: new Map([[provider.name, ownClient]]),
      clock: ownClock,
      log,
      elapsed: clock.now,
      step,
    })
    return createConnections({
      sql: own,
      clock: ownClock,
      providers: [provider],
      tokens,
      randomBytes,
      publicUrl,
    })
  }
  /** As time does, to these processes and to the leases in the database. */
  async function pass(ms: number): Promise<void> {
    clock.move(ms)
    await database.query('update connections set leased_until = leased_until - make_interval(secs => $1)', [
      ms / 1_000,
    ])
  }
  const agents = createAgents({ sql: database, clock })
  for (const id of ['research-bot', 'other-bot'])
    await agents.save({ id, owner: 'user:dan', purpose: 'tests', issuer: ownIssuerUrl, sub: id })
  const end = new Date(clock.now() + 86_400_000)
  await putDelegation(database, { id: 'd_1', subject: 'user:anne', agent: 'research-bot', expiresAt: end })

  async function put({
    id = 'c_1',
    subject = 'user:anne',
    tokens,
    agent = 'research-bot',
    client: through = 'agent-app',
    endsIn = 3_600,
    state = 'live',
  }: PutConnection): Promise<string> {
    const { jwe, key } = await envelope.seal({ connection: id, subject }, tokens)
    await database.query(
      `insert into connections (id, subject, provider, issuer, account, account_title, state, scopes, sealed, wrapped_key,
         key_version, token_expires_at, refreshable, sealed_at, created_at)
       values ($1, $2, $3, $4, $5, 'anne@acme.test', $6, '{openid}', $7, $8, $9, $10, $11, $12, $12)`,
      [
        id,
        subject,
        provider.name,
        provider.issuer,
        `account of ${id}`,
        state,
        jwe,
        key.bytes,
        key.version,
        new Date(clock.now() + endsIn * 1_000),
        tokens.refreshToken !== undefined,
        new Date(clock.now()),
      ],
    )
    await database.query(
      `insert into connection_agents (connection, agent, client, rules, agreed_at) values ($1, $2, $3, $4, now())`,
      [id, agent, through, JSON.stringify([readRule])],
    )
    return id
  }

  return {
    database,
    clock,
    keys,
    envelope,
    provider,
    client,
    agents,
    logged,
    pass,
    process,
    connections: process(),
    put,
  }
}

export const agentPrincipal = (changes: Partial<Principal> = {}): Principal => ({
  kind: 'agent',
  subject: 'user:anne',
  actors: ['agent:research-bot'],
  client: 'agent-app',
  scopes: new Set(['vault.use']),
  authorizationDetails: [],
  delegation: 'd_1',
  txn: 't_test',
  expiresAt: Math.floor(Date.now() / 1_000) + 300,
  ...changes,
})
