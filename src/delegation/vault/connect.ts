import { z } from 'zod'
import { record } from '../../audit/record.ts'
import type { Clock } from '../../kernel/clock.ts'
import { AppError, invalid } from '../../kernel/errors.ts'
import type { Log } from '../../kernel/log.ts'
import { ok, type Result, refuse } from '../../kernel/result.ts'
import type { Seal } from '../../store/encryption.ts'
import type { Database, Sql } from '../../store/sql.ts'
import type { Lender } from '../lending/own-delegations.ts'
import type { CodeRefusal } from '../oauth-client/code-client.ts'
import { atPages } from '../people/sign-ins.ts'
import { changedSinceShown, lockedAgents } from '../registry/agents.ts'
import { createAttempts } from '../upstream/attempts.ts'
import type { PartyLabels } from './agreements.ts'
import { type AgreedConnection, type Party, recordAgreement } from './agreements.ts'
import type { Envelope } from './envelope.ts'
import type { Provider, Rule } from './provider.ts'
import type { GrantedTokens, ProviderAccount, ProviderClients } from './provider-client.ts'
import { type ConnectionRow, digestOfPlace, ruleList } from './rows.ts'

/** A person in one browser session of theirs. */
export interface ConnectionOwner extends Lender {
  /** Names the session: whoever begins is who ends it. */
  readonly session: string
}

/** What a person agrees to, before they go to the provider. */
export interface Agreement {
  readonly parties: readonly Party[]
  /** Titles of the provider's rules. */
  readonly rules: readonly string[]
  /** Digests that stood beside what they agree to: of the provider, and of each party. Others do no harm. */
  readonly shown: readonly string[]
}

/** `not_begun_here`: another browser or session began it, or it is over. */
export type ConnectRefusal = CodeRefusal | 'not_begun_here'

/** Connects accounts at providers: begun, returned, finished. */
export interface Connecting {
  /**
   * `agreement` undefined: nothing new, an account is renewed. 404 for an unknown provider; 409 for one that
   * has changed since it was shown, and for such an agent, or one that neither waits for this person nor was
   * lent anything by them.
   */
  begin(
    owner: ConnectionOwner,
    provider: string,
    agreement: Agreement | undefined,
  ): Promise<Result<{ readonly url: string; readonly browser: string }, 'provider_unavailable'>>
  /**
   * The browser came back with this query. Only notes it: nothing is redeemed before {@link finish} knows who
   * is in front of it. False: not begun in this browser, over, or answered at the address of another
   * provider.
   */
  returned(provider: string, search: string, browser: string | undefined): Promise<boolean>
  /**
   * In the session that began it, once: redeems the code, seals the tokens, and what was agreed to counts.
   * 409, and nothing is kept, where that has changed since it was shown.
   */
  finish(
    owner: ConnectionOwner,
    browser: string | undefined,
  ): Promise<Result<AgreedConnection, ConnectRefusal>>
  /** What somebody may agree to at this provider, by title; 422 for another one. */
  rulesOf(provider: Provider, titles: readonly string[]): readonly Rule[]
}

export interface ConnectingDeps {
  readonly database: Database
  readonly seal: Seal
  readonly envelope: Envelope
  readonly clients: ProviderClients
  readonly parties: PartyLabels
  readonly clock: Clock
  readonly log: Log
  readonly randomBytes: (size: number) => Buffer
}

const attemptSchema = z.object({
  provider: z.string(),
  checks: z.object({ state: z.string(), nonce: z.string(), verifier: z.string() }),
  parties: z.array(z.object({ agent: z.string(), client: z.string() })).readonly(),
  rules: ruleList,
  // None in what a version began that compared nothing.
  shown: z.array(z.string()).readonly().default([]),
})
const answered = attemptSchema.extend({ search: z.string() })

/** Links an account by code and PKCE, bound to the browser and to the session that began it. */
export function createConnecting(deps: ConnectingDeps): Connecting {
  const { database, clients, parties, log, randomBytes } = deps
  const attempts = createAttempts({ ...deps, sql: database, use: 'connect', begun: attemptSchema, answered })

  const rulesOf: Connecting['rulesOf'] = (provider, titles) => {
    const chosen = provider.rules.filter(({ title }) => titles.includes(title))
    if (chosen.length === 0 || chosen.length !== new Set(titles).size)
      throw invalid('rules', 'Choose what it may do.')
    return chosen
  }

  return {
    rulesOf,
    async begin(owner, name, agreement) {
      const client = clients.get(name)
      if (client === undefined) throw new AppError('not_found')
      const { provider } = client
      if (agreement !== undefined) await assertAsShown(database, parties, owner, { ...agreement, provider })
      const rules = agreement === undefined ? [] : rulesOf(provider, agreement.rules)
      const going = await client.begin()
      if (!going.ok) {
        log('vault_connect_refused', { provider: name, reason: going.reason, detail: going.detail })
        return going
      }
      const { url, ...checks } = going.value
      const browser = randomBytes(32).toString('base64url')
      await attempts.begin(browser, owner.session, {
        provider: name,
        checks,
        parties: agreement?.parties ?? [],
        rules,
        shown: agreement?.shown ?? [],
      })
      return ok({ url, browser })
    },
    async returned(name, search, browser) {
      const state = new URLSearchParams(search).get('state')
      if (browser === undefined || state === null) return false
      const attempt = await attempts.claim(browser, state)
      if (attempt === undefined) return false
      // Begun at one, answered at the address of another: a mix-up.
      if (attempt.provider !== name) {
        await attempts.drop(browser)
        return false
      }
      await attempts.answer(browser, { ...attempt, search })
      return true
    },
    async finish(owner, browser) {
      const attempt = browser === undefined ? undefined : await attempts.take(browser, owner.session)
      const client = attempt && clients.get(attempt.provider)
      if (attempt === undefined || client === undefined) return refuse('not_begun_here')
      // Before there are tokens that nobody would keep.
      await assertAsShown(database, parties, owner, { ...attempt, provider: client.provider })
      const redeemed = await client.redeem(attempt.search, attempt.checks)
      if (!redeemed.ok) {
        const { reason, detail } = redeemed
        log('vault_connect_refused', { provider: attempt.provider, reason, detail })
        return redeemed
      }
      return ok(await keep(deps, owner, { ...redeemed.value, ...attempt, provider: client.provider }))
    },
  }
}

