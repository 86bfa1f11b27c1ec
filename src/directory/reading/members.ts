import type { Sql } from '../../store/sql.ts'
import { addGroup, changeGroup, lockMembers } from '../groups.ts'
import { addMembers, removeMembers, wakeMembers } from '../member-rows.ts'
import type { Feeder } from '../people.ts'
import type { ApplyDeps, Report } from './apply.ts'
import { withoutCircles } from './circles.ts'
import type { ReadGroup, Reading } from './kind.ts'
import { isTooMany } from './plan.ts'
import type { Confirmed, Waiting } from './waiting.ts'

interface GroupRow {
  readonly id: string
  readonly immutableId: string
  readonly name: string | null
  readonly version: number
}

interface MemberRow {
  readonly group: string
  readonly id: string
  readonly isDormant: boolean
}

/** What is to change of one group. */
interface GroupPlan {
  readonly row: GroupRow
  /** Undefined: the directory does not have it any more. */
  readonly name: string | undefined
  readonly added: readonly string[]
  readonly woken: readonly string[]
  readonly removed: readonly string[]
  /** Somebody in it is kept from something. */
  readonly isRestricting: boolean
}

/**
 * Makes the members of all groups as they were read. Whoever leaves a group reads less at once; who is kept
 * from something by a group leaves it last, so that nobody who moves from one such group to another is out of
 * both. Returns those of such memberships that are missing and end by somebody's word only.
 */
export async function applyGroups(
  deps: ApplyDeps & { readonly isConfirmed: Confirmed },
  feeder: Feeder,
  reading: Reading,
  report: Report,
): Promise<readonly Waiting[]> {
  const { transaction } = deps
  const known = new Set((await transaction((sql) => readGroups(sql, feeder))).map((row) => row.immutableId))
  for (const group of reading.groups)
    if (!known.has(group.id)) await report.attempt(group.name, () => makeGroup(deps, feeder, group))
  const { plans, waiting } = await transaction((sql) => planGroups(deps, sql, feeder, reading, report))
  const write = async (part: 'removed' | 'given', chosen: readonly GroupPlan[]) => {
    for (const plan of chosen)
      await report.attempt(plan.name ?? plan.row.name ?? plan.row.id, () =>
        writeGroup(deps, feeder, plan, part),
      )
  }
  const leaving = plans.filter(({ removed }) => removed.length > 0)
  await write(
    'removed',
    leaving.filter(({ isRestricting }) => !isRestricting),
  )
  await write(
    'given',
    plans.filter(
      ({ added, woken, name, row }) =>
        added.length > 0 || woken.length > 0 || (name !== undefined && name !== row.name),
    ),
  )
  await write(
    'removed',
    leaving.filter(({ isRestricting }) => isRestricting),
  )
  return waiting
}

async function makeGroup({ transaction, newId, now }: ApplyDeps, feeder: Feeder, { id, name }: ReadGroup) {
  await transaction((sql) =>
    addGroup(sql, feeder, {
      id: newId('g'),
      immutableId: id,
      attributes: { displayName: name },
      createdAt: now(),
    }),
  )
}

async function writeGroup(
  { transaction, memberships, now }: ApplyDeps,
  feeder: Feeder,
  { row, name, added, woken, removed }: GroupPlan,
  part: 'removed' | 'given',
): Promise<void> {
  await transaction(async (sql) => {
    const known = await lockMembers(
      sql,
      feeder.directory,
      row.id,
      part === 'given' ? [...added, ...woken] : [],
    )
    if (part === 'removed') await removeMembers(sql, row.id, { ids: removed })
    else {
      await addMembers(
        sql,
        row.id,
        added.flatMap((id) => known.members.get(id) ?? []),
      )
      await wakeMembers(
        sql,
        row.id,
        woken.filter((id) => known.members.get(id)?.isDormant === false),
      )
    }
    const [current] = await sql.query<{ version: number }>(
      'select version from directory_groups where id = $1',
      [row.id],
    )
    await changeGroup(sql, feeder, row.id, {
      attributes: { displayName: name ?? row.name ?? '' },
      kind: 'replaced',
      version: (current?.version ?? row.version) + 1,
      changedAt: now(),
    })
  })
  await memberships.settle([{ id: row.id, directory: feeder.directory }], feeder.recordedAs)
}

const readGroups = (sql: Sql, { directory }: Feeder): Promise<GroupRow[]> =>
  sql.query<GroupRow>(
    `select id, immutable_id as "immutableId", attributes ->> 'displayName' as name, version
     from directory_groups where directory = $1 and immutable_id is not null order by id`,
    [directory.name],
  )

