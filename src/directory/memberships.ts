import type { RecordActor } from '../audit/record.ts'
import type { AllowList } from '../authz/allow-list/allow-list.ts'
import type { Fga } from '../authz/fga.ts'
import { eachOf } from '../kernel/each-of.ts'
import type { FgaObject } from '../kernel/ids.ts'
import { isOlderGroup, isSaid, saidGroups, trustGroup } from '../store/older-groups.ts'
import type { Runtime } from '../store/runtime.ts'
import type { Database, Sql } from '../store/sql.ts'
import type { Directory } from './directories.ts'

/** A membership as its row should have it, and the number of its latest change. */
export interface PendingMember {
  readonly member: string
  readonly isMember: boolean
  readonly number: number
}

/** How memberships get to OpenFGA: see `settleMembers` of src/ingest, which this is given. */
export type WriteMembers = (
  writer: RecordActor,
  prefix: string,
  source: {
    readonly group: FgaObject
    readonly next: (
      sql: Sql,
      options: { readonly except: readonly string[] },
    ) => Promise<readonly PendingMember[]>
    readonly settled: (sql: Sql, members: readonly PendingMember[]) => Promise<void>
  },
) => Promise<void>

/** Makes OpenFGA hold what the rows of memberships say. */
export interface Memberships {
  /** Writes what is unsettled of these groups. Throws for one that cannot be written once all others are. */
  settle(groups: readonly GroupReference[], recordedAs: RecordActor): Promise<void>
  /**
   * The same for whatever a crash or an error left, one group after the other. `assertSound`: asked after
   * rows were read, before they are written; throws where these are of an older copy.
   */
  mend(assertSound?: () => Promise<void>): Promise<number>
  /**
   * Compares every group with OpenFGA and marks what differs, for `mend`. Returns how many memberships. Not
   * those whose rows are of an older copy: they are compared once their directory has said all of them.
   */
  compare(): Promise<number>
  /**
   * Groups of this member that keep those in them from something, by themselves or through groups that hold
   * them: whoever leaves one may read more. Throws where no list says what a relation does; `orAll`: then
   * every group that stands anywhere is one.
   */
  restricting(sql: Sql, member: string, options: { readonly orAll: boolean }): Promise<readonly string[]>
  /** The same of all groups of a directory, with `orAll`. */
  restrictingIn(sql: Sql, directory: string): Promise<readonly string[]>
  /** Those of a directory that give something, in the same way; of one that does both it is in both. */
  givingIn(sql: Sql, directory: string): Promise<readonly string[]>
  /** The same of any usersets, `group:eng#member`, whoever writes them. Throws where no list says it. */
  restrictingOf(sql: Sql, usersets: readonly string[]): Promise<readonly string[]>
  /**
   * Of a directory’s groups that keep those in them from something, and whose rows are of an older copy: who
   * is in them by OpenFGA.
   */
  readOlderBlocks(
    directory: Pick<Directory, 'name' | 'prefix'>,
  ): Promise<readonly { readonly group: string; readonly members: readonly string[] }[]>
  /**
   * Forgets who is in all other groups, of every directory: whoever brings them says it again, and those that
   * Remit reads are due at once. What OpenFGA holds of them stays.
   */
  endGiving(): Promise<void>
}

/** A group and the directory that brings it. */
export interface GroupReference {
  readonly id: string
  readonly directory: Pick<Directory, 'name' | 'prefix'>
}

export interface MembershipsDeps extends Pick<Runtime, 'newTxn'> {
  readonly database: Database
  readonly fga: Pick<Fga, 'read'>
  readonly write: WriteMembers
  readonly membersAtOnce: number
  /** What the relations of the model in force do; throws where that is not known. */
  readonly allowList: () => Pick<AllowList, 'isWidening'>
}

/** `group:acme/g_…`, as OpenFGA knows a group of a directory. */
export const groupObject = ({ prefix }: Pick<Directory, 'prefix'>, id: string): FgaObject =>
  `group:${prefix}${id}`

/** Whoever a directory does something as, on record. */
export const directoryActor = ({ name }: Pick<Directory, 'name'>, txn: string): RecordActor => ({
  subject: `directory:${name}`,
  actors: [],
  client: 'directory',
  txn,
})

