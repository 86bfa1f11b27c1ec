import { cursorAt, positionIn } from '../../kernel/cursor.ts'
import { readRows, type Sql } from '../../store/sql.ts'
import type { Delegation } from './delegation.ts'

/** A delegation as whoever looks into it sees it, ended ones too. */
export interface ListedDelegation extends Omit<Delegation, 'details' | 'state'> {
  readonly revokedAt: Date | undefined
  readonly state: ListedDelegationState
  /** Of the agent that it was lent to: it is given nothing, however live this is. */
  readonly isAgentDisabled: boolean
}

/** Every state that the list tells apart. */
export const listedDelegationStates = ['live', 'over', 'revoked'] as const
/** `over`: its time has passed. */
export type ListedDelegationState = (typeof listedDelegationStates)[number]

/** All of them have to fit; none: everybody's. */
export interface DelegationFilter {
  readonly id?: string | undefined
  readonly subject?: string | undefined
  /** As the one that it was lent to, or one that it may be passed on to. */
  readonly agent?: string | undefined
  readonly state?: ListedDelegationState | undefined
}

/** One page of the list, and the cursor of the next. */
export interface DelegationPage {
  /** Newest first. */
  readonly rows: readonly ListedDelegation[]
  /** Where the next page begins; undefined on the last. */
  readonly next: string | undefined
}

/** Answers one page; `limit` is a number of rows. */
export type ListDelegations = (
  filter: DelegationFilter,
  page: { readonly cursor?: string | undefined; readonly limit: number },
) => Promise<DelegationPage>

/**
 * Who lent what to which agent, until when, and what became of it. What was begun and never came to count is
 * left out. Does NOT check who asks. Throws `invalid_request` for a cursor that is none.
 */
export const createDelegationList =
  ({ sql, now }: { readonly sql: Sql; readonly now: () => number }): ListDelegations =>
  async ({ id, subject, agent, state }, { cursor, limit }) => {
    const position = positionIn(cursor, readPosition)
    const found = await readRows<ListedDelegation>(sql, select, [
      id ?? null,
      subject ?? null,
      agent ?? null,
      state ?? null,
      new Date(now()),
      position?.createdAt ?? null,
      position?.id ?? null,
      limit + 1,
    ])
    const rows = found.slice(0, limit)
    const lastRow = found.length > limit ? rows.at(-1) : undefined
    return { rows, next: lastRow && cursorAt([lastRow.createdAt.getTime(), lastRow.id]) }
  }

const state = `case when state = 'revoked' then 'revoked' when expires_at <= $5 then 'over' else 'live' end`

// Outermost and inner agents each by an index of their own.
const select = `
  select id, subject, agent, sub_agents as "subAgents", scope, resource, purpose, standing, created_at as "createdAt",
    expires_at as "expiresAt", revoked_at as "revokedAt", ${state} as state,
    exists (select from agents where agents.id = agent and disabled_at is not null) as "isAgentDisabled"
  from delegations
  where state <> 'lending'
    and ($1::text is null or id = $1)
    and ($2::text is null or subject = $2)
    and ($3::text is null or agent = $3 or (sub_agents <> '{}' and sub_agents @> array[$3]))
    and ($4::text is null or ${state} = $4)
    and ($6::timestamptz is null or created_at < $6 or (created_at = $6 and id > $7))
  order by created_at desc, id
  limit $8`

function readPosition([time, id]: readonly unknown[]):
  | Pick<ListedDelegation, 'createdAt' | 'id'>
  | undefined {
  // What a delegation was made at: no year that a database would not read.
  return typeof id === 'string' && Number.isSafeInteger(time) && Number(time) >= 0 && Number(time) < 4e12
    ? { createdAt: new Date(Number(time)), id }
    : undefined
}
