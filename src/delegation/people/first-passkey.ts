import type { Sql } from '../../store/sql.ts'
import { settlesMs } from './account-news.ts'

const removalCountsMs = 7 * 86_400_000

/**
 * Whether a passkey that they add now counts at once, without another means of theirs: an account that has
 * its password alone is as safe as that, and cannot be made safer by a wait. Not beside another passkey, nor
 * an account elsewhere that was linked a day ago or longer, nor within 7 days of the end of either: whoever
 * stole a session could end it first.
 */
export async function isFirstMeans(sql: Sql, person: string, signedInAt: Date): Promise<boolean> {
  const [row] = await sql.query<{ readonly first: boolean }>(
    `select coalesce(passkey_removed_at <= $2, true)
       and not exists (select from passkeys where passkeys.person = key)
       and not exists (select from account_links where account_links.person = key and linked_at <= $3)
       and not exists (
         select from account_links_ended as ended where ended.person = key and ended_at > $2) as first
     from people where key = $1`,
    [person, new Date(signedInAt.getTime() - removalCountsMs), new Date(signedInAt.getTime() - settlesMs)],
  )
  return row?.first ?? false
}
