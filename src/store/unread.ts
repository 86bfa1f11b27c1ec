import type { Sql } from './sql.ts'

const minutes = 10
const problem = 'No process reads it: none runs, or none has the credential that it names.'

const read = {
  sources: { key: 'id', isRead: `state in ('active', 'removing')`, lease: 'source:' },
  directories: { key: 'name', isRead: `kind <> 'scim'`, lease: 'directory:' },
} as const

/**
 * Says of sources or directories which have been due for ten minutes, and which no process reads, that this
 * is so. The next reading says something else.
 */
export async function noteUnread(sql: Sql, table: keyof typeof read): Promise<void> {
  const { key, isRead, lease } = read[table]
  await sql.query(
    `update ${table} set problem = $1
     where ${isRead} and next_at < now() - make_interval(mins => $2) and problem is distinct from $1
       and not exists (select from leases where object = '${lease}' || ${table}.${key})`,
    [problem, minutes],
  )
}
