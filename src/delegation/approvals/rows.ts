import { readRows, type Sql, type SqlValue } from '../../store/sql.ts'
import { type Approval, type DecidedIn, isOpen, type QuestionRound } from './approval.ts'
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
  const rows = await readRows<ApprovalRow>(
    sql,
    `select ${columns}, ${isCurrent} as "isCurrent" from approvals a where ${condition}`,
    [now, ...values],
  )
  return rows.map(fromRow)
}

/** SQL: whether the open approval `a` can still be answered at $1. */
export const isCurrent = `(a.expires_at > $1 and exists (
  select from delegations d where d.id = a.delegation and d.state = 'live' and d.expires_at > $1)
  and not exists (select from agents g where g.id = a.agent and g.disabled_at is not null))`

const columns = `a.id, a.subject, a.agent, a.client, a.delegation, a.asked, a.front, a.purpose,
  a.binding_message as "bindingMessage", a.state, a.version, a.rounds, a.created_at as "createdAt",
  a.expires_at as "expiresAt", a.reason, a.answer, a.grant_id as "grant", a.txn, a.decided_at as "decidedAt",
  a.decided_in as "decidedIn"`

interface ApprovalRow extends Omit<Approval, 'asked' | 'answer' | 'rounds' | 'decidedIn'> {
  readonly asked: AskedColumn
  readonly answer?: AskedColumn
  readonly rounds: readonly RoundColumn[]
  readonly decidedIn?: DecidedInColumn
  readonly isCurrent: boolean
}

/** Older rows hold scopes only where a token for an API is asked for. */
type AskedColumn = AccessTarget & Partial<Pick<RequestedAccess, 'scopes'>>

interface DecidedInColumn extends Omit<DecidedIn, 'signedInAt'> {
  readonly signed_in_at: string
}

interface RoundColumn extends Pick<QuestionRound, 'question' | 'answer'> {
  readonly asked_at: string
  readonly answered_at?: string
}

const fromRow = ({
  asked: requestedAccess,
  answer,
  rounds,
  decidedIn,
  isCurrent,
  ...row
}: ApprovalRow): Approval => ({
  ...row,
  asked: toAsked(requestedAccess, row.front),
  state: isOpen(row) && !isCurrent ? 'expired' : row.state,
  rounds: rounds.map(toRound),
  ...(decidedIn !== undefined && { decidedIn: toDecidedIn(decidedIn) }),
  ...(answer !== undefined && { answer: toAsked(answer, row.front) }),
})

/** A page that showed no scopes was agreed to for no more than the yes takes. */
function toAsked(column: AskedColumn, front: Approval['front']): RequestedAccess {
  const least = column.kind === 'access' || front === 'rest' ? [] : [scopeOfApproved[column.kind]]
  return { ...column, scopes: column.scopes ?? least }
}

const toDecidedIn = ({ signed_in_at, ...otherMembers }: DecidedInColumn): DecidedIn => ({
  signedInAt: new Date(signed_in_at),
  ...otherMembers,
})

/** As the column `decided_in` holds it; null where the sign-in is not known. */
export const decidedInToColumn = ({ signedInAt, amr = [], upstream }: Partial<DecidedIn>): string | null =>
  signedInAt === undefined ? null : JSON.stringify({ signed_in_at: signedInAt, amr, upstream })

const toRound = ({ asked_at, answered_at, ...words }: RoundColumn): QuestionRound => ({
  ...words,
  askedAt: new Date(asked_at),
  ...(answered_at !== undefined && { answeredAt: new Date(answered_at) }),
})

/** As the column `rounds` holds them: `pg` would make an array of Postgres out of a bare one. */
export const roundsToColumn = (rounds: readonly QuestionRound[]): string =>
  JSON.stringify(
    rounds.map(({ askedAt, answeredAt, ...words }) => ({
      ...words,
      asked_at: askedAt,
      answered_at: answeredAt,
    })),
  )
