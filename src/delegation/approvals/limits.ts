import { AppError } from '../../kernel/errors.ts'
import type { Sql } from '../../store/sql.ts'
import type { Requester } from './approval.ts'
import { comparedPartOf, type RequestedAccess } from './requested-access.ts'
import { isCurrent } from './rows.ts'

/** Questions of one agent that one person has before them at a time. */
export const openMax = 5
/** Questions of one agent to one person in an hour, answered or not. */
export const hourlyMax = 20
/** How long a no stands before the same may be asked again, in milliseconds. */
export const coolDownMs = 10 * 60_000

const hourMs = 3_600_000

/**
 * Throws 429 with `Retry-After` where this agent has asked this person enough: so that nobody says yes
 * because they are tired. The caller holds the pair's row, so that nothing is counted twice. Resolves with
 * whether they said no to the same lately: a refusal of its own would tell a blocked agent that it is. What
 * they were not asked is no no of theirs.
 */
export async function assertRoom(
  sql: Sql,
  { subject, agent }: Pick<Requester, 'subject' | 'agent'>,
  access: RequestedAccess,
  now: Date,
): Promise<{ readonly isDenied: boolean }> {
  const [counts] = await sql.query<Counts>(
    `select
       (select count(*) from approvals a where a.subject = $2 and a.agent = $3
          and a.state in ('pending', 'info_requested') and ${isCurrent}) as open,
       (select min(a.expires_at) from approvals a where a.subject = $2 and a.agent = $3
          and a.state in ('pending', 'info_requested') and ${isCurrent}) as "openUntil",
       (select count(*) from approvals a where a.subject = $2 and a.agent = $3 and a.created_at > $4) as recent,
       (select min(a.created_at) from approvals a where a.subject = $2 and a.agent = $3 and a.created_at > $4) as since,
       exists (select from approvals a where a.subject = $2 and a.agent = $3 and a.created_at > $5
          and a.state = 'denied' and not a.blocked and a.decided_at > $6 and a.asked @> $7::jsonb) as "isDenied"`,
    [
      now,
      subject,
      agent,
      new Date(now.getTime() - hourMs),
      // A question lives a day, and one more by an answer: the index finds those that can have been denied
      // lately.
      new Date(now.getTime() - 50 * hourMs),
      new Date(now.getTime() - coolDownMs),
      comparedPartOf(access),
    ],
  )
  if (counts === undefined) throw new Error('Counting gave no row.')
  const { open: openCount, openUntil, recent, since: windowStart, isDenied } = counts
  if (openCount >= openMax)
    throw tooMany(
      `This person has ${openMax} questions of this agent before them.`,
      openUntil?.getTime() ?? now.getTime(),
      now,
    )
  if (recent >= hourlyMax)
    throw tooMany(
      `This person was asked ${hourlyMax} times within an hour.`,
      (windowStart?.getTime() ?? now.getTime()) + hourMs,
      now,
    )
  return { isDenied }
}

interface Counts {
  readonly open: number
  readonly openUntil: Date | null
  readonly recent: number
  readonly since: Date | null
  readonly isDenied: boolean
}

const tooMany = (reason: string, retryAt: number, now: Date): AppError =>
  new AppError('rate_limited', {
    public: `${reason} There is room again at ${new Date(retryAt).toISOString()}.`,
    headers: { 'retry-after': String(Math.max(1, Math.ceil((retryAt - now.getTime()) / 1_000))) },
  })
