import type { RecordActor } from '../../audit/record.ts'
import type { Clock } from '../../kernel/clock.ts'
import { AppError } from '../../kernel/errors.ts'
import { agentOf, type Principal } from '../../kernel/principal.ts'
import { ok, type Result, refuse } from '../../kernel/result.ts'
import type { Sql } from '../../store/sql.ts'
import { mayUse, usedBy } from './agreements.ts'
import type { Provider, Rule } from './provider.ts'
import { ruleList } from './rows.ts'
import type { LiveToken, LiveTokens } from './tokens.ts'

/** What one agent may do, through one client, with an account that a person linked. */
export interface ConnectionForAgent {
  readonly id: string
  readonly provider: Provider
  /** What the person agreed to; whatever else is asked for needs an approval. */
  readonly rules: readonly Rule[]
}

/** Why an agent gets no connection. Forbidden and missing share one answer. */
export type NoConnection = 'connection_required' | 'reconnect_required' | 'not_found'

/** The error that leads the person to the page on which they can agree to what is missing. */
export async function unlinked(
  connections: Pick<Connections, 'connectUrl'>,
  principal: Principal,
  provider: string,
  code: 'connection_required' | 'reconnect_required',
): Promise<AppError> {
  const connect_url = await connections.connectUrl(principal, provider)
  return new AppError(code, { members: { connect_url } })
}

/** How a token is used, and who is on record for it. */
export interface ConnectionUse<T> {
  /** On record before the token is used, and with each refresh. */
  readonly recordedAs: RecordActor
  /**
   * Whether the API refused the token itself (401). Then it is refreshed once and used once more, where that
   * can be; what comes of that is the answer. Left out: never.
   */
  readonly isRefused?: (answer: T) => boolean
}

/** What agents may use of the accounts that people connected. */
export interface Connections {
  /**
   * By this person, for the outermost agent and the client through which it speaks: another client of the
   * same agent is another consent. `not_found`: no such provider, or no agent. `connection_required` for
   * whatever is missing: the account, the consent, the agent, the person or what they lent it. NOT checked:
   * the scope `vault.use`.
   */
  find(principal: Principal, provider: string): Promise<Result<ConnectionForAgent, NoConnection>>
  /**
   * The only way to a token: of this moment, refreshed where it is over, exchanged for a narrower one where
   * the provider can. `use` must let it get nowhere else, and is told what is agreed to by then. Throws
   * `connection_required` or `reconnect_required` where anything ended meanwhile that {@link find} asked for,
   * `provider_unavailable` where the provider does not answer. NOT checked: what `use` does by these rules.
   */
  withToken<T>(
    connection: string,
    use: (token: string, by: Pick<LiveToken, 'provider' | 'rules'>) => Promise<T>,
    options: ConnectionUse<T>,
  ): Promise<T>
  /**
   * The address of our page on which the person, and nobody else, can agree to what `find` lacked. Opens
   * nothing.
   */
  connectUrl(principal: Principal, provider: string): Promise<string>
}

export interface ConnectionsDeps {
  readonly sql: Sql
  readonly clock: Clock
  readonly providers: readonly Provider[]
  readonly tokens: LiveTokens
  readonly randomBytes: (size: number) => Buffer
  readonly publicUrl: string
}

// Long enough for somebody who is told of it in the evening.
const requestMs = 24 * 3_600_000

/** Does NOT check the scope `vault.use`. */
export function createConnections(deps: ConnectionsDeps): Connections {
  const { sql, clock, providers, tokens, publicUrl } = deps

  return {
    async find(principal, name) {
      const provider = providers.find((candidate) => candidate.name === name)
      if (provider === undefined || agentOf(principal) === undefined) return refuse('not_found')
      const [row] = await sql.query<{ id: string; state: string; rules: unknown }>(
        `select c.id, c.state, a.rules from connections as c join connection_agents as a on a.connection = c.id
         where ${mayUse} and c.provider = $6 and c.issuer = $7 and c.state <> 'ended' limit 1`,
        [...usedBy(principal, clock.now()), name, provider.issuer],
      )
      if (row === undefined) return refuse('connection_required')
      if (row.state !== 'live') return refuse('reconnect_required')
      return ok({ id: row.id, provider, rules: ruleList.parse(row.rules) })
    },
    async withToken(connection, use, { recordedAs, isRefused = () => false }) {
      const firstToken = await tokens.get(connection, recordedAs)
      const answer = await use(firstToken.token, firstToken)
      if (!isRefused(answer)) return answer
      const second = await tokens.after(firstToken, recordedAs)
      return second === undefined ? answer : use(second.token, second)
    },
    async connectUrl(principal, provider) {
      const agent = agentOf(principal)
      if (agent === undefined) throw new Error('Only an agent is led to the page.')
      // One for each: asking again and again makes no more of them.
      const [row] = await sql.query<{ id: string }>(
        `insert into connection_requests (id, subject, agent, client, provider, txn, expires_at)
         values ($1, $2, $3, $4, $5, $6, $7)
         on conflict (subject, agent, client, provider)
           do update set txn = excluded.txn, expires_at = excluded.expires_at
         returning id`,
        [
          `cr_${deps.randomBytes(16).toString('base64url')}`,
          principal.subject,
          agent,
          principal.client,
          provider,
          principal.txn,
          new Date(clock.now() + requestMs),
        ],
      )
      return `${publicUrl}/connections/requests/${row?.id ?? ''}`
    },
  }
}
