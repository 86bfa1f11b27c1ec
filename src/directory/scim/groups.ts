import { isUnsaid } from '../../store/older-groups.ts'
import type { Runtime } from '../../store/runtime.ts'
import type { Sql } from '../../store/sql.ts'
import type { Directory } from '../directories.ts'
import { addGroup, changeGroup, isInItself, type KnownMembers, lockMembers, removeGroup } from '../groups.ts'
import { addMembers, removeMembers } from '../member-rows.ts'
import type { Memberships } from '../memberships.ts'
import { type Attributes, isObject, readAttributes } from './attributes.ts'
import { invalidValue, notFound, ScimError } from './errors.ts'
import { type Filter, matches } from './filter.ts'
import { filteredEditsMax, membersMax } from './limits.ts'
import type { Listed } from './listing.ts'
import { applyOperation, type PatchOperation, readPatch } from './patch.ts'
import { assertVersion, etagOf, type Resource, type ScimAnswer, type ScimCaller } from './request.ts'
import { assertRequired, attributesOf, schemaOf } from './schemas.ts'

/** Groups of a directory. What a call changes is in force when it returns. */
export interface ScimGroups {
  create(caller: ScimCaller, body: unknown): Promise<ScimAnswer>
  /** Undefined: there is none, it is deleted, or it is another directory's. */
  get(directory: Directory, id: string): Promise<GroupRow | undefined>
  replace(caller: ScimCaller, id: string, body: unknown, ifMatch: string | undefined): Promise<ScimAnswer>
  /** Answers 204: a group may hold thousands. */
  patch(caller: ScimCaller, id: string, body: unknown, ifMatch: string | undefined): Promise<ScimAnswer>
  remove(caller: ScimCaller, id: string, ifMatch: string | undefined): Promise<ScimAnswer>
  listed(directory: Directory): Listed<GroupRow>
}

/** A group as it is stored, without its members. */
export interface GroupRow {
  readonly id: string
  readonly attributes: Attributes
  readonly version: number
  readonly createdAt: Date
  readonly changedAt: Date
}

export interface ScimGroupsDeps extends Pick<Runtime, 'database' | 'clock'> {
  readonly newId: () => string
  readonly memberships: Pick<Memberships, 'settle'>
  /** Address of `/scim/v2`. */
  readonly baseUrl: string
}

/** One step of a change of members, in the order of the request. */
type Edit =
  | { readonly kind: 'add' | 'remove' | 'replace'; readonly ids: readonly string[] }
  | { readonly kind: 'remove_where'; readonly filter: Filter }

