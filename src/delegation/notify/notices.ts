import type { Clock } from '../../kernel/clock.ts'
import type { Sql } from '../../store/sql.ts'
import { isCurrent } from '../approvals/rows.ts'
import { newsSince, settlesMs } from '../people/account-news.ts'

/** That somebody's answer is waited for (a new question, or the agent's answer to theirs), or that their account has news. */
export interface Notice {
  /** Or what is new: `passkey …`, `link …`, in round 0. */
  readonly approval: string
  /** How many of the person's own questions were answered by then. */
  readonly round: number
  /** Account key of who is to be told. */
  readonly person: string
  /** Until when an answer counts, or it is news. */
  readonly expiresAt: Date
  /** When it came to be, of news of the account. */
  readonly newsAt?: Date
  /** This one included. Also the number under which it was taken: whoever takes it next has another. */
  readonly tries: number
  /** From then on others take it. */
  readonly takenUntil: Date
  /** Endpoints that were told, or are not to be asked again, by their hashes. */
  readonly told: readonly string[]
}

/** One row for each approval and round. Each method is one statement. */
export interface Notices {
  /**
   * Takes what somebody is to be told now, for the next `forMs`: nobody else takes it until then, and whoever took it and
   * died is not waited for longer. `approval`: only that one's. What is answered or over is never taken.
   */
  take(options: { readonly forMs: number; readonly approval?: string }): Promise<readonly Notice[]>
  told(notice: Notice, endpointHash: string): Promise<void>
  /** Never again, which stays so whoever says it; or later, only while nobody took it since. */
  set(notice: Notice, next: { readonly after: Date } | 'never'): Promise<void>
  /** Drops those that nobody has been at for a week: their questions are long over. Returns how many. */
  sweep(): Promise<number>
}

const takenMax = 10
// Whoever dies of one each time leaves it to others, but not for ever.
const triesMax = 10
const keptMs = 7 * 24 * 3_600_000

export function createNotices({ sql, clock }: { readonly sql: Sql; readonly clock: Clock }): Notices {
  const now = () => new Date(clock.now())
  return {
    async take({ forMs, approval }) {
      const takenUntil = new Date(clock.now() + forMs)
      const rows = await sql.query<NoticeRow>(
        `with told as (
           select a.id, jsonb_array_length(a.rounds) as round, substr(a.subject, 6) as person, a.expires_at, a.created_at,
             null::timestamptz as news_at
           from approvals a where a.state = 'pending' and ${isCurrent}
           union all
           select key, 0, person, at + $5::interval, at, at from ${newsSince('$4::timestamptz')} as news),
         due as (
           select told.* from told left join push_notices n on n.approval = told.id and n.round = told.round
           where ($3::text is null or told.id = $3)
             and (n.approval is null or not n.done and n.due_at <= $1 and n.tries < ${triesMax})
           order by told.created_at limit ${takenMax}),
         taken as (
           insert into push_notices as n (approval, round, tries, due_at, done)
           select id, round, 1, $2, false from due
           on conflict (approval, round) do update set tries = n.tries + 1, due_at = excluded.due_at
             where not n.done and n.due_at <= $1
           returning approval, round, tries, told)
         select taken.*, due.person, due.expires_at, due.news_at from taken join due on due.id = taken.approval`,
        [now(), takenUntil, approval ?? null, new Date(clock.now() - settlesMs), `${settlesMs} milliseconds`],
      )
      return rows.map(({ expires_at: expiresAt, news_at: newsAt, ...row }) => ({
        ...row,
        expiresAt,
        ...(newsAt !== null && { newsAt }),
        takenUntil,
      }))
    },
    async told({ approval, round }, endpointHash) {
      await sql.query(
        'update push_notices set told = array_append(told, $3) where approval = $1 and round = $2',
        [approval, round, endpointHash],
      )
    },
    async set({ approval, round, tries }, next) {
      await (next === 'never'
        ? sql.query('update push_notices set done = true, due_at = $3 where approval = $1 and round = $2', [
            approval,
            round,
            now(),
          ])
        : sql.query(
            `update push_notices set due_at = $3
             where approval = $1 and round = $2 and tries = $4 and not done`,
            [approval, round, next.after, tries],
          ))
    },
    async sweep() {
      const rows = await sql.query('delete from push_notices where due_at < $1 returning approval', [
        new Date(clock.now() - keptMs),
      ])
      return rows.length
    },
  }
}

interface NoticeRow {
  readonly approval: string
  readonly round: number
  readonly tries: number
  readonly told: readonly string[]
  readonly person: string
  readonly expires_at: Date
  readonly news_at: Date | null
}
