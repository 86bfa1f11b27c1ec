import type { Clock } from '../../kernel/clock.ts'
import { readRows, type Sql } from '../../store/sql.ts'
import { isCurrent } from '../approvals/rows.ts'
import { newsSince, settlesMs } from '../people/account-news.ts'

/** Which notice: a question in one of its rounds, or news of an account. */
export interface NoticeKey {
  /** Or what is new: `passkey …`, `link …`, in round 0. */
  readonly approval: string
  /** How many of the person's own questions were answered by then. */
  readonly round: number
}

/**
 * That somebody's answer is waited for (a new question, or the agent's answer to theirs), or that their
 * account has news.
 */
export interface Notice extends NoticeKey {
  /** Account key of who is to be told. */
  readonly person: string
  /** Until when an answer counts, or it is news. */
  readonly expiresAt: Date
  /** When it came to be, of news of the account. */
  readonly newsAt?: Date
}

/** One row for each approval and round that was handed to the queue. Each method is one statement. */
export interface Notices {
  /**
   * What nobody has handed over yet, of all or of one approval, marked as handed over. What is answered or
   * over is left out.
   */
  take(sql: Sql, approval?: string): Promise<readonly Notice[]>
  /** As it stands now; undefined once it is answered, over or no news any more. */
  get(key: NoticeKey): Promise<Notice | undefined>
  /** Drops the marks of a week ago: their questions are long over. Returns how many. */
  sweep(): Promise<number>
}

const batchSize = 100
const keptMs = 7 * 24 * 3_600_000

/** What somebody is to be told at $1, with news since $2, of all or of approval $3. */
const openNotices = `
  select a.id, jsonb_array_length(a.rounds) as round, substr(a.subject, 6) as person, a.expires_at, a.created_at,
    null::timestamptz as news_at
  from approvals a where a.state = 'pending' and ($3::text is null or a.id = $3) and ${isCurrent}
  union all
  select key, 0, person, at + interval '${settlesMs} milliseconds', at, at
  from ${newsSince('$2::timestamptz')} as news where ($3::text is null or key = $3)`

/** Marks what was taken in the caller's transaction, so that no two processes send it. */
export function createNotices({ sql, clock }: { readonly sql: Sql; readonly clock: Clock }): Notices {
  const times = () => [new Date(clock.now()), new Date(clock.now() - settlesMs)]
  return {
    take: (transaction, approval) =>
      readRows<Notice>(
        transaction,
        `with open as (${openNotices}),
         due as (
           select open.* from open left join push_notices n on n.approval = open.id and n.round = open.round
           where n.approval is null order by open.created_at limit ${batchSize}),
         taken as (
           insert into push_notices (approval, round, queued_at) select id, round, $1 from due
           on conflict (approval, round) do nothing returning approval, round)
         select due.id as approval, due.round, due.person, due.expires_at as "expiresAt", due.news_at as "newsAt"
         from due join taken on taken.approval = due.id and taken.round = due.round`,
        [...times(), approval ?? null],
      ),
    async get({ approval, round }) {
      const [notice] = await readRows<Notice>(
        sql,
        `select id as approval, round, person, expires_at as "expiresAt", news_at as "newsAt" from (${openNotices}) as open where round = $4`,
        [...times(), approval, round],
      )
      return notice
    },
    async sweep() {
      const rows = await sql.query('delete from push_notices where queued_at < $1 returning approval', [
        new Date(clock.now() - keptMs),
      ])
      return rows.length
    },
  }
}
