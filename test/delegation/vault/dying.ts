import { randomBytes } from 'node:crypto'
import { createConnections } from '../../../src/delegation/vault/connections.ts'
import { createEnvelope } from '../../../src/delegation/vault/envelope.ts'
import { createLocalKeys } from '../../../src/delegation/vault/keys.ts'
import { createProvider, type ProviderEntry } from '../../../src/delegation/vault/provider.ts'
import { createProviderClient } from '../../../src/delegation/vault/provider-client.ts'
import { createLiveTokens } from '../../../src/delegation/vault/tokens.ts'
import { createSystemFetch } from '../../../src/outbound/guarded-fetch.ts'
import { openPostgres } from '../../../src/store/postgres.ts'

export interface Dying {
  readonly databaseUrl: string
  readonly entry: ProviderEntry
  readonly secret: string
  /** Base64. */
  readonly key: string
  readonly now: number
  /** Where it is killed. */
  readonly step: string
}

/**
 * A process that uses the account `c_1` and is killed in the middle of a refresh. Its one argument is a
 * {@link Dying}.
 */
const { databaseUrl, entry, secret, key, now, step } = JSON.parse(process.argv[2] ?? '') as Dying
const database = await openPostgres({ url: databaseUrl, poolSize: 2 })
const clock = { now: () => now }
const provider = createProvider(entry)
const outbound = createSystemFetch([provider.issuer])
const publicUrl = 'http://localhost:8787'
const tokens = createLiveTokens({
  database,
  envelope: createEnvelope(createLocalKeys([{ version: 'one', key: Buffer.from(key, 'base64') }])),
  clients: new Map([[provider.name, createProviderClient(provider, secret, { publicUrl, outbound, clock })]]),
  clock,
  log: () => undefined,
  async step(name) {
    if (name !== step) return
    process.kill(process.pid, 'SIGKILL')
    await new Promise(() => undefined)
  },
})
const connections = createConnections({
  sql: database,
  clock,
  providers: [provider],
  tokens,
  randomBytes,
  publicUrl,
})
const recordedAs = { subject: 'user:anne', actors: [], client: 'agent-app', txn: 't_dying' } as const
await connections.withToken('c_1', async (token) => console.log(token), { recordedAs })
await database.close()
