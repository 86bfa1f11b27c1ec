import { record } from '../audit/record.ts'
import type { Runtime } from '../store/runtime.ts'
import type { Sql } from '../store/sql.ts'
import type { BringingDirectory } from './directories.ts'
import { endMemberships, type Member, removeMembers } from './member-rows.ts'
import { groupObject } from './memberships.ts'
import type { Feeder } from './people.ts'

/** What a feeder says of a group, to be stored. */
export interface GroupState {
  /** What is kept to be shown or read back, such as `displayName`. Nothing is decided by it. */
  readonly attributes: Readonly<Record<string, unknown>>
}

/** A group that was not there. */
export interface NewGroup extends GroupState {
  readonly id: string
  readonly createdAt: Date
  /** The directory's own id of the entry, where a feeder knows one. */
  readonly immutableId?: string
}

/** What a group is from now on, and how that is called on record. */
export interface GroupChange extends GroupState {
  readonly kind: 'replaced' | 'patched'
  readonly version: number
  readonly changedAt: Date
}

/** Makes a group without members. */
export async function addGroup(sql: Sql, { directory, recordedAs }: Feeder, group: NewGroup): Promise<void> {
  await sql.query(
    `insert into directory_groups (id, directory, attributes, created_at, changed_at, immutable_id)
     values ($1, $2, $3, $4, $4, $5)`,
    [group.id, directory.name, group.attributes, group.createdAt, group.immutableId ?? null],
  )
  await record(sql, recordedAs, changed(directory, group.id, 'created'))
}

/** Writes what a group is. It is locked by the caller; its members are rows of their own. */
export async function changeGroup(
  sql: Sql,
  { directory, recordedAs }: Feeder,
  id: string,
  { attributes, kind, version, changedAt }: GroupChange,
): Promise<void> {
  await sql.query(
    'update directory_groups set attributes = $2, version = $3, changed_at = $4 where id = $1',
    [id, attributes, version, changedAt],
  )
  await record(sql, recordedAs, changed(directory, id, kind))
}

/**
 * Takes everybody out of a group and it out of every group, and forgets it but for its id. `assertAsSeen`
 * looks at it once it is locked. Returns the groups whose members are to be settled.
 */
export async function removeGroup(
  sql: Sql,
  { directory, recordedAs }: Feeder,
  id: string,
  { clock, assertAsSeen }: Pick<Runtime, 'clock'> & { readonly assertAsSeen: (sql: Sql) => Promise<void> },
): Promise<readonly string[]> {
  const now = new Date(clock.now())
  const member = `${groupObject(directory, id)}#member`
  const parents = await sql.query<{ id: string }>(
    'select group_id as id from directory_members where member = $1',
    [member],
  )
  await lockGroups(sql, directory, [...parents.map((parent) => parent.id), id])
  await assertAsSeen(sql)
  await removeMembers(sql, id, { ids: [], except: true })
  const left = await endMemberships(sql, member, now)
  await sql.query(
    `update directory_groups set attributes = '{}', version = version + 1, changed_at = $2, deleted_at = $2
     where id = $1`,
    [id, now],
  )
  await record(sql, recordedAs, changed(directory, id, 'deleted'))
  return [id, ...left]
}

/** Who is named as a member, by id. */
export interface KnownMembers {
  readonly members: ReadonlyMap<string, Member>
  /** Of those named the ids that are no user's. */
  readonly groups: readonly string[]
  /** Neither a user of this directory nor a group. */
  readonly unknown: readonly string[]
}

/**
 * Finds who is named and holds them, so that nobody is deactivated between this look and the commit. In one
 * order in every transaction: users, the directory where groups hold groups, then groups.
 */
export async function lockMembers(
  sql: Sql,
  directory: BringingDirectory,
  group: string,
  ids: readonly string[],
): Promise<KnownMembers> {
  const users = await sql.query<{ id: string; account: string; isActive: boolean }>(
    `select id, account, is_active as "isActive" from directory_users
     where directory = $1 and id = any($2) and deleted_at is null order by id for share`,
    [directory.name, [...ids]],
  )
  const userIds = new Set(users.map(({ id }) => id))
  const others = ids.filter((id) => !userIds.has(id))
  if (others.length > 0)
    await sql.query('select from directories where name = $1 for no key update', [directory.name])
  await lockGroups(sql, directory, [...others, group])
  const groups = await sql.query<{ id: string }>(
    'select id from directory_groups where directory = $1 and id = any($2) and deleted_at is null',
    [directory.name, others],
  )
  const groupIds = new Set(groups.map(({ id }) => id))
  const members: readonly Member[] = [
    // What an inactive one had was ended for good, and comes back by no list.
    ...users.map(({ id, account, isActive }) => ({ id, member: `user:${account}`, isDormant: !isActive })),
    ...groups.map(({ id }) => ({ id, member: `${groupObject(directory, id)}#member`, isDormant: false })),
  ]
  return {
    members: new Map(members.map((member) => [member.id, member])),
    groups: others,
    unknown: others.filter((id) => !groupIds.has(id)),
  }
}

const lockGroups = (sql: Sql, { name }: Pick<BringingDirectory, 'name'>, ids: readonly string[]) =>
  sql.query('select from directory_groups where directory = $1 and id = any($2) order by id for update', [
    name,
    [...ids],
  ])

/** Whether a group would be in itself by these of its members, through any groups. */
export async function isInItself(
  sql: Sql,
  { name }: Pick<BringingDirectory, 'name'>,
  group: string,
  members: readonly string[],
): Promise<boolean> {
  if (members.length === 0) return false
  const circle = await sql.query(
    `with recursive below (id) as (
       select unnest($1::text[])
       union
       select member_id from directory_members join below on group_id = below.id
       join directory_groups on directory_groups.id = member_id and directory = $3
     ) select from below where id = $2`,
    [[...members], group, name],
  )
  return circle.length > 0
}

const changed = (
  directory: Pick<BringingDirectory, 'prefix'>,
  id: string,
  change: 'created' | 'replaced' | 'patched' | 'deleted',
) => ({ event: 'directory_group_changed', object: groupObject(directory, id), change }) as const