/** Rows first, then OpenFGA, so that whatever is unsettled is known. */
export function createMemberships(deps: MembershipsDeps): Memberships {
  const { database, fga, write, membersAtOnce, allowList, newTxn } = deps

  async function settleGroup(
    { id, directory }: GroupReference,
    recordedAs: RecordActor,
    assertSound?: () => Promise<void>,
  ): Promise<void> {
    if (await isSaid(database, id)) {
      await compareGroup({ id, directory })
      await trustGroup(database, id)
    }
    const [pending] = await database.query('select from directory_unsettled where group_id = $1 limit 1', [
      id,
    ])
    if (pending === undefined) return
    await write(recordedAs, directory.prefix, {
      group: groupObject(directory, id),
      async next(sql, { except }) {
        const members = await sql.query<PendingMember>(nextMembers, [id, membersAtOnce, [...except]])
        if (members.length > 0) await assertSound?.()
        return members
      },
      async settled(sql, members) {
        await sql.query(
          `delete from directory_unsettled using unnest($2::text[], $3::bigint[]) as done (member, number)
           where group_id = $1 and directory_unsettled.member = done.member
             and directory_unsettled.number = done.number`,
          [id, members.map(({ member }) => member), members.map(({ number }) => number)],
        )
      },
    })
  }

  const settleEach = (
    groups: readonly GroupReference[],
    actorOf: (group: GroupReference) => RecordActor,
    assertSound?: () => Promise<void>,
  ): Promise<void> => eachOf(groups, (group) => settleGroup(group, actorOf(group), assertSound))

  const groupsOf = (text: string) =>
    database.query<{ id: string; name: string; prefix: string }>(
      `select directory_groups.id, name, prefix from directory_groups join directories on name = directory ${text}`,
    )

  /** Where nobody knows what a relation does, it does whatever is asked. */
  function listOr(isWidening: boolean): Pick<AllowList, 'isWidening'> {
    try {
      return allowList()
    } catch {
      return { isWidening: () => isWidening }
    }
  }

  const restricting = (
    sql: Sql,
    list: Pick<AllowList, 'isWidening'>,
    ofWhich: string,
    value: string | readonly string[],
  ) => placed(sql, ofWhich, value, (type, relation) => !list.isWidening(type, relation))

  async function storedMembers({ id, directory }: GroupReference): Promise<string[]> {
    const stored: string[] = []
    for await (const { user } of fga.read({ object: groupObject(directory, id), relation: 'member' }))
      stored.push(user)
    return stored
  }

  async function compareGroup(reference: GroupReference): Promise<number> {
    const { id } = reference
    const stored = await storedMembers(reference)
    const marked = await database.query(
      `insert into directory_unsettled (group_id, member, number)
       select $1, coalesce(own.member, stored.member), nextval('directory_unsettled_numbers')
       from (select member from directory_members where group_id = $1 and not is_dormant) as own
       full join unnest($2::text[]) as stored (member) on own.member = stored.member
       where own.member is null or stored.member is null
       on conflict (group_id, member) do nothing returning member`,
      [id, stored],
    )
    return marked.length
  }

  return {
    restricting: (sql, member, { orAll }) =>
      restricting(sql, orAll ? listOr(false) : allowList(), ofMember, member),
    restrictingIn: (sql, directory) => restricting(sql, listOr(false), ofDirectory, directory),
    givingIn: (sql, directory) => placed(sql, ofDirectory, directory, listOr(true).isWidening),
    async readOlderBlocks(directory) {
      const older = await database.query<{ id: string }>(
        `select id from directory_groups where directory = $1 and ${isOlderGroup('id')} order by id`,
        [directory.name],
      )
      if (older.length === 0) return []
      const blocks = new Set(await restricting(database, listOr(false), ofDirectory, directory.name))
      const read: { group: string; members: string[] }[] = []
      for (const { id } of older)
        if (blocks.has(id)) read.push({ group: id, members: await storedMembers({ id, directory }) })
      return read
    },
    restrictingOf: (sql, usersets) => restricting(sql, allowList(), ofUsersets, usersets),
    endGiving: () =>
      database.transaction(async (sql) => {
        const names = await sql.query<{ name: string }>(
          'select name from directories order by name for update',
        )
        for (const { name } of names)
          await sql.query(
            `delete from directory_members using directory_groups
             where directory_groups.id = group_id and directory = $1 and group_id <> all($2::text[])`,
            [name, [...(await restricting(sql, allowList(), ofDirectory, name))]],
          )
        await sql.query('update directories set next_at = now()')
      }),
    settle: (groups, recordedAs) => settleEach(groups, () => recordedAs),
    async mend(assertSound) {
      const rows = await groupsOf(
        // First those in which somebody is who is out by their rows.
        `join (select group_id, count(*) filter (where member_rows.member is null) as ending
           from (select group_id, member from directory_unsettled
             union all select group_id, null from (${saidGroups}) as said) as pending left join (select * from directory_members where not is_dormant) as member_rows
             using (group_id, member)
           group by group_id) as pending on group_id = directory_groups.id order by ending = 0, directory_groups.id`,
      )
      const groups = rows.map(({ id, ...directory }) => ({ id, directory }))
      await settleEach(groups, ({ directory }) => directoryActor(directory, newTxn()), assertSound)
      return groups.length
    },
    async compare() {
      let differing = 0
      const groups = await groupsOf(`where not ${isOlderGroup('directory_groups.id')}`)
      await eachOf(groups, async ({ id, ...directory }) => {
        differing += await compareGroup({ id, directory })
      })
      return differing
    },
  }
}