/** What a person agrees to, and what they said that they saw. */
interface Seen extends Pick<Agreement, 'parties' | 'shown'> {
  /** As they are now. */
  readonly provider: Provider
  readonly account?: ConnectionRow
}

/**
 * A 409 unless the provider, the account and each of the parties is as it was shown: of those who wait for
 * this very person, or were lent something by them, since no page offers anybody else. In a transaction the
 * agents stay so until it ends, as for `lockAgents`. Without parties nothing is agreed to, nor compared.
 */
export async function assertAsShown(
  sql: Sql,
  parties: PartyLabels,
  { subject }: Pick<ConnectionOwner, 'subject'>,
  seen: Seen,
): Promise<void> {
  if (seen.parties.length === 0) return
  await lockedParties(sql, seen)
  const { name } = seen.provider
  const waiting = (await parties.requests(subject, sql)).filter(({ provider }) => provider === name)
  const shown = new Set(seen.shown)
  const known = [...waiting, ...(await parties.offered(subject, sql))].filter((one) => shown.has(one.shown))
  const isKnown = (party: Party) =>
    known.some(({ agent, client }) => agent === party.agent && client === party.client)
  const isSame = shown.has(digestOfPlace(seen.provider, seen.account))
  if (!isSame || !seen.parties.every(isKnown)) throw changedSinceShown()
}

/**
 * Agents as they are until the transaction ends. Before any connection, everywhere: whoever changes an agent
 * ends what was agreed to with it.
 */
export const lockedParties = (sql: Sql, { parties }: Pick<Agreement, 'parties'>) =>
  lockedAgents(
    sql,
    parties.map(({ agent }) => agent),
    'key share',
  )

interface Redeemed extends GrantedTokens {
  readonly account: ProviderAccount
  readonly provider: Provider
  readonly parties: readonly Party[]
  readonly rules: readonly Rule[]
  readonly shown: readonly string[]
}

/** A row of its own, or the one of this account anew: its id, and what was agreed to for others, stay. */
async function keep(
  { database, envelope, clock, randomBytes, parties: labels }: ConnectingDeps,
  owner: ConnectionOwner,
  redeemed: Redeemed,
): Promise<AgreedConnection> {
  const { person, subject, txn, over: overSignal } = owner
  const { account, provider, tokens, scopes, expiresAt, parties, rules, shown } = redeemed
  const recordedAs = atPages(person, txn, overSignal)
  const now = new Date(clock.now())
  const { name, issuer } = provider
  const [existingConnection] = await database.query<{ id: string }>(
    `select id from connections where subject = $1 and provider = $2 and account = $3 and state <> 'ended'`,
    [subject, name, account.id],
  )
  const id = existingConnection?.id ?? `c_${randomBytes(16).toString('base64url')}`
  const { jwe, key } = await envelope.seal({ connection: id, subject }, tokens)
  return database.transaction(async (sql) => {
    await assertAsShown(sql, labels, owner, { parties, shown, provider })
    const [row] = await sql.query<{ id: string; is_new: boolean }>(
      `insert into connections (id, subject, provider, issuer, account, account_title, state, scopes, sealed,
         wrapped_key, key_version, token_expires_at, refreshable, sealed_at, created_at)
       values ($1, $2, $3, $4, $5, $6, 'live', $7, $8, $9, $10, $11, $12, $13, $13)
       on conflict (subject, provider, account) where state <> 'ended' do update set
         issuer = excluded.issuer, account_title = excluded.account_title, state = 'live', scopes = excluded.scopes,
         sealed = excluded.sealed, wrapped_key = excluded.wrapped_key, key_version = excluded.key_version,
         token_expires_at = excluded.token_expires_at, refreshable = excluded.refreshable,
         sealed_at = greatest(excluded.sealed_at, connections.sealed_at + interval '1 ms'),
         -- A refresh that is under way must not write what it got for the tokens before.
         lease = connections.lease + 1, leased_until = null
         where connections.id = excluded.id
       returning id, (xmax = 0) as is_new`,
      [
        id,
        subject,
        name,
        issuer,
        account.id,
        account.title,
        scopes ?? provider.scopes,
        jwe,
        key.bytes,
        key.version,
        expiresAt ?? null,
        tokens.refreshToken !== undefined,
        now,
      ],
    )
    // Connected twice at once: what was sealed for the one row does not open in the other.
    if (row === undefined) throw new AppError('conflict', { public: 'It was connected a moment ago.' })
    await record(sql, recordedAs, {
      event: row.is_new ? 'connection_made' : 'connection_renewed',
      connection: id,
      provider: name,
      account: account.id,
    })
    const connection = { id, subject, provider: name }
    await recordAgreement(sql, connection, { parties, rules, now }, recordedAs)
    return connection
  })
}