/** Does NOT check who asks: the caller's directory comes from its token. */
export function createScimGroups(deps: ScimGroupsDeps): ScimGroups {
  const { database, clock, newId, memberships, baseUrl } = deps
  const now = () => new Date(clock.now())

  const resources = async (sql: Sql, rows: readonly GroupRow[], isWhole: boolean): Promise<Resource[]> => {
    const members = isWhole ? await membersOf(sql, rows, baseUrl) : new Map<string, object[]>()
    return rows.map((row) => groupResource(row, members.get(row.id) ?? [], baseUrl))
  }
  const answer = async (status: 200 | 201, row: GroupRow): Promise<ScimAnswer> => ({
    status,
    ...optionalResource(await resources(database, [row], true)),
    version: etagOf(row.version),
    location: `${baseUrl}/Groups/${row.id}`,
  })

  async function applyEdits(
    sql: Sql,
    directory: Directory,
    group: string,
    edits: readonly Edit[],
    known: KnownMembers,
  ): Promise<void> {
    for (const edit of edits) {
      if (edit.kind === 'remove_where') {
        if (await isUnsaid(sql, group)) throw notKnown()
        const gone = await membersWhere(sql, group, edit.filter)
        await removeMembers(sql, group, { ids: gone })
      } else if (edit.kind === 'remove') {
        if ((await isUnsaid(sql, group)) && (await unknownOf(sql, directory, edit.ids)).length > 0)
          throw notKnown()
        await removeMembers(sql, group, { ids: edit.ids })
      } else {
        const members = edit.ids.flatMap((id) => known.members.get(id) ?? [])
        if (edit.kind === 'replace')
          await removeMembers(sql, group, { ids: members.map(({ id }) => id), except: true })
        await addMembers(sql, group, members)
      }
    }
    await assertShape(sql, directory, group, known)
  }

  /** Writes what a PUT or PATCH makes of a group. */
  async function save(
    caller: ScimCaller,
    id: string,
    options: {
      readonly ifMatch: string | undefined
      readonly kind: 'replaced' | 'patched'
      readonly edits: readonly Edit[]
      readonly change: (row: GroupRow) => Attributes
      /** Members who are deleted by now are left out. */
      readonly withoutDeleted?: boolean
    },
  ): Promise<GroupRow> {
    const { directory, recordedAs } = caller
    const saved = await database.transaction(async (sql) => {
      const named = namedIn(options.edits)
      const ids = options.withoutDeleted === true ? await withoutDeleted(sql, directory, named) : named
      const known = await lockNamed(sql, directory, id, ids)
      const old = await groupOf(sql, directory, id)
      if (old === undefined) throw notFound()
      assertVersion(options.ifMatch, old.version)
      const attributes = options.change(old)
      assertRequired(attributesOf('Groups', directory), attributes)
      await applyEdits(sql, directory, id, options.edits, known)
      const row: GroupRow = { ...old, attributes, version: old.version + 1, changedAt: now() }
      await changeGroup(sql, caller, id, { ...row, kind: options.kind })
      return row
    })
    await memberships.settle([{ id, directory }], recordedAs)
    return saved
  }

  return {
    get: (directory, id) => groupOf(database, directory, id),
    async create(caller, body) {
      const { directory, recordedAs } = caller
      const { attributes, edits } = readWhole(caller, body)
      const row: GroupRow = { id: newId(), attributes, version: 1, createdAt: now(), changedAt: now() }
      await database.transaction(async (sql) => {
        const known = await lockNamed(sql, directory, row.id, namedIn(edits))
        await addGroup(sql, caller, row)
        await applyEdits(sql, directory, row.id, edits, known)
      })
      // It is there: an error would have the directory make another one. What is left the mending does, and
      // has said it where it cannot.
      await memberships.settle([{ id: row.id, directory }], recordedAs).catch(() => undefined)
      return answer(201, row)
    },
    async replace(caller, id, body, ifMatch) {
      const { attributes, edits } = readWhole(caller, body)
      return answer(
        200,
        await save(caller, id, {
          ifMatch,
          kind: 'replaced',
          edits,
          change: () => attributes,
          withoutDeleted: true,
        }),
      )
    },
    async patch(caller, id, body, ifMatch) {
      const operations = readPatch(body, attributesOf('Groups', caller.directory))
      const edits = operations.flatMap((operation) =>
        operation.path.attribute.name === 'members' ? editsOf(caller, operation) : [],
      )
      if (edits.filter(({ kind }) => kind === 'remove_where').length > filteredEditsMax)
        throw new ScimError(
          400,
          `At most ${filteredEditsMax} filters select members at once. Name them by their ids.`,
          'tooMany',
        )
      const others = operations.filter(({ path }) => path.attribute.name !== 'members')
      const { version } = await save(caller, id, {
        ifMatch,
        kind: 'patched',
        edits,
        change: (row) => others.reduce<Attributes>(applyOperation, row.attributes),
      })
      return { status: 204, version: etagOf(version), location: `${baseUrl}/Groups/${id}` }
    },
    async remove(caller, id, ifMatch) {
      const { directory, recordedAs } = caller
      const assertAsSeen = async (sql: Sql) => {
        const row = await groupOf(sql, directory, id)
        if (row === undefined) throw notFound()
        assertVersion(ifMatch, row.version)
      }
      const groups = await database.transaction((sql) =>
        removeGroup(sql, caller, id, { clock, assertAsSeen }),
      )
      await memberships.settle(
        groups.map((group) => ({ id: group, directory })),
        recordedAs,
      )
      return { status: 204 }
    },
    listed: (directory) => ({
      type: 'Groups',
      count: async (sql) => {
        const [row] = await sql.query<{ count: number }>(
          'select count(*) as count from directory_groups where directory = $1 and deleted_at is null',
          [directory.name],
        )
        return row?.count ?? 0
      },
      page: (sql, offset, limit) =>
        sql.query<GroupRow>(
          `${select} where directory = $1 and deleted_at is null order by created_at, id offset $2 limit $3`,
          [directory.name, offset, limit],
        ),
      behind: (sql, last, { id, externalId, displayName, member }, limit) =>
        sql.query<GroupRow>(
          `${select} where directory = $1 and deleted_at is null
             and ($2::timestamptz is null or (created_at, id) > ($2, $3)) and ($4::text is null or id = $4)
             and ($5::text is null or attributes ->> 'externalId' = $5)
             and ($6::text is null or lower(attributes ->> 'displayName') = lower($6))
             and ($7::text is null or exists
               (select from directory_members where group_id = directory_groups.id and member_id = $7))
           order by created_at, id limit $8`,
          [
            directory.name,
            last?.createdAt ?? null,
            last?.id ?? null,
            id ?? null,
            externalId ?? null,
            displayName ?? null,
            member ?? null,
            limit,
          ],
        ),
      fitting,
      resources,
    }),
  }
}