async function planGroups(
  { memberships, isConfirmed }: ApplyDeps & { readonly isConfirmed: Confirmed },
  sql: Sql,
  feeder: Feeder,
  reading: Reading,
  report: Report,
): Promise<{ readonly plans: readonly GroupPlan[]; readonly waiting: readonly Waiting[] }> {
  const { name } = feeder.directory
  const rows = await readGroups(sql, feeder)
  const users = await sql.query<{ id: string; immutableId: string; isActive: boolean }>(
    `select id, immutable_id as "immutableId", is_active as "isActive" from directory_users
     where directory = $1 and immutable_id is not null and (is_active or sub = any($2::text[]) or is_held)`,
    [name, reading.people.flatMap(({ key }) => key ?? [])],
  )
  const members = await sql.query<MemberRow>(
    `select group_id as "group", member_id as id, is_dormant as "isDormant" from directory_members
     join directory_groups on directory_groups.id = group_id where directory = $1`,
    [name],
  )
  const inactive = new Set(users.filter(({ isActive }) => !isActive).map(({ id }) => id))
  const wanted = wantedMembers(reading, rows, users, report)
  const restricting = new Set(await memberships.restrictingIn(sql, name))
  const byGroup = Map.groupBy(members, ({ group }) => group)
  const plans = rows.map((row): GroupPlan => {
    const now = byGroup.get(row.id) ?? []
    const listed = new Set(now.map(({ id }) => id))
    const isRestricting = restricting.has(row.id)
    const { sure = [], unsure = [] } = wanted.members.get(row.id) ?? {}
    const should = new Set([...sure, ...(isRestricting ? unsure : [])])
    return {
      row,
      name: wanted.names.get(row.id),
      added: [...should].filter((id) => !listed.has(id)),
      woken: now.flatMap(({ id, isDormant }) =>
        isDormant && should.has(id) && !inactive.has(id) ? [id] : [],
      ),
      removed: now.flatMap(({ id }) => (should.has(id) ? [] : [id])),
      isRestricting,
    }
  })
  const blocks = plans.filter(({ isRestricting }) => isRestricting)
  const lifted = blocks.flatMap(({ row, removed }) =>
    removed.map((memberId): Waiting => ({ what: 'unblock', memberId, groupId: row.id })),
  )
  const all = blocks.reduce((count, { row }) => count + (byGroup.get(row.id)?.length ?? 0), 0)
  if (!isTooMany(lifted.length, all) && reading.isCertain) return { plans, waiting: [] }
  const held = lifted.filter((waiting) => !isConfirmed(waiting)).length
  if (held > 0)
    report.note(
      `${held} of ${all} memberships that keep somebody from something are missing. They stay until you say that they end.`,
    )
  const mayEnd = ({ row, removed }: GroupPlan) =>
    removed.filter((memberId) => isConfirmed({ what: 'unblock', memberId, groupId: row.id }))
  return {
    plans: plans.map((plan) => (plan.isRestricting ? { ...plan, removed: mayEnd(plan) } : plan)),
    waiting: lifted,
  }
}

/** Rows of groups → rows of their members, without circles. */
function wantedMembers(
  { groups }: Reading,
  rows: readonly GroupRow[],
  users: readonly { readonly id: string; readonly immutableId: string }[],
  report: Report,
): {
  readonly members: ReadonlyMap<
    string,
    { readonly sure: readonly string[]; readonly unsure: readonly string[] }
  >
  readonly names: ReadonlyMap<string, string>
} {
  const groupIds = new Map(rows.map((row) => [row.immutableId, row.id]))
  const userIds = Map.groupBy(users, ({ immutableId }) => immutableId)
  const own = groups.flatMap((group) => {
    const id = groupIds.get(group.id)
    return id === undefined ? [] : [{ ...group, row: id }]
  })
  const groupsOf = (ids: readonly string[] = []) => ids.flatMap((id) => groupIds.get(id) ?? [])
  const peopleOf = (ids: readonly string[] = []) =>
    ids.flatMap((person) => (userIds.get(person) ?? []).map(({ id }) => id))
  const { edges, broken } = withoutCircles(
    new Map(
      own.map(({ row, groups: inside, unsure }) => [
        row,
        new Set([...groupsOf(inside), ...groupsOf(unsure?.groups)]),
      ]),
    ),
  )
  const names = new Map(own.map(({ row, name }) => [row, name]))
  for (const group of broken)
    report.note(`${names.get(group) ?? group} would be in itself: groups that lead back to it are left out.`)
  const members = own.map(({ row, people, groups: inside, unsure }) => {
    const isLeft = (group: string) => edges.get(row)?.has(group) === true
    const sure = [...peopleOf(people), ...groupsOf(inside).filter(isLeft)]
    return [
      row,
      { sure, unsure: [...peopleOf(unsure?.people), ...groupsOf(unsure?.groups).filter(isLeft)] },
    ] as const
  })
  return { members: new Map(members), names }
}
