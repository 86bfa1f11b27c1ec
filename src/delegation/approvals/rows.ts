import type { FgaObject } from '../../kernel/ids.ts'
import type { Sql, SqlValue } from '../../store/sql.ts'
import type { ExternalAccount } from '../people/links.ts'
import { type Approval, type ApprovalState, type DecidedIn, isOpen, type QuestionRound } from './approval.ts'
import { type AccessTarget, type RequestedAccess, scopeOfApproved } from './requested-access.ts'

/**
 * Approvals as they stand at `now`. `where` is a condition on `a` whose parameters begin at $2. One whose
 * time is over, or whose delegation or agent is, reads as expired, whatever the row says.
 */
export async function readApprovals(
  sql: Sql,
  condition: string,
  now: Date,
  values: readonly SqlValue[],
): Promise<Approval[]> {
  const rows = await sql.query<ApprovalRow>(
    `select ${columns}, ${isCurrent} as current from approvals a where ${condition}`,
    [now, ...values],
  )
  return rows.map((row) => fromRow(row))
}

/** SQL: whether the open approval `a` can still be answered at $1. */
export const isCurrent = `(a.expires_at > $1 and exists (
  select from delegations d where d.id = a.delegation and d.state = 'live' and d.expires_at > $1)
  and not exists (select from agents g where g.id = a.agent and g.disabled_at is not null))`

const columns = `a.id, a.subject, a.agent, a.client, a.delegation, a.asked, a.front, a.purpose, a.binding_message,
  a.state, a.version, a.rounds, a.created_at, a.expires_at, a.reason, a.answer, a.grant_id, a.txn,
  a.decided_at, a.decided_in`

interface ApprovalRow {
  readonly id: string
  readonly subject: FgaObject
  readonly agent: string
  readonly client: string
  readonly delegation: string
  readonly asked: AskedColumn
  readonly front: Approval['front']
  readonly purpose: string | null
  readonly binding_message: string | null
  readonly state: ApprovalState
  readonly version: number
  readonly rounds: readonly RoundRow[]
  readonly created_at: Date
  readonly expires_at: Date
  readonly reason: string | null
  readonly answer: AskedColumn | null
  readonly grant_id: string | null
  readonly txn: string
  readonly decided_at: Date | null
  readonly decided_in: DecidedInRow | null
  readonly current: boolean
}

/** Older rows hold scopes only where a token for an API is asked for. */
type AskedColumn = AccessTarget & Partial<Pick<RequestedAccess, 'scopes'>>

interface DecidedInRow {
  readonly signed_in_at: string
  readonly amr: readonly string[]
  readonly upstream?: ExternalAccount
}

interface RoundRow {
  readonly question: string
  readonly asked_at: string
  readonly answer?: string
  readonly answered_at?: string
}

const fromRow = (row: ApprovalRow): Approval => ({
  id: row.id,
  subject: row.subject,
  agent: row.agent,
  client: row.client,
  delegation: row.delegation,
  asked: toAsked(row.asked, row.front),
  front: row.front,
  ...(row.purpose !== null && { purpose: row.purpose }),
  ...(row.binding_message !== null && { bindingMessage: row.binding_message }),
  state: isOpen(row) && !row.current ? 'expired' : row.state,
  rounds: row.rounds.map(toRound),
  createdAt: row.created_at,
  expiresAt: row.expires_at,
  ...(row.reason !== null && { reason: row.reason }),
  ...(row.grant_id !== null && { grant: row.grant_id }),
  ...(row.decided_at !== null && { decidedAt: row.decided_at }),
  ...(row.decided_in !== null && { decidedIn: toDecidedIn(row.decided_in) }),
  ...(row.answer !== null && { answer: toAsked(row.answer, row.front) }),
  txn: row.txn,
  version: row.version,
})

/** A page that showed no scopes was agreed to for no more than the yes takes. */
function toAsked(column: AskedColumn, front: Approval['front']): RequestedAccess {
  const least = column.kind === 'access' || front === 'rest' ? [] : [scopeOfApproved[column.kind]]
  return { ...column, scopes: column.scopes ?? least }
}

const toDecidedIn = ({ signed_in_at, ...otherColumns }: DecidedInRow): DecidedIn => ({
  signedInAt: new Date(signed_in_at),
  ...otherColumns,
})

/** As the column `decided_in` holds it; null where the sign-in is not known. */
export const decidedInToColumn = ({ signedInAt, amr, upstream }: Partial<DecidedIn>): string | null =>
  signedInAt === undefined
    ? null
    : JSON.stringify({
        signed_in_at: signedInAt.toISOString(),
        amr: amr ?? [],
        ...(upstream !== undefined && { upstream }),
      })

const toRound = ({ question, asked_at, answer, answered_at }: RoundRow): QuestionRound => ({
  question,
  askedAt: new Date(asked_at),
  ...(answer !== undefined && { answer }),
  ...(answered_at !== undefined && { answeredAt: new Date(answered_at) }),
})

/** As the column `rounds` holds them: `pg` would make an array of Postgres out of a bare one. */
export const roundsToColumn = (rounds: readonly QuestionRound[]): string =>
  JSON.stringify(
    rounds.map(
      ({ question, askedAt, answer, answeredAt }): RoundRow => ({
        question,
        asked_at: askedAt.toISOString(),
        ...(answer !== undefined && { answer }),
        ...(answeredAt !== undefined && { answered_at: answeredAt.toISOString() }),
      }),
    ),
  )