const select = `select id, attributes, version, created_at as "createdAt", changed_at as "changedAt"
  from directory_groups`

const optionalResource = ([resource]: readonly Resource[]) => (resource === undefined ? {} : { resource })

async function groupOf(sql: Sql, { name }: Directory, id: string): Promise<GroupRow | undefined> {
  const [row] = await sql.query<GroupRow>(
    `${select} where id = $1 and directory = $2 and deleted_at is null`,
    [id, name],
  )
  return row
}

const groupResource = (row: GroupRow, members: readonly object[], baseUrl: string): Resource => ({
  schemas: [schemaOf.Groups],
  id: row.id,
  ...row.attributes,
  ...(members.length > 0 && { members }),
  meta: {
    resourceType: 'Group',
    created: row.createdAt.toISOString(),
    lastModified: row.changedAt.toISOString(),
    version: etagOf(row.version),
    location: `${baseUrl}/Groups/${row.id}`,
  },
})

/** As many groups as have no more members together than one may have alone. */
async function fitting(sql: Sql, rows: readonly GroupRow[]): Promise<number> {
  const counts = await sql.query<{ id: string; count: number }>(
    'select group_id as id, count(*) as count from directory_members where group_id = any($1) group by 1',
    [rows.map(({ id }) => id)],
  )
  const sizes = new Map(counts.map(({ id, count }) => [id, count]))
  let members = 0
  const beyond = rows.findIndex(({ id }) => {
    members += sizes.get(id) ?? 0
    return members > membersMax
  })
  return beyond === -1 ? rows.length : Math.max(1, beyond)
}

interface MemberRow {
  readonly group: string
  readonly id: string
  readonly isGroup: boolean
}

async function membersOf(
  sql: Sql,
  rows: readonly GroupRow[],
  baseUrl: string,
): Promise<ReadonlyMap<string, object[]>> {
  const members = await sql.query<MemberRow>(
    `select group_id as "group", member_id as id, member like 'group:%' as "isGroup"
     from directory_members where group_id = any($1) order by member`,
    [rows.map(({ id }) => id)],
  )
  const byGroup = new Map<string, object[]>(rows.map(({ id }) => [id, []]))
  for (const { group, id, isGroup } of members)
    byGroup.get(group)?.push({
      value: id,
      $ref: `${baseUrl}/${isGroup ? 'Groups' : 'Users'}/${id}`,
      type: isGroup ? 'Group' : 'User',
    })
  return byGroup
}

/** What a POST or PUT says: all attributes, and all members. */
function readWhole(
  caller: ScimCaller,
  body: unknown,
): { readonly attributes: Attributes; readonly edits: readonly Edit[] } {
  if (!isObject(body)) throw new ScimError(400, 'The body is an object.', 'invalidSyntax')
  const definitions = attributesOf('Groups', caller.directory)
  const listed = Object.entries(body).find(([name]) => name.toLowerCase() === 'members')
  const others = definitions.filter(({ name }) => name !== 'members')
  const attributes = readAttributes(others, body)
  assertRequired(definitions, attributes)
  return { attributes, edits: [{ kind: 'replace', ids: idsIn(caller, listed?.[1]) }] }
}

/** Ids of members: `[{"value": "u_…"}]`, one of those alone, or a bare id. */
function idsIn({ bulkIds }: ScimCaller, value: unknown): readonly string[] {
  if (value === undefined || value === null) return []
  const list: unknown[] = Array.isArray(value) ? value : [value]
  if (list.length > membersMax) throw new ScimError(413, `A group has at most ${membersMax} members.`)
  const ids = list.map((element) => {
    const id = isObject(element) ? element['value'] : element
    if (typeof id !== 'string' || id.includes('\0'))
      throw invalidValue('members', 'each has a value, the id of a user or group.')
    if (!id.startsWith('bulkId:')) return id
    const made = bulkIds?.get(id.slice('bulkId:'.length))
    if (made === undefined) throw invalidValue('members', `${id} is not made yet.`)
    return made
  })
  return [...new Set(ids)]
}

