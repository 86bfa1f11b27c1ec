import type { Sql } from './sql.ts'

// In `settings`, a row for each such group. 'older': nobody said since who is in it; 'said': all of it was
// said, and it is to be compared with OpenFGA.
const prefix = 'directory_group_older/'

/** Whether rows of the group are of an older copy. `group`: an expression that gives its id. */
export const isOlderGroup = (group: string): string =>
  `exists (select from settings where key = '${prefix}' || ${group})`

/** Groups of which rows are of an older copy: `group_id`. */
export const olderGroups = `select substr(key, ${prefix.length + 1}) as group_id from settings
  where starts_with(key, '${prefix}')`

/** Those of them of which all was said since, and that nobody has compared yet. */
export const saidGroups = `${olderGroups} and value = '"said"'`

/**
 * Who is in a directory's groups is of an older copy from now on: OpenFGA knows better, and no group is held
 * to its rows before its directory has said all of it again. What waited to be written is over, too.
 */
export async function distrustGroups(sql: Sql): Promise<void> {
  await sql.query(
    `insert into settings (key, value) select '${prefix}' || id, '"older"' from directory_groups
     where deleted_at is null on conflict (key) do update set value = excluded.value`,
  )
  await sql.query(`delete from directory_unsettled where ${isOlderGroup('group_id')}`)
}

/** All of who is in these groups was said. */
export async function noteSaid(sql: Sql, groups: readonly string[]): Promise<void> {
  await sql.query(`update settings set value = '"said"' where key = any($1)`, [
    groups.map((id) => `${prefix}${id}`),
  ])
}

/** As {@link noteSaid}, of all groups of a directory but these. */
export async function noteAllSaid(
  sql: Sql,
  directory: string,
  except: readonly string[] = [],
): Promise<void> {
  await sql.query(
    `update settings set value = '"said"' from directory_groups
     where key = '${prefix}' || id and directory = $1 and id <> all($2::text[])`,
    [directory, [...except]],
  )
}

/** Whether all of a group was said since, and nobody has compared it yet. */
export const isSaid = (sql: Sql, group: string): Promise<boolean> => isIn(sql, group, 'said')

/** Whether somebody may be in a group whom no row tells of. */
export const isUnsaid = (sql: Sql, group: string): Promise<boolean> => isIn(sql, group, 'older')

const isIn = async (sql: Sql, group: string, state: 'older' | 'said'): Promise<boolean> =>
  (
    await sql.query('select from settings where key = $1 and value = to_jsonb($2::text)', [
      `${prefix}${group}`,
      state,
    ])
  ).length > 0

/** It was compared: its rows count as any others'. */
export async function trustGroup(sql: Sql, group: string): Promise<void> {
  await sql.query(`delete from settings where key = $1 and value = '"said"'`, [`${prefix}${group}`])
}
