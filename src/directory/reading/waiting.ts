import { AppError, invalid } from '../../kernel/errors.ts'
import type { Database, Sql } from '../../store/sql.ts'

/**
 * What waits for somebody's word. `end`: somebody is missing, and what they have would end for good.
 * `unblock`: somebody is missing from a group that keeps them from something. `return`: somebody whom the
 * directory ended would be active again.
 */
export type WaitingWhat = 'end' | 'unblock' | 'return'

/** One person, or one membership, by the ids of their rows. */
export interface Waiting {
  readonly what: WaitingWhat
  /** A user, or of `unblock` a group as well. */
  readonly memberId: string
  /** Of `unblock`. */
  readonly groupId?: string
}

/** What was said of what waits. */
export interface Said {
  /** Whether somebody said yes to exactly this. */
  isConfirmed(waiting: Waiting): boolean
  /** Whether it waits since an earlier reading: then it does until a yes, however few are left. */
  isWaiting(waiting: Waiting): boolean
}

/** Everything of one sort that waits in a directory. */
export interface ListedWaiting {
  readonly what: WaitingWhat
  /** Stands for exactly these, in hex. */
  readonly digest: string
  readonly members: readonly {
    /** `user:acme/anne`, or a group. */
    readonly member: string
    /** Of `unblock` the group, and the name that its directory gave it. */
    readonly group: string | null
    readonly name: string | null
  }[]
}

const keyOf = ({ what, memberId, groupId = '' }: Waiting): string => `${what} ${memberId} ${groupId}`

/** What waits since the last reading, and what somebody said yes to of it. */
export async function readSaid(sql: Sql, directory: string): Promise<Said> {
  const rows = await sql.query<Waiting & { readonly isConfirmed: boolean }>(
    `select what, member_id as "memberId", group_id as "groupId", is_confirmed as "isConfirmed"
     from directory_waiting where directory = $1`,
    [directory],
  )
  const said = new Map(rows.map((row) => [keyOf(row), row.isConfirmed]))
  return {
    isConfirmed: (waiting) => said.get(keyOf(waiting)) === true,
    isWaiting: (waiting) => said.get(keyOf(waiting)) === false,
  }
}

/** Has this wait, too. A yes to what waits already stays. */
export async function noteWaiting(sql: Sql, directory: string, waiting: readonly Waiting[]): Promise<void> {
  if (waiting.length > 0) await sql.query(insertWaiting, rowsOf(directory, waiting))
}

/** Has exactly this wait. A yes stays with what waited before, and goes with what does not any more. */
export async function replaceWaiting(
  sql: Sql,
  directory: string,
  waiting: readonly Waiting[],
): Promise<void> {
  const rows = rowsOf(directory, waiting)
  await sql.query(
    `delete from directory_waiting as old where directory = $1 and not exists (select from ${waitingNow}
       where now.what = old.what and now.member_id = old.member_id and now.group_id = old.group_id)`,
    rows,
  )
  await sql.query(insertWaiting, rows)
}

const rowsOf = (directory: string, waiting: readonly Waiting[]) => [
  directory,
  waiting.map(({ what }) => what),
  waiting.map(({ memberId }) => memberId),
  waiting.map(({ groupId = '' }) => groupId),
]

const waitingNow = 'unnest($2::text[], $3::text[], $4::text[]) as now (what, member_id, group_id)'
const insertWaiting = `insert into directory_waiting (directory, what, member_id, group_id)
  select $1, what, member_id, group_id from ${waitingNow} on conflict do nothing`

// Of exactly these rows, and of what would become of them.
const digest = `encode(sha256(convert_to(what || string_agg(E'\\n' || member_id || ' ' || group_id, ''
  order by member_id collate "C", group_id collate "C"), 'UTF8')), 'hex') as digest`

/** Everything that waits, each by name. */
export const listWaiting = (sql: Sql, directory: string): Promise<ListedWaiting[]> =>
  sql.query<ListedWaiting>(
    `select what, ${digest}, json_agg(json_build_object(
         'member', coalesce('user:' || account, 'group:' || prefix || member_id || '#member'),
         'group', 'group:' || prefix || directory_groups.id,
         'name', directory_groups.attributes ->> 'displayName'
       ) order by account, member_id, group_id) as members
     from directory_waiting join directories on name = directory
     left join directory_users on directory_users.id = member_id
     left join directory_groups on directory_groups.id = group_id
     where directory_waiting.directory = $1 and not is_confirmed group by what order by what`,
    [directory],
  )

/** Says yes to what a digest stands for, and has it done by a reading now. `conflict` for any other. */
export const confirmWaiting = (database: Database, directory: string, said: string): Promise<void> =>
  database.transaction(async (sql) => {
    // The end of a reading replaces what waits, and writes this row first.
    const [row] = await sql.query(
      `update directories set next_at = now() where name = $1 and kind <> 'scim' returning name`,
      [directory],
    )
    if (row === undefined) throw invalid('name', `There is no directory ${directory} that the service reads.`)
    const confirmed = await sql.query(
      `update directory_waiting set is_confirmed = true where directory = $1 and not is_confirmed and what =
         (select what from (select what, ${digest} from directory_waiting
            where directory = $1 and not is_confirmed group by what) as waiting where digest = $2)
       returning what`,
      [directory, said],
    )
    if (confirmed.length === 0)
      throw new AppError('conflict', { field: 'digest', public: 'This is not what waits now.' })
  })
