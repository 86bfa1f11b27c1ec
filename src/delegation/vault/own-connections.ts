import { record } from '../../audit/record.ts'
import type { Clock } from '../../kernel/clock.ts'
import { AppError } from '../../kernel/errors.ts'
import type { FgaObject } from '../../kernel/ids.ts'
import type { Database, Sql } from '../../store/sql.ts'
import { atPages } from '../people/sign-ins.ts'
import { endAgreement, type Party, type PartyLabels, recordAgreement } from './agreements.ts'
import type { VaultCall } from './call.ts'
import {
  type Agreement,
  assertAsShown,
  type Connecting,
  type ConnectionOwner,
  lockedParties,
} from './connect.ts'
import type { Envelope } from './envelope.ts'
import type { Provider, Rule } from './provider.ts'
import { clientOf, type ProviderClients } from './provider-client.ts'
import {
  type ConnectionRow,
  connectionColumns,
  digestOfPlace,
  encryptionContextOf,
  ruleList,
  sealedOf,
} from './rows.ts'

/** A connection as its person sees it. Holds no token. */
export interface OwnConnection {
  readonly id: string
  readonly provider: string
  /** undefined: it is not in the settings any more, and nobody can use it. */
  readonly providerTitle: string | undefined
  readonly accountTitle: string
  readonly state: 'live' | 'needs_reconnect'
  readonly scopes: readonly string[]
  readonly createdAt: Date
  readonly agents: readonly AgreedParty[]
  /** Digest of it and its provider, which a yes to another agent sends back; undefined: nobody can use it. */
  readonly shown: string | undefined
}

/** An agent and its client that may use an account, with titles. */
export interface AgreedParty extends Party {
  readonly agentTitle: string
  readonly clientTitle: string
  readonly isDisabled: boolean
  readonly rules: readonly Rule[]
}

/** What one person has connected. Nobody else's connection is there for them: 404 as for none. */
export interface OwnConnections {
  list(subject: FgaObject): Promise<OwnConnection[]>
  /**
   * Lets more agents use an account that is connected already; nothing is asked of the provider. 409 where
   * it, or one of them, is not as it was shown.
   */
  agree(owner: ConnectionOwner, id: string, agreement: Agreement): Promise<void>
  removeAgent(owner: ConnectionOwner, id: string, party: Party): Promise<void>
  /**
   * From the next use on there is none: what is sealed is gone, and a refresh under way writes nothing any
   * more. Then the provider is told; false: it has no way to be told, or did not answer.
   */
  disconnect(owner: ConnectionOwner, id: string): Promise<{ readonly toldProvider: boolean }>
}

export interface OwnConnectionsDeps {
  readonly database: Database
  readonly envelope: Envelope
  readonly clients: ProviderClients
  readonly parties: PartyLabels
  readonly connecting: Pick<Connecting, 'rulesOf'>
  readonly clock: Clock
}