function editsOf(caller: ScimCaller, { op, path, filter, value }: PatchOperation): readonly Edit[] {
  if (path.part !== undefined)
    throw new ScimError(400, 'A member is replaced by removing it and adding another.', 'mutability')
  if (op !== 'remove') {
    if (filter !== undefined)
      throw new ScimError(400, 'Members are added by their ids, without a filter.', 'invalidPath')
    return [{ kind: op, ids: idsIn(caller, value) }]
  }
  if (filter !== undefined) {
    const ids = idsAsked(filter)
    return [ids === undefined ? { kind: 'remove_where', filter } : { kind: 'remove', ids }]
  }
  // Entra names those that go in the value; without one all of them go.
  const ids = idsIn(caller, value)
  return [ids.length > 0 ? { kind: 'remove', ids } : { kind: 'replace', ids: [] }]
}

/** Of `value eq "a" or value eq "b"` the ids; undefined: it asks for something else. */
function idsAsked(filter: Filter): readonly string[] | undefined {
  if (filter.kind === 'or') {
    const [left, right] = [idsAsked(filter.left), idsAsked(filter.right)]
    return left && right && [...left, ...right]
  }
  if (filter.kind !== 'compare' || filter.operator !== 'eq') return undefined
  const { path, value } = filter
  return path.attribute.name === 'value' && typeof value === 'string' ? [value] : undefined
}

async function membersWhere(sql: Sql, group: string, filter: Filter): Promise<readonly string[]> {
  const rows = await sql.query<{ id: string; type: string }>(
    `select member_id as id, case when member like 'group:%' then 'Group' else 'User' end as type
     from directory_members where group_id = $1`,
    [group],
  )
  return rows.flatMap(({ id, type }) => (matches(filter, { value: id, type }) ? [id] : []))
}

/** A change that may be of somebody whom an older copy does not know would be done to nobody. */
const notKnown = (): ScimError =>
  invalidValue('members', 'who is in this group is known once it was sent whole. Send it whole.')

/** Neither a user nor a group of the directory, nor one that was. */
const unknownOf = (sql: Sql, { name }: Directory, ids: readonly string[]): Promise<object[]> =>
  sql.query(
    `select from unnest($2::text[]) as given (id)
     where not exists (select from directory_users u where u.directory = $1 and u.id = given.id)
       and not exists (select from directory_groups g where g.directory = $1 and g.id = given.id)`,
    [name, [...ids]],
  )

/** Ids that become members. */
const namedIn = (edits: readonly Edit[]): readonly string[] => [
  ...new Set(edits.flatMap((edit) => (edit.kind === 'add' || edit.kind === 'replace' ? edit.ids : []))),
]

/** A list that was read before somebody was deleted names them still. */
async function withoutDeleted(
  sql: Sql,
  { name }: Directory,
  ids: readonly string[],
): Promise<readonly string[]> {
  const rows = await sql.query<{ id: string }>(
    `select id from directory_users where directory = $1 and id = any($2) and deleted_at is not null
     union all
     select id from directory_groups where directory = $1 and id = any($2) and deleted_at is not null`,
    [name, [...ids]],
  )
  const deleted = new Set(rows.map(({ id }) => id))
  return ids.filter((id) => !deleted.has(id))
}

/** Not too many, and no group that is in itself. */
async function assertShape(
  sql: Sql,
  directory: Directory,
  group: string,
  { groups }: KnownMembers,
): Promise<void> {
  const [row] = await sql.query<{ count: number }>(
    'select count(*) as count from directory_members where group_id = $1',
    [group],
  )
  if ((row?.count ?? 0) > membersMax) throw new ScimError(413, `A group has at most ${membersMax} members.`)
  if (await isInItself(sql, directory, group, groups))
    throw invalidValue('members', 'the group would be in itself.')
}

/** Everybody who is named, held. */
async function lockNamed(
  sql: Sql,
  directory: Directory,
  group: string,
  ids: readonly string[],
): Promise<KnownMembers> {
  const known = await lockMembers(sql, directory, group, ids)
  if (known.unknown.length > 0) throw invalidValue('members', 'one is no user and no group here.')
  return known
}
