import type { Sql } from '../../store/sql.ts'

/** Where {@link shutOut} looks. */
export interface ShutOutDeps {
  readonly sql: Sql
  readonly now: () => number
}

/**
 * Which of these people (`user:anne`) have no request answered, whatever OpenFGA says: a directory
 * deactivated or holds them, or the operator disabled them.
 */
export async function shutOut(
  { sql, now }: ShutOutDeps,
  people: readonly string[],
): Promise<ReadonlySet<string>> {
  if (people.length === 0) return new Set()
  const rows = await sql.query<{ key: string }>(
    `select key from revocations where kind = 'subject' and key = any($1::text[]) and (until is null or until > $2)`,
    [people, new Date(now())],
  )
  return new Set(rows.map(({ key }) => key))
}

/** Says it of one. */
export const shutOutInWords = (user: string): string =>
  `${user} is shut out: no request of theirs is answered.`
