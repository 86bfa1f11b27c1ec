import type { Sql } from '../../store/sql.ts'
import { settlesMs } from './account-news.ts'

/**
 * What telling a browser ends with, each in the caller's transaction. A session that is merely over ends
 * none: who is to answer in the morning has to hear of it first. What ends is still told of what is added to
 * the account within a day: whoever stole a session could end it first, sign in by other means, and add a
 * passkey then.
 */

/** Somebody signed out there. */
export async function endPushOfSession(sql: Sql, session: string, endedAt: Date): Promise<void> {
  await endPushWhere(sql, 'session_hash = $1', [session], endedAt)
}

/** Everywhere, or in every browser but that of one session. */
export async function endPushOf(
  sql: Sql,
  person: string,
  { at: endedAt, except }: { readonly at: Date; readonly except?: string },
): Promise<void> {
  const condition = 'person = $1 and ($2::text is null or session_hash <> $2)'
  await endPushWhere(sql, condition, [person, except ?? null], endedAt)
}

/** At once, for whatever comes: who runs this has barred the person, or changed their password. */
export async function forgetPushOf(sql: Sql, person: string): Promise<void> {
  await sql.query('delete from push_subscriptions where person = $1', [person])
  await sql.query('delete from push_ended where person = $1', [person])
}

/** A browser's next session: the same person is told there as before; for another one it ends. */
export async function passPushOn(
  sql: Sql,
  change: { readonly from: string; readonly to: string; readonly person: string; readonly at: Date },
): Promise<void> {
  const { from: oldSession, to: newSession, person, at: endedAt } = change
  await endPushWhere(sql, 'session_hash = $1 and person <> $2', [oldSession, person], endedAt)
  await sql.query('update push_subscriptions set session_hash = $2 where session_hash = $1', [
    oldSession,
    newSession,
  ])
}

/**
 * `condition`: of what ends at `endedAt`, with `values`. Of one person 20 are kept, those that were told for
 * longest.
 */
export async function endPushWhere(
  sql: Sql,
  condition: string,
  values: readonly (string | null)[],
  endedAt: Date,
): Promise<void> {
  const ended = await sql.query<{ person: string }>(
    `with ended as (
       delete from push_subscriptions where ${condition} returning endpoint_hash, person, sealed, saved_at)
     insert into push_ended (endpoint_hash, person, sealed, saved_at, news_until)
     select endpoint_hash, person, sealed, saved_at, $${values.length + 1} from ended
     on conflict (endpoint_hash, person) do update set sealed = excluded.sealed,
       saved_at = least(push_ended.saved_at, excluded.saved_at),
       news_until = greatest(push_ended.news_until, excluded.news_until)
     returning person`,
    [...values, new Date(endedAt.getTime() + settlesMs)],
  )
  // Whoever adds more than that, to end them, cannot push out those that stood before.
  for (const person of new Set(ended.map((subscription) => subscription.person)))
    await sql.query(
      `delete from push_ended where person = $1 and endpoint_hash not in (
         select endpoint_hash from push_ended where person = $1 order by saved_at, endpoint_hash limit 20)`,
      [person],
    )
}
