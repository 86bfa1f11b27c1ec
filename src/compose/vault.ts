import { randomBytes } from 'node:crypto'
import { access } from 'node:fs/promises'
import { join } from 'node:path'
import { operator } from '../audit/record.ts'
import type { Config } from '../config/config.ts'
import { createPartyLabels } from '../delegation/vault/agreements.ts'
import { createConnecting } from '../delegation/vault/connect.ts'
import { type Connections, createConnections } from '../delegation/vault/connections.ts'
import { createEnvelope, type Envelope } from '../delegation/vault/envelope.ts'
import { createLocalKeys, type KeyEncryption } from '../delegation/vault/keys.ts'
import { createOwnConnections, createShowCall, type ShowCall } from '../delegation/vault/own-connections.ts'
import { createProvider } from '../delegation/vault/provider.ts'
import { createProviderClient } from '../delegation/vault/provider-client.ts'
import {
  createVaultKeyring,
  markUnreadable,
  missingKeys,
  missingKeysText,
  type VaultKeyring,
} from '../delegation/vault/rewrap.ts'
import { createLiveTokens } from '../delegation/vault/tokens.ts'
import type { App } from '../http/env.ts'
import type { RequireSession } from '../http/middleware/session.ts'
import { connectionRoutes } from '../http/routes/vault/vault.ts'
import { createCookie } from '../http/sign-in/cookies.ts'
import { OperatorError } from '../kernel/operator-error.ts'
import { createSeal } from '../store/encryption.ts'
import { loadSecret } from '../store/secret.ts'
import type { Database } from '../store/sql.ts'
import type { ComposeContext } from './context.ts'

/** Of the wiring's context, what the vault takes. */
export interface VaultDeps
  extends Pick<ComposeContext, 'config' | 'database' | 'clock' | 'log' | 'outbound' | 'newTxn'> {
  readonly requireSession: RequireSession
}

/** Accounts at APIs of others, and the tokens that no agent holds. */
export interface Vault {
  readonly connections: Connections
  /** For what asks people: where a call goes, and with which account. */
  readonly showCall: ShowCall
  readonly keyring: VaultKeyring
  readonly routes: readonly App[]
  /** Background tasks, each to be run now and every hour. */
  readonly tasks: Readonly<Record<string, () => Promise<unknown>>>
}

/** Throws an {@link OperatorError} where accounts in use are sealed by a key that is not here. */
export async function openVault(dependencies: VaultDeps): Promise<Vault> {
  const { config, database, clock, log, outbound, requireSession } = dependencies
  const { publicUrl } = config
  const envelope = createEnvelope(await openKeys(config))
  await assertKeys({ database, envelope }, dependencies)
  const seal = createSeal(await loadSecret(join(config.home, 'keys'), 'oauth.key'))
  const clients = new Map(
    config.vaultProviders.map((entry) => {
      const provider = createProvider(entry)
      const secret = config.vaultSecrets.get(entry.client_secret_env) ?? ''
      return [provider.name, createProviderClient(provider, secret, { publicUrl, outbound, clock })]
    }),
  )
  const providers = [...clients.values()].map(({ provider }) => provider)
  const tokens = createLiveTokens({ database, envelope, clients, clock, log })
  const parties = createPartyLabels({ sql: database, clock, seal })
  const shared = { database, envelope, clients, parties, clock }
  const connecting = createConnecting({ ...shared, seal, log, randomBytes })
  const ownConnections = createOwnConnections({ ...shared, connecting })
  return {
    keyring: createVaultKeyring({ database, envelope }),
    connections: createConnections({ sql: database, clock, providers, tokens, randomBytes, publicUrl }),
    showCall: createShowCall({ connections: ownConnections, providers }),
    routes: [
      connectionRoutes({
        own: ownConnections,
        connecting,
        parties,
        providers,
        cookie: createCookie('remit_connect', { publicUrl, sameSite: 'Lax' }),
        requireSession,
        perMinute: config.ratePerMinute,
        now: () => clock.now(),
      }),
    ],
    tasks: { connection_requests: () => parties.sweep() },
  }
}

/** Else each of them would fail by itself, and be taken for a provider that refuses. */
async function assertKeys(
  vault: { readonly database: Database; readonly envelope: Envelope },
  { config, log, newTxn }: Pick<VaultDeps, 'config' | 'log' | 'newTxn'>,
): Promise<void> {
  const count = await markUnreadable(vault, config.vaultLostKeys, operator(newTxn()))
  if (count > 0) log('vault_keys_given_up', { count })
  const missing = await missingKeys(vault.database, vault.envelope)
  if (missing.length === 0) return
  const versions = missing.map(({ version }) => version).join(',')
  throw new OperatorError(
    `The vault cannot be opened: ${missingKeysText(missing)}. Put it back: into VAULT_KEYS, or "${fileVersion}" as ${fileName} into the folder keys of REMIT_HOME. Where it is lost for good, VAULT_LOST_KEYS=${versions} has these accounts connected once more by their people.`,
  )
}

const fileName = 'vault.key'
/** Version of the key in the file, which VAULT_KEYS cannot name. */
const fileVersion = 'home'

/**
 * From the setting; without it from the file, which is made at the first start. One that is there stays
 * readable.
 */
async function openKeys({ home, vaultKeys }: Config): Promise<KeyEncryption> {
  const dir = join(home, 'keys')
  const [currentKey, ...olderKeys] = vaultKeys
  const load = async () => ({ version: fileVersion, key: await loadSecret(dir, fileName) })
  if (currentKey === undefined) return createLocalKeys([await load()])
  return createLocalKeys([
    currentKey,
    ...olderKeys,
    ...((await isThere(join(dir, fileName))) ? [await load()] : []),
  ])
}

async function isThere(path: string): Promise<boolean> {
  try {
    await access(path)
    return true
  } catch (error) {
    if (error instanceof Error && 'code' in error && error.code === 'ENOENT') return false
    throw error
  }
}