async function placed(
  sql: Sql,
  ofWhich: string,
  value: string | readonly string[],
  counts: (type: string, relation: string) => boolean,
): Promise<readonly string[]> {
  const rows = await sql.query<{ id: string; type: string; relation: string }>(wherePlaced(ofWhich), [value])
  return [...new Set(rows.flatMap(({ id, type, relation }) => (counts(type, relation) ? [id] : [])))]
}

/**
 * Of any usersets, `group:eng#member`, whoever writes them: those that keep whoever is in them from
 * something, and those that give something, by themselves or through groups that hold them.
 */
export async function effectsOf(
  sql: Sql,
  list: Pick<AllowList, 'isWidening'>,
  usersets: readonly string[],
): Promise<{ readonly restricting: ReadonlySet<string>; readonly giving: ReadonlySet<string> }> {
  const isRestricting = (type: string, relation: string): boolean => !list.isWidening(type, relation)
  return {
    restricting: new Set(await placed(sql, ofUsersets, usersets, isRestricting)),
    giving: new Set(await placed(sql, ofUsersets, usersets, list.isWidening)),
  }
}

/**
 * In an order in which everybody is at each moment a member as before or as after, whatever pages it takes:
 * who is in it through a group at first and by themselves then, or the other way about, is never out of it.
 */
const nextMembers = `
select member, number, is_member as "isMember" from (
  select pending.member, number, member_rows.member is not null as is_member,
    pending.member like 'group:%' as is_group
  from directory_unsettled as pending
  left join directory_members as member_rows
    on member_rows.group_id = pending.group_id and member_rows.member = pending.member and not is_dormant
  where pending.group_id = $1 and pending.member <> all($3::text[])
) as pending
order by case when is_member then case when is_group then 0 else 2 end
              else case when is_group then 3 else 1 end end, number
limit $2`

const groupUsersets = `select directory_groups.id, 'group:' || prefix || directory_groups.id || '#member'
  from directory_groups join directories on name = directory`
const ofMember = `${groupUsersets}
  where directory_groups.id in (select group_id from directory_members where member = $1)`
const ofDirectory = `${groupUsersets} where directory = $1`
const ofUsersets = 'select userset, userset from unnest($1::text[]) as asked (userset)'

/**
 * For each of these groups, where it and the groups that hold it are named: the types of objects and the
 * relations. Also by content that is not published yet. That one group is a member of another is the way, and
 * says nothing itself.
 */
const wherePlaced = (ofWhich: string): string => `
with recursive above (id, userset) as (
  ${ofWhich}
  union
  select above.id, holder.userset from above cross join lateral (
    select object || '#member' as userset from desired_tuples
    where subject = above.userset and subject like '%#%' and relation = 'member'
    union all
    select object || '#' || relation from group_places where subject = above.userset
    union all
    select 'group:' || prefix || group_id || '#member'
    from directory_members join directory_groups on directory_groups.id = group_id
    join directories on name = directory where member = above.userset
  ) as holder
), waiting as materialized (
  select distinct tag ->> 'subject' as subject, tag ->> 'relation' as relation
  from (select access from revisions union all select access from failed_documents) as content
    cross join lateral jsonb_array_elements(access) as tag
  where tag ->> 'subject' like '%#%' and exists (select from above)
)
select distinct id, type, relation
from above cross join lateral (
  select split_part(object, ':', 1) as type, relation from desired_tuples
  where subject = above.userset and subject like '%#%'
  union all
  select split_part(object, ':', 1), relation from group_places where subject = above.userset
  union all
  select 'document', relation from waiting where subject = above.userset
) as place where relation <> 'member'`