/** Does NOT check that the caller is the person: the session does. */
export function createOwnConnections(deps: OwnConnectionsDeps): OwnConnections {
  const { database, envelope, clients, parties, connecting, clock } = deps
  const now = () => new Date(clock.now())

  async function ownConnection(sql: Sql, { subject }: ConnectionOwner, id: string): Promise<ConnectionRow> {
    const [row] = await sql.query<ConnectionRow>(
      `select ${connectionColumns} from connections where id = $1 and subject = $2 and state <> 'ended' for update`,
      [id, subject],
    )
    if (row === undefined) throw new AppError('not_found')
    return row
  }

  return {
    async list(subject) {
      const rows = await database.query<ConnectionRow>(
        `select ${connectionColumns} from connections where subject = $1 and state <> 'ended' order by provider, account_title, id`,
        [subject],
      )
      const agreed = await agreedOf(
        database,
        rows.map(({ id }) => id),
      )
      return rows.map((row) => {
        const provider = clientOf(clients, row)?.provider
        return {
          id: row.id,
          provider: row.provider,
          providerTitle: provider?.title,
          accountTitle: row.account_title,
          state: row.state,
          scopes: row.scopes,
          createdAt: row.created_at,
          agents: agreed.get(row.id) ?? [],
          shown: provider && digestOfPlace(provider, row),
        }
      })
    },
    async agree(owner, id, agreement) {
      const { person, txn, over: overSignal } = owner
      await database.transaction(async (sql) => {
        await lockedParties(sql, agreement)
        const row = await ownConnection(sql, owner, id)
        const client = clientOf(clients, row)
        if (client === undefined) throw new AppError('not_found')
        await assertAsShown(sql, parties, owner, { ...agreement, provider: client.provider, account: row })
        const rules = connecting.rulesOf(client.provider, agreement.rules)
        await recordAgreement(
          sql,
          row,
          { parties: agreement.parties, rules, now: now() },
          atPages(person, txn, overSignal),
        )
      })
    },
    async removeAgent(owner, id, party) {
      const { person, txn } = owner
      await database.transaction(async (sql) => {
        const row = await ownConnection(sql, owner, id)
        if (!(await endAgreement(sql, row, party, atPages(person, txn)))) throw new AppError('not_found')
      })
    },
    async disconnect(owner, id) {
      const { person, txn } = owner
      const row = await database.transaction(async (sql) => {
        const connection = await ownConnection(sql, owner, id)
        await endConnection(sql, connection.id, now())
        await record(sql, atPages(person, txn), {
          event: 'connection_ended',
          connection: id,
          provider: connection.provider,
          account: connection.account,
        })
        return connection
      })
      return { toldProvider: await tell(row) }
    },
  }

  /** After it has ended here: the provider may take its time, or not answer at all. */
  async function tell(row: ConnectionRow): Promise<boolean> {
    const client = clientOf(clients, row)
    if (client === undefined) return false
    try {
      return await client.revoke(await envelope.open(encryptionContextOf(row), sealedOf(row)))
    } catch {
      // Sealed by a key that is gone: nobody can use it either, and nobody can name it to the provider.
      return false
    }
  }
}

/** Nothing sealed is left, and whoever holds the lease writes nothing any more. */
async function endConnection(sql: Sql, id: string, now: Date): Promise<void> {
  await sql.query(
    `update connections set state = 'ended', sealed = null, wrapped_key = null, key_version = null,
       lease = lease + 1, leased_until = null, ended_at = $2 where id = $1`,
    [id, now],
  )
  await sql.query('delete from connection_agents where connection = $1', [id])
}

async function agreedOf(
  sql: Sql,
  ids: readonly string[],
): Promise<ReadonlyMap<string, readonly AgreedParty[]>> {
  const rows = await sql.query<Omit<AgreedParty, 'rules'> & { connection: string; rules: unknown }>(
    `select ca.connection, ca.agent, a.title as "agentTitle", ca.client, coalesce(c.title, ca.client) as "clientTitle",
       a.disabled_at is not null as "isDisabled", ca.rules
     from connection_agents as ca join agents as a on a.id = ca.agent left join clients as c on c.client_id = ca.client
     where ca.connection = any($1) order by "agentTitle", "clientTitle", ca.agent, ca.client`,
    [ids],
  )
  const found = new Map<string, AgreedParty[]>()
  for (const { connection, rules, ...party } of rows)
    found.set(connection, [...(found.get(connection) ?? []), { ...party, rules: ruleList.parse(rules) }])
  return found
}

/** Where a call goes and whose account it uses, as its person knows both. */
export interface ShownCall {
  readonly providerTitle: string
  /** undefined: the provider is not in the settings any more, and nobody can call it. */
  readonly host: string | undefined
  /** undefined: it is not connected any more. */
  readonly account: string | undefined
}

/** Titles for one call, for the page on which a person decides it. Does NOT check the call. */
export type ShowCall = (
  subject: FgaObject,
  vaultCall: { readonly call: VaultCall; readonly provider: string },
) => Promise<ShownCall>

export function createShowCall({
  connections,
  providers,
}: {
  readonly connections: Pick<OwnConnections, 'list'>
  readonly providers: readonly Provider[]
}): ShowCall {
  return async (subject, { call, provider: name }) => {
    const provider = providers.find((candidate) => candidate.name === name)
    const connection = (await connections.list(subject)).find(({ id }) => id === call.connection)
    return {
      providerTitle: provider?.title ?? name,
      // A path of another origin than the first one holds that origin.
      host: provider && new URL(call.path, provider.apiOrigins[0]).host,
      account: connection?.accountTitle,
    }
  }
}
