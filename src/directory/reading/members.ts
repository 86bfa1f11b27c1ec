import type { Sql } from '../../store/sql.ts'
import { addGroup, changeGroup, lockMembers } from '../groups.ts'
import { addMembers, peopleKept, removeMembers, takeOver, wakeMembers } from '../member-rows.ts'
import { type Feeder, keyOf } from '../people.ts'
import type { ApplyDeps, Report } from './apply.ts'
import { type Edges, withoutCircles } from './circles.ts'
import type { ReadGroup, Reading } from './kind.ts'
import { isTooMany } from './plan.ts'
import { noteWaiting, type Said, type Waiting } from './waiting.ts'

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

/** What became of the groups of a reading. */
export interface AppliedGroups {
  /** Memberships that keep somebody from something, are missing, and end by somebody's word only. */
  readonly waiting: readonly Waiting[]
  /** Who is in a group that gives them something too by such a membership alone: they are to be shut out. */
  readonly kept: readonly { readonly id: string; readonly account: string }[]
}

/**
 * Makes the members of all groups as they were read. Whoever leaves a group reads less at once; who is kept
 * from something by a group leaves it last, so that nobody who moves from one such group to another is out of
 * both.
 */
export async function applyGroups(
  deps: ApplyDeps & { readonly said: Said },
  feeder: Feeder,
  reading: Reading,
  report: Report,
): Promise<AppliedGroups> {
  const { transaction } = deps
  const known = new Set((await transaction((sql) => readGroups(sql, feeder))).map((row) => row.immutableId))
  for (const group of reading.groups)
    if (!known.has(group.id)) await report.attempt(group.name, () => makeGroup(deps, feeder, group))
  const olderBlocks = await deps.memberships.readOlderBlocks(feeder.directory)
  const { plans, waiting } = await transaction(async (sql) => {
    for (const { group, members } of olderBlocks) {
      const strangers = await takeOver(sql, feeder.directory, group, members)
      if (strangers.length === 0) continue
      report.leave(group)
      report.note(
        `${strangers.length} members of ${group}, which keeps them from something, are unknown here. They stay.`,
      )
    }
    return planGroups(deps, sql, feeder, reading, report)
  })
  /** Who is not where they should be, by rows: they are in nothing less until they are. */
  const notGiven = new Set<string>()
  const write = async (part: 'removed' | 'given', chosen: readonly GroupPlan[]) => {
    for (const plan of chosen) {
      const isDone = await report.attempt(
        plan.name ?? plan.row.name ?? plan.row.id,
        () => writeGroup(deps, feeder, plan, part),
        [plan.row.id],
      )
      if (!isDone) for (const id of [...plan.added, ...plan.woken]) notGiven.add(id)
    }
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
    leaving.flatMap((plan) => {
      const removed = plan.removed.filter((id) => !notGiven.has(id))
      return plan.isRestricting && removed.length > 0 ? [{ ...plan, removed }] : []
    }),
  )
  return { waiting, kept: await transaction((sql) => keptPeople(deps, sql, feeder, waiting, report)) }
}

/** Also of what somebody said yes to, for as long as it is not done. */
async function keptPeople(
  { memberships }: ApplyDeps,
  sql: Sql,
  { directory }: Feeder,
  waiting: readonly Waiting[],
  report: Report,
): Promise<AppliedGroups['kept']> {
  if (waiting.length === 0) return []
  const kept = await peopleKept(
    sql,
    directory.name,
    waiting.map(({ memberId, groupId = '' }) => ({ memberId, groupId })),
    await memberships.givingIn(sql, directory.name),
  )
  if (kept.length > 0)
    report.note(`${kept.length} people are shut out until then: such a group gives them something, too.`)
  return kept
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
  { memberships, said }: ApplyDeps & { readonly said: Said },
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
    [name, reading.people.flatMap(({ key }) => (key && keyOf(feeder.directory, key)?.sub) ?? [])],
  )
  const members = await sql.query<MemberRow>(
    `select group_id as "group", member_id as id, is_dormant as "isDormant" from directory_members
     join directory_groups on directory_groups.id = group_id where directory = $1`,
    [name],
  )
  const awake = new Set([...users.filter(({ isActive }) => isActive), ...rows].map(({ id }) => id))
  const restricting = new Set(await memberships.restrictingIn(sql, name))
  const byGroup = Map.groupBy(members, ({ group }) => group)
  const wanted = wantedMembers(reading, { rows, users, standing: byGroup, restricting }, report)
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
      // Who is missing from what blocks them may stay until a word, and then is in it.
      woken: now.flatMap(({ id, isDormant }) =>
        isDormant && (isRestricting || should.has(id)) && awake.has(id) ? [id] : [],
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
  const isHeldBack = isTooMany(lifted.length, all) || !reading.isCertain
  const groupRows = new Set(rows.map(({ id }) => id))
  const isUnclear = ({ groupId, memberId }: Waiting): boolean =>
    wanted.members.get(groupId ?? '')?.unclear.includes(memberId) === true
  // A group in a group is nobody knows how many people.
  const waiting = lifted.filter(
    (one) =>
      isHeldBack ||
      said.isWaiting(one) ||
      said.isConfirmed(one) ||
      groupRows.has(one.memberId) ||
      isUnclear(one),
  )
  const held = waiting.filter((one) => !said.isConfirmed(one)).length
  if (held > 0)
    report.note(
      `${held} of ${all} memberships that keep somebody from something are missing. They stay until you say that they end.`,
    )
  await noteWaiting(sql, name, waiting)
  const stays = new Set(
    waiting.flatMap((one) => (said.isConfirmed(one) ? [] : [`${one.groupId} ${one.memberId}`])),
  )
  const mayEnd = ({ row, removed }: GroupPlan) => removed.filter((id) => !stays.has(`${row.id} ${id}`))
  return {
    plans: plans.map((plan) => (plan.isRestricting ? { ...plan, removed: mayEnd(plan) } : plan)),
    waiting,
  }
}

