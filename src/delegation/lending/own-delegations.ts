import type { Clock } from '../../kernel/clock.ts'
import { AppError, invalid } from '../../kernel/errors.ts'
import type { FgaObject } from '../../kernel/ids.ts'
import type { Sql } from '../../store/sql.ts'
import { atPages } from '../people/sign-ins.ts'
import type { Agents } from '../registry/agents.ts'
import { limitsExcludeAll } from './collection-limits.ts'
import type { Delegation, Lending } from './delegation.ts'
import type { Delegations } from './delegations.ts'
import type { Lendables } from './lendable.ts'

/** A delegation as its lender sees it. */
export interface OwnDelegation extends Delegation {
  readonly items: readonly DelegatedItem[]
  /**
   * Programs that the person let it go to by a consent; empty for one lent by hand: any program of its agent.
   */
  readonly clients: readonly { readonly clientId: string; readonly title: string }[]
}

/** One object of a delegation's scope, as its lender sees it. */
export interface DelegatedItem {
  readonly object: FgaObject
  /** undefined: the person may not read it (any more), so that its title is none of their business. */
  readonly title: string | undefined
}

/** What a person fills in to lend. Whose it is comes from their session. */
export type DelegationDraft = Pick<Lending, 'agent' | 'scope' | 'purpose' | 'expiresAt'> &
  Partial<Pick<Lending, 'subAgents' | 'standing' | 'id' | 'shownAgents'>>

/** Whose they are, and the thread of the request. */
export interface Lender {
  /** Account key. */
  readonly person: string
  readonly subject: FgaObject
  readonly txn: string
  /** See `Who`. What gives something is not done after it fired. */
  readonly over?: AbortSignal | undefined
}

/** What one person lends, sees and takes back. Nobody else's delegation is there for them. */
export interface OwnDelegations {
  /** Those that count now, newest first. */
  list(lender: Lender): Promise<OwnDelegation[]>
  /**
   * 422 for what they could not read themselves, whether it exists or not; for an agent that is unknown or
   * disabled, or whose limit in the registry leaves nothing of it; for an end further off than 14 days, 90
   * for a standing one. 409: a standing one is live, or 200 are.
   */
  lend(lender: Lender, draft: DelegationDraft): Promise<OwnDelegation>
  /** With the grants that hang on it. 404 where no such one of theirs counts. */
  revoke(lender: Lender, id: string): Promise<void>
}

export interface OwnDelegationsDeps {
  readonly sql: Sql
  readonly delegations: Delegations
  readonly lendables: Lendables
  readonly agents: Pick<Agents, 'get'>
  readonly clock: Clock
}

const dayMs = 86_400_000
/** The longest that somebody may lend, in milliseconds. */
export const lendingMsMax = 14 * dayMs
const standingMsMax = 90 * dayMs
const liveMax = 200

/** Does NOT check that the caller is the person: the session does. */
export function createOwnDelegations(deps: OwnDelegationsDeps): OwnDelegations {
  const { sql, delegations, lendables, agents, clock } = deps

  async function liveDelegations(subject: FgaObject): Promise<Delegation[]> {
    const delegationRows = await delegations.listOf(subject)
    return delegationRows.filter(
      ({ state, expiresAt }) => state === 'live' && expiresAt.getTime() > clock.now(),
    )
  }

  async function described(
    subject: FgaObject,
    lentDelegations: readonly Delegation[],
  ): Promise<OwnDelegation[]> {
    const [readable, clients] = await Promise.all([
      lendables.among(
        subject,
        lentDelegations.flatMap(({ scope }) => scope),
      ),
      clientsOf(sql, lentDelegations),
    ])
    return lentDelegations.map((delegation) => ({
      ...delegation,
      items: delegation.scope.map((object) => ({ object, title: readable.get(object)?.title })),
      clients: clients.filter((client) => client.delegation === delegation.id),
    }))
  }

  return {
    list: async ({ subject }) => described(subject, await liveDelegations(subject)),
    async lend({ person, subject, txn, over: overSignal }, draft) {
      assertEnd(draft, clock.now())
      const readable = await lendables.among(subject, draft.scope)
      const missing = draft.scope.findIndex((object) => !readable.has(object))
      // Echoes what was asked for: the same words for what is missing and for what is not theirs.
      if (missing !== -1)
        throw invalid(`scope.${missing}`, `There is no ${draft.scope[missing]} that you could lend.`)
      const agent = await agents.get(draft.agent)
      // Asked after what is theirs: it tells nothing of what they may not read.
      if (agent !== undefined && (await limitsExcludeAll(sql, agent.limits, draft.scope)))
        throw invalid('scope', `${agent.id} is limited to other collections: it would read nothing of this.`)
      if ((await liveDelegations(subject)).length >= liveMax)
        throw new AppError('conflict', { public: `No more than ${liveMax} can be lent at a time.` })
      const lentDelegations = await delegations.lend({ ...draft, subject }, atPages(person, txn, overSignal))
      const [ownDelegation] = await described(subject, [lentDelegations])
      if (ownDelegation === undefined) throw new Error('A delegation was lost while it was described.')
      return ownDelegation
    },
    async revoke({ person, subject, txn }, id) {
      const isOwn = (await liveDelegations(subject)).some((delegation) => delegation.id === id)
      if (!isOwn || !(await delegations.revoke(id, atPages(person, txn)))) throw new AppError('not_found')
    },
  }
}

function assertEnd({ expiresAt, standing: isStanding = false }: DelegationDraft, now: number): void {
  const longestMs = isStanding ? standingMsMax : lendingMsMax
  // Some seconds for a form whose longest span is just that.
  if (expiresAt.getTime() > now + longestMs + 60_000)
    throw invalid(
      'expires_at',
      `The end has to be within ${longestMs / dayMs} days.${isStanding ? '' : ' Only what is standing may last longer: 90 days.'}`,
    )
}

const clientsOf = (sql: Sql, lentDelegations: readonly Delegation[]) =>
  sql.query<{ delegation: string; clientId: string; title: string }>(
    `select distinct delegation, client_id as "clientId", coalesce(title, client_id) as title
     from oauth_grants join clients using (client_id) where delegation = any($1) order by title`,
    [lentDelegations.map(({ id }) => id)],
  )
