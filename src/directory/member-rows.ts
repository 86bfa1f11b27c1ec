import { isOlderGroup, noteAllSaid, noteSaid } from '../store/older-groups.ts'
import type { Sql } from '../store/sql.ts'

/** A user or a group that can be a member. */
export interface Member {
  readonly id: string
  readonly member: string
  /** Inactive: listed, and in the group for nobody who asks. */
  readonly isDormant: boolean
}

/** Puts members in, and marks those that were not: where nobody knows who was, all of them. */
export async function addMembers(sql: Sql, group: string, members: readonly Member[]): Promise<void> {
  const added = await sql.query<{ member: string }>(
    `with added as (
       insert into directory_members (group_id, member, member_id, is_dormant)
       select $1, member, id, is_dormant
       from unnest($2::text[], $3::text[], $4::boolean[]) as given (member, id, is_dormant)
       on conflict (group_id, member) do nothing returning member)
     select member from added
     union select member from unnest($2::text[]) as given (member) where ${isOlderGroup('$1')}`,
    [
      group,
      members.map(({ member }) => member),
      members.map(({ id }) => id),
      members.map(({ isDormant }) => isDormant),
    ],
  )
  await markUnsettled(sql, group, added)
}

/** Takes members out by their ids, or all but those; marks them as {@link addMembers} does. */
export async function removeMembers(
  sql: Sql,
  group: string,
  { ids, except: isExcept = false }: { readonly ids: readonly string[]; readonly except?: boolean },
): Promise<void> {
  const removed = await sql.query<{ member: string }>(
    `with removed as (
       delete from directory_members where group_id = $1 and (member_id = any($2::text[])) <> $3 returning member),
     named as (
       select 'user:' || account as member from directory_users where id = any($2::text[])
       union select 'group:' || prefix || id || '#member' from directory_groups
         join directories on name = directory where id = any($2::text[]))
     select member from removed
     union select member from named where not $3 and ${isOlderGroup('$1')}`,
    [group, [...ids], isExcept],
  )
  await markUnsettled(sql, group, removed)
  if (isExcept) await noteSaid(sql, [group])
}

/** Groups that have any of these people as members of their own, by rows. */
export async function groupsHolding(sql: Sql, people: readonly string[]): Promise<string[]> {
  const held = await sql.query<{ group_id: string }>(
    'select distinct group_id from directory_members where member_id = any($1::text[])',
    [[...people]],
  )
  return held.map(({ group_id: group }) => group)
}

/**
 * Has those be members by rows, too, whom OpenFGA has in a group whose rows are of an older copy. Returns of
 * whom no row is. Whose change waits to be written is passed over.
 */
export async function takeOver(
  sql: Sql,
  { name, prefix }: { readonly name: string; readonly prefix: string },
  group: string,
  members: readonly string[],
): Promise<readonly string[]> {
  const rows = await sql.query<{ member: string }>(
    `with stored as (
       select member, coalesce(directory_users.id, directory_groups.id) as id
       from unnest($2::text[]) as given (member)
       left join directory_users on directory_users.directory = $3 and member = 'user:' || account
       left join directory_groups on directory_groups.directory = $3
         and member = 'group:' || $4 || directory_groups.id || '#member'
       where member not in (select member from directory_unsettled where group_id = $1)),
     added as (
       insert into directory_members (group_id, member, member_id, is_dormant)
       select $1, member, id, false from stored where id is not null on conflict (group_id, member) do nothing)
     select member from stored where id is null`,
    [group, [...members], name, prefix],
  )
  return rows.map(({ member }) => member)
}

/** Takes somebody or a group out of all groups but these; their versions change. Returns those groups. */
export async function endMemberships(
  sql: Sql,
  member: string,
  now: Date,
  keptGroups: readonly string[] = [],
): Promise<string[]> {
  const kept = [...keptGroups]
  // In one order, as every change of groups takes them.
  const groups = await sql.query<{ id: string }>(
    `select id from directory_groups where id in
       (select group_id from directory_members where member = $1 and group_id <> all($2::text[]))
     order by id for update`,
    [member, kept],
  )
  const ids = groups.map(({ id }) => id)
  await sql.query('update directory_groups set version = version + 1, changed_at = $2 where id = any($1)', [
    ids,
    now,
  ])
  // Also of a group that took them in since it was looked for: the row is what it says then.
  const removed = await sql.query<{ group_id: string }>(
    'delete from directory_members where member = $1 and group_id <> all($2::text[]) returning group_id',
    [member, kept],
  )
  for (const { group_id: group } of removed) await markUnsettled(sql, group, [{ member }])
  return removed.map(({ group_id: group }) => group)
}

/**
 * Has somebody who is only listed in these groups be in them; undefined: in all that list them. Returns the
 * groups.
 */
