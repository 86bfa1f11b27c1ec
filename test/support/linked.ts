import { randomBytes } from 'node:crypto'
import { createEnvelope } from '../../src/delegation/vault/envelope.ts'
import { createLocalKeys } from '../../src/delegation/vault/keys.ts'
import { loadSecret } from '../../src/store/secret.ts'
import type { Pair } from './pair.ts'
import type { ProviderDouble } from './provider.ts'

/** Linked accounts of anne's at a provider double, whose two processes are a pair's. */
export interface LinkedAccounts {
  /** As if she had connected one and agreed that the agent may read everything there; gives its id. */
  link(options: { readonly endsInSeconds: number }): Promise<string>
  /** From now on its access token is over. */
  end(id: string): Promise<void>
}

export async function linkAccounts(pair: Pair, double: ProviderDouble): Promise<LinkedAccounts> {
  const { database, keysDir } = pair
  const key = await loadSecret(keysDir, 'vault.key')
  const envelope = createEnvelope(createLocalKeys([{ version: 'home', key }]))
  return {
    async link({ endsInSeconds }) {
      const id = `c_${randomBytes(8).toString('hex')}`
      const { jwe, key: wrapped } = await envelope.seal(
        { connection: id, subject: 'user:anne' },
        double.grant(),
      )
      await database.query(
        `insert into connections (id, subject, provider, issuer, account, account_title, state, scopes, sealed,
           wrapped_key, key_version, token_expires_at, refreshable, sealed_at, created_at)
         values ($1, 'user:anne', 'acme', $2, $1, 'An account', 'live', '{openid}', $3, $4, $5, $6, true, now(), now())`,
        [
          id,
          double.origin,
          jwe,
          wrapped.bytes,
          wrapped.version,
          new Date(Date.now() + endsInSeconds * 1_000),
        ],
      )
      await database.query(
        `insert into connection_agents (connection, agent, client, rules, agreed_at)
         values ($1, 'research-bot', 'agent-app', $2, now())`,
        [id, JSON.stringify([{ title: 'Read', methods: ['GET'], paths: ['/**?*'] }])],
      )
      return id
    },
    async end(id) {
      await database.query('update connections set token_expires_at = now() where id = $1', [id])
    },
  }
}
