import type { Sql } from '../../store/sql.ts'

/**
 * What telling a browser ends with, each in the caller's transaction. A session that is merely over ends none: who is to
 * answer in the morning has to hear of it first.
 */

/** Somebody signed out there. */
export async function endPushOfSession(sql: Sql, session: string): Promise<void> {
  await sql.query('delete from push_subscriptions where session_hash = $1', [session])
}

/** Everywhere, or in every browser but that of one session. */
export async function endPushOf(
  sql: Sql,
  person: string,
  { except }: { readonly except?: string } = {},
): Promise<void> {
  await sql.query(
    'delete from push_subscriptions where person = $1 and ($2::text is null or session_hash <> $2)',
    [person, except ?? null],
  )
}

/** A browser's next session: the same person is told there as before, and nobody in the name of another one. */
export async function passPushOn(
  sql: Sql,
  { from, to, person }: { readonly from: string; readonly to: string; readonly person: string },
): Promise<void> {
  await sql.query('delete from push_subscriptions where session_hash = $1 and person <> $2', [from, person])
  await sql.query('update push_subscriptions set session_hash = $2 where session_hash = $1', [from, to])
}