/**
 * Groups in groups. What keeps somebody from something comes before what gives something, and what stands
 * before what is new; who is in it by one look only comes last.
 */
function ranksOf(
  own: readonly {
    readonly row: string
    readonly sureGroups: readonly string[]
    readonly unsureGroups: readonly string[]
  }[],
  { standing, restricting }: { readonly standing: Edges; readonly restricting: ReadonlySet<string> },
): readonly Edges[] {
  const of = (edges: Edges, isRestricting: boolean): Edges =>
    new Map([...edges].filter(([group]) => restricting.has(group) === isRestricting))
  const sure = new Map(own.map(({ row, sureGroups }) => [row, new Set(sureGroups)]))
  const staying = new Map(
    own.map(({ row, sureGroups }) => [
      row,
      new Set(sureGroups.filter((group) => standing.get(row)?.has(group))),
    ]),
  )
  const unsure = new Map(own.map(({ row, unsureGroups }) => [row, new Set(unsureGroups)]))
  return [
    // Whatever is said now: out of these a group goes by a word only.
    of(standing, true),
    of(sure, true),
    of(staying, false),
    of(sure, false),
    of(unsure, true),
  ]
}

const groupsIn = (
  group: { readonly sureGroups: readonly string[]; readonly unsureGroups: readonly string[] } | undefined,
): readonly string[] => (group === undefined ? [] : [...group.sureGroups, ...group.unsureGroups])

/** Rows of groups → rows of their members, without circles. */
function wantedMembers(
  { groups }: Reading,
  {
    rows,
    users,
    standing,
    restricting,
  }: {
    readonly rows: readonly GroupRow[]
    readonly users: readonly { readonly id: string; readonly immutableId: string }[]
    readonly standing: ReadonlyMap<string, readonly MemberRow[]>
    readonly restricting: ReadonlySet<string>
  },
  report: Report,
): {
  readonly members: ReadonlyMap<
    string,
    {
      readonly sure: readonly string[]
      readonly unsure: readonly string[]
      readonly unclear: readonly string[]
    }
  >
  readonly names: ReadonlyMap<string, string>
} {
  const groupIds = new Map(rows.map((row) => [row.immutableId, row.id]))
  const userIds = Map.groupBy(users, ({ immutableId }) => immutableId)
  const groupsOf = (ids: readonly string[] = []) => ids.flatMap((id) => groupIds.get(id) ?? [])
  const peopleOf = (ids: readonly string[] = []) =>
    ids.flatMap((person) => (userIds.get(person) ?? []).map(({ id }) => id))
  const own = groups.flatMap(({ id, name, people, groups: inside, unsure, unclear }) => {
    const row = groupIds.get(id)
    return row === undefined
      ? []
      : [
          {
            row,
            name,
            people,
            unsure,
            unclear,
            sureGroups: groupsOf(inside),
            unsureGroups: groupsOf(unsure?.groups),
          },
        ]
  })
  const rowIds = new Set(rows.map(({ id }) => id))
  const { edges, broken } = withoutCircles(
    ranksOf(own, {
      standing: new Map(
        [...standing].map(([group, members]) => [
          group,
          new Set(members.flatMap(({ id }) => (rowIds.has(id) ? [id] : []))),
        ]),
      ),
      restricting,
    }),
  )
  const byRow = new Map(own.map((group) => [group.row, group]))
  const peopleBelow = (left: readonly string[]): readonly string[] => {
    const below = new Set(left)
    for (const row of below) for (const inside of groupsIn(byRow.get(row))) below.add(inside)
    return [...below].flatMap((row) => {
      const { people = [], unsure } = byRow.get(row) ?? {}
      return peopleOf([...people, ...(unsure?.people ?? [])])
    })
  }
  const names = new Map(own.map(({ row, name }) => [row, name]))
  for (const group of broken)
    report.note(`${names.get(group) ?? group} would be in itself: groups that lead back to it are left out.`)
  const members = own.map(({ row, people, sureGroups, unsure, unclear, unsureGroups }) => {
    const isLeft = (group: string) => edges.get(row)?.has(group) === true
    return [
      row,
      {
        sure: [...peopleOf(people), ...sureGroups.filter(isLeft)],
        unsure: [
          ...peopleOf(unsure?.people),
          ...unsureGroups.filter(isLeft),
          // In the directory they are in it all the same: where that keeps them from something it counts.
          ...peopleBelow([...sureGroups, ...unsureGroups].filter((group) => !isLeft(group))),
        ],
        unclear: peopleOf(unclear),
      },
    ] as const
  })
  return { members: new Map(members), names }
}
