import type { Runtime } from '../../store/runtime.ts'
import type { Sql } from '../../store/sql.ts'

/**
 * One more way to sign in as somebody, which they hear of for a day: until then it shows no more than a
 * password.
 */
export interface AccountNews {
  readonly kind: 'passkey' | 'link'
  readonly at: Date
  /** Of a link: the provider. A passkey's name was chosen by whoever added it. */
  readonly issuer?: string
}

/** For how long what was added shows nothing yet, and is told of. */
export const settlesMs = 86_400_000

/**
 * SQL: what is to be told since `since`, as `(key, person, at, issuer)`. The key is of this person and
 * moment: what somebody else added before is other news.
 */
export const newsSince = (sincePlaceholder: string): string => `(
  select concat_ws(' ', 'passkey', id, person, extract(epoch from created_at)) as key, person, created_at as at, null as issuer
  from passkeys where created_at > ${sincePlaceholder}
  union all
  select concat_ws(' ', 'link', issuer, sub, person, extract(epoch from linked_at)), person, linked_at, issuer
  from account_links where linked_at > ${sincePlaceholder})`

/** What was added to somebody's account within a day, newest first. */
export const createAccountNews =
  ({ sql, clock }: Pick<Runtime, 'sql' | 'clock'>) =>
  async (person: string): Promise<readonly AccountNews[]> => {
    const rows = await sql.query<{ at: Date; issuer: string | null }>(
      `select at, issuer from ${newsSince('$2')} as news where person = $1 order by at desc`,
      [person, new Date(clock.now() - settlesMs)],
    )
    return rows.map(({ at: addedAt, issuer }) =>
      issuer === null ? { kind: 'passkey', at: addedAt } : { kind: 'link', at: addedAt, issuer },
    )
  }

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
