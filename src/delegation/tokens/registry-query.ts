import { readRows, type Sql } from '../../store/sql.ts'
import type { ExternalAccount } from '../people/links.ts'
import type { ActorClaim } from '../registry/claims.ts'
import { type Client, type ClientRow, fromRow } from '../registry/clients.ts'
import { type RevocationTarget, revocationKey } from '../revocation/revocations.ts'

/** What the registries say about one token, read at one moment. */
export interface RegistryEntries {
  readonly client: Client | undefined
  /** Digest of the client's keys; undefined where it has none. */
  readonly clientKeys: string | undefined
  /** One for each link of the chain, in its order; undefined where it is not registered. */
  readonly agents: readonly (RegisteredAgent | undefined)[]
  /** The service that the client is, where it is registered. */
  readonly service: string | undefined
  readonly delegation: RegisteredDelegation | undefined
  /** Key of the local person that the account is linked to. */
  readonly linked: string | undefined
  /** The token, its grant, its subject or an agent of its chain is on the list. */
  readonly revoked: boolean
  /**
   * Milliseconds since the epoch: tokens issued before are from a time that this database has forgotten, or
   * from before the account was ended.
   */
  readonly tokensFrom: number
  /** Number of the last change that had been made. */
  readonly version: number
}

/** One link of a token's chain, as the registry knows it. */
export interface RegisteredAgent {
  readonly id: string
  readonly disabled: boolean
  /** It may act through the token's client although that is not its own. */
  readonly hosted: boolean
  /** Nothing beside these, as the registry says now; null: no limit. */
  readonly scopes: readonly string[] | null
  readonly collections: readonly string[] | null
}

/** The delegation that a token names, or the standing one that counts for it. */
export interface RegisteredDelegation {
  readonly id: string
  readonly subject: string
  readonly agent: string
  readonly subAgents: readonly string[]
  /** Not revoked, and the agent that it was lent to is not disabled. Its end is to be looked at besides. */
  readonly isLive: boolean
  /** Milliseconds since the epoch. */
  readonly expiresAt: number
}

/** What has to be known about one token. */
export interface RegistryQuery {
  /** Client of the built-in issuer; undefined for other issuers' tokens. */
  readonly ownClient: string | undefined
  /** Service that the settings name for another issuer's client. */
  readonly service: string | undefined
  readonly chain: readonly ActorClaim[]
  readonly delegation: string | undefined
  /** Who the subject is at a trusted issuer; undefined for those who are nobody elsewhere. */
  readonly account: ExternalAccount | undefined
  /**
   * Present where the token may leave out `delegation`: the subject unless the account is linked. The one
   * standing delegation to the outermost agent then counts.
   */
  readonly standingOf: string | undefined
  readonly revocable: readonly RevocationTarget[]
  /** Milliseconds since the epoch. */
  readonly now: number
}

/**
 * Reads everything about a token in one statement: one round trip a request, and one moment, so that no
 * registry can change between two looks.
 */
export async function readRegistries(sql: Sql, question: RegistryQuery): Promise<RegistryEntries> {
  const { ownClient, service, chain, delegation, account, standingOf, revocable, now } = question
  const [row] = await readRows<LookupRow>(sql, statement, [
    ownClient ?? null,
    service ?? null,
    chain.map(({ iss }) => iss),
    chain.map(({ sub }) => sub),
    delegation ?? null,
    new Date(now),
    revocable.map(({ kind }) => kind),
    revocable.map(revocationKey),
    account?.issuer ?? null,
    account?.sub ?? null,
    standingOf ?? null,
  ])
  if (row === undefined) throw new Error('The registries gave no answer.')
  return {
    ...row,
    clientKeys: row.clientKeys ?? undefined,
    client: row.client && fromRow(row.client),
    agents: chain.map((_, index) => row.agents.find(({ link }) => link === index + 1)),
    tokensFrom: row.tokensFrom ?? 0,
  }
}

interface LookupRow extends Omit<RegistryEntries, 'client' | 'agents' | 'tokensFrom'> {
  readonly client: ClientRow | undefined
  readonly agents: readonly (RegisteredAgent & { readonly link: number })[]
  readonly tokensFrom: number | undefined
}

const statement = `
with service as (
  select name from services
  where name = coalesce((select service from clients where client_id = $1), $2)
), chain as (
  select agents.id, agents.disabled_at is not null as disabled, agents.scopes, agents.collections,
    coalesce($1 = any(agents.host_clients), false) as hosted, links.link
  from unnest($3::text[], $4::text[]) with ordinality as links (issuer, sub, link)
  join agents using (issuer, sub)
), link as (
  select person from account_links where issuer = $9 and sub = $10
), revocable as (
  select kind, key from unnest($7::text[], $8::text[]) as token (kind, key)
  union all
  select 'agent', id from chain
  union all
  select 'subject', 'service:' || name from service
  union all
  select 'subject', 'user:' || person from link
)
select
  (select to_json(c) from (select client_id, kind, agent, service from clients where client_id = $1) as c) as client,
  (select encode(sha256(convert_to(jwks::text, 'UTF8')), 'hex') from clients where client_id = $1) as "clientKeys",
  (select name from service) as service,
  (select coalesce(json_agg(chain order by link), '[]') from chain) as agents,
  (select to_json(d) from (
    select delegations.id, subject, agent, sub_agents as "subAgents",
      state = 'live' and agents.disabled_at is null as "isLive",
      (extract(epoch from expires_at) * 1000)::float8 as "expiresAt"
    from delegations join agents on agents.id = agent
    where delegations.id = $5
      or $5::text is null and standing and state <> 'revoked'
        and subject = coalesce((select 'user:' || person from link), $11)
        and agent = (select id from chain where chain.link = 1)
        and $11::text is not null
  ) as d) as delegation,
  (select person from link) as linked,
  exists (
    select from revocations join revocable using (kind, key) where until is null or until > $6
  ) as revoked,
  (select (extract(epoch from greatest(tokens_from, (
     select tokens_from from account_ends where issuer = $9 and sub = $10
   ))) * 1000)::float8 from epochs) as "tokensFrom",
  (select version from revocation_feed) as version`