export async function wakeMemberships(
  sql: Sql,
  member: string,
  groups: readonly string[] | undefined,
): Promise<string[]> {
  const woken = await sql.query<{ group_id: string }>(
    `update directory_members set is_dormant = false
     where member = $1 and ($2::text[] is null or group_id = any($2)) and is_dormant returning group_id`,
    [member, groups === undefined ? null : [...groups]],
  )
  for (const { group_id: group } of woken) await markUnsettled(sql, group, [{ member }])
  return woken.map(({ group_id: group }) => group)
}

/** Has somebody be only listed in all groups but these. Returns the groups. */
export async function restMemberships(
  sql: Sql,
  member: string,
  keptGroups: readonly string[],
): Promise<string[]> {
  const resting = await sql.query<{ group_id: string }>(
    `update directory_members set is_dormant = true
     where member = $1 and group_id <> all($2::text[]) and not is_dormant returning group_id`,
    [member, [...keptGroups]],
  )
  for (const { group_id: group } of resting) await markUnsettled(sql, group, [{ member }])
  return resting.map(({ group_id: group }) => group)
}

/** Has these of a group be in it, who were only listed. */
export async function wakeMembers(sql: Sql, group: string, ids: readonly string[]): Promise<void> {
  const woken = await sql.query<{ member: string }>(
    `update directory_members set is_dormant = false
     where group_id = $1 and member_id = any($2::text[]) and is_dormant returning member`,
    [group, [...ids]],
  )
  await markUnsettled(sql, group, woken)
}

/** Has everybody be only listed in all groups of a directory but these. Returns the groups. */
export async function restDirectory(
  sql: Sql,
  directory: string,
  keptGroups: readonly string[],
): Promise<string[]> {
  const resting = await sql.query<{ group_id: string; member: string }>(
    `update directory_members set is_dormant = true from directory_groups
     where directory_groups.id = group_id and directory = $1 and group_id <> all($2::text[]) and not is_dormant
     returning group_id, member`,
    [directory, [...keptGroups]],
  )
  const byGroup = Map.groupBy(resting, ({ group_id: group }) => group)
  for (const [group, members] of byGroup) await markUnsettled(sql, group, members)
  await noteAllSaid(sql, directory, keptGroups)
  return [...byGroup.keys()]
}

/**
 * Has everybody who is active, and each group, be in these groups of a directory, who were only listed.
 * Returns the groups.
 */
export async function wakeDirectory(
  sql: Sql,
  directory: string,
  groups: readonly string[],
): Promise<string[]> {
  const woken = await sql.query<{ group_id: string; member: string }>(
    `update directory_members set is_dormant = false from directory_groups
     where directory_groups.id = group_id and directory = $1 and group_id = any($2::text[]) and is_dormant
       and (member like 'group:%' or member_id in
         (select id from directory_users where directory_users.directory = $1 and is_active))
     returning group_id, member`,
    [directory, [...groups]],
  )
  const byGroup = Map.groupBy(woken, ({ group_id: group }) => group)
  for (const [group, members] of byGroup) await markUnsettled(sql, group, members)
  return [...byGroup.keys()]
}

/**
 * The groups that have somebody (`user:acme/anne`) or a group in them, by itself or through groups, also
 * those that only list them: the rows `above (userset)`, with the member itself. `$1` is the member.
 */
export const aboveMember = `above (userset) as (
  select $1::text
  union
  select 'group:' || prefix || group_id || '#member' from above
  join directory_members on member = above.userset
  join directory_groups on directory_groups.id = group_id join directories on name = directory)`

/**
 * Of these memberships, `GROUP MEMBER` by rows, that stand though the directory does not say them: the people
 * of that directory who are in one of `groups` by them alone, themselves or through groups.
 */
export const peopleKept = (
  sql: Sql,
  directory: string,
  kept: readonly { readonly groupId: string; readonly memberId: string }[],
  groups: readonly string[],
): Promise<{ id: string; account: string }[]> =>
  sql.query<{ id: string; account: string }>(
    `with recursive kept (group_id, member_id) as materialized (select * from unnest($1::text[], $2::text[])),
     said as materialized (select group_id, member_id from directory_members except select * from kept),
     by_it (root, id) as (
       select group_id, member_id from kept join directory_members using (group_id, member_id)
         where group_id = any($3::text[])
       union
       select root, member_id from by_it join directory_members on group_id = by_it.id),
     without_it (root, id) as (
       select group_id, member_id from said where group_id in (select root from by_it)
       union
       select root, member_id from without_it join said on group_id = without_it.id)
     select distinct id, account from (select * from by_it except select * from without_it) as left_in
     join directory_users using (id) where directory = $4 order by id`,
    [kept.map(({ groupId }) => groupId), kept.map(({ memberId }) => memberId), [...groups], directory],
  )

async function markUnsettled(
  sql: Sql,
  group: string,
  members: readonly { readonly member: string }[],
): Promise<void> {
  if (members.length === 0) return
  await sql.query(
    `insert into directory_unsettled (group_id, member, number)
     select $1, member, nextval('directory_unsettled_numbers') from unnest($2::text[]) as changed (member)
     on conflict (group_id, member) do update set number = excluded.number`,
    [group, members.map(({ member }) => member)],
  )
}
