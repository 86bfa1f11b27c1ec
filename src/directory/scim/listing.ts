import type { Sql } from '../../store/sql.ts'
import type { Directory } from '../directories.ts'
import { type Filter, matches, parseFilter } from './filter.ts'
import { project, type Resource, type ScimQuery } from './request.ts'
import { filterable, type ResourceType } from './schemas.ts'

/** A stored user or group, and where it stands in the one order of lists. */
export interface ListedRow {
  readonly id: string
  readonly createdAt: Date
}

/** What a list of one kind is read from. */
export interface Listed<Row extends ListedRow> {
  readonly type: ResourceType
  /** How many there are. */
  readonly count: (sql: Sql) => Promise<number>
  /** In order, a page from an offset, where nothing is filtered. */
  readonly page: (sql: Sql, offset: number, limit: number) => Promise<readonly Row[]>
  /** In order, those that can be what is asked for, behind a row; undefined: from the first. */
  readonly behind: (
    sql: Sql,
    last: Row | undefined,
    narrow: Narrowing,
    limit: number,
  ) => Promise<readonly Row[]>
  /** How many of the first of these rows one answer holds with what is long of them; at least one of any. */
  readonly fitting: (sql: Sql, rows: readonly Row[]) => Promise<number>
  /** As they leave. `isWhole`: false, and nobody looks at what is long. */
  readonly resources: (sql: Sql, rows: readonly Row[], isWhole: boolean) => Promise<readonly Resource[]>
}

/** What a filter asks of attributes that the database finds; undefined: nothing. */
export type Narrowing = Readonly<
  Record<'id' | 'userName' | 'externalId' | 'displayName' | 'member', string | undefined>
>

/** Found resources: how many in all, and those asked for. */
export interface Found {
  readonly total: number
  readonly resources: readonly Resource[]
}

const batch = 500

/**
 * Finds what a query asks for, in the order in which it was made (RFC 7644 §3.4.2). Fewer than were asked for
 * where one answer does not hold them: `itemsPerPage` says so, and the next page begins behind them.
 */
export async function find<Row extends ListedRow>(
  sql: Sql,
  listed: Listed<Row>,
  directory: Directory,
  query: ScimQuery,
): Promise<Found> {
  const definitions = filterable(listed.type, directory)
  const isLong = isLongWanted(query)
  const leaving = async (rows: readonly Row[]): Promise<readonly Resource[]> => {
    const fitting = isLong ? rows.slice(0, await listed.fitting(sql, rows)) : rows
    const resources = await listed.resources(sql, fitting, isLong)
    return resources.map((resource) => project(resource, definitions, query))
  }
  if (query.filter === undefined) {
    const rows = await listed.page(sql, query.startIndex - 1, query.count)
    return { total: await listed.count(sql), resources: await leaving(rows) }
  }
  const filter = parseFilter(query.filter, definitions, { unknownAbsent: true })
  const narrowing = narrowingOf(filter)
  const isAsking = asksForMembers(filter)
  const found: Row[] = []
  let total = 0
  let last: Row | undefined
  for (;;) {
    const rows = await listed.behind(sql, last, narrowing, batch)
    // One group's members at a time: those of a page of groups do not fit in memory.
    for (const some of isAsking ? rows.map((row) => [row]) : [rows]) {
      const resources = await listed.resources(sql, some, isAsking)
      for (const [index, row] of some.entries()) {
        if (!matches(filter, resources[index] ?? {})) continue
        total += 1
        if (total >= query.startIndex && found.length < query.count) found.push(row)
      }
    }
    last = rows.at(-1)
    if (rows.length < batch) return { total, resources: await leaving(found) }
  }
}

/** Whether members leave: of a group of 10,000 they are most of the work. */
export const isLongWanted = ({
  attributes,
  excludedAttributes,
}: Pick<ScimQuery, 'attributes' | 'excludedAttributes'>): boolean => {
  const names = (list: readonly string[]) => list.some((name) => /(^|:)members\b/i.test(name))
  return attributes.length > 0
    ? names(attributes)
    : !excludedAttributes.some((name) => /(^|:)members$/i.test(name))
}

function asksForMembers(filter: Filter): boolean {
  switch (filter.kind) {
    case 'and':
    case 'or':
      return asksForMembers(filter.left) || asksForMembers(filter.right)
    case 'not':
      return asksForMembers(filter.inner)
    case 'some':
      return filter.attribute.name === 'members'
    default:
      return filter.path.attribute.name === 'members'
  }
}

/** What `eq` asks of all that it finds: by that the database need not give every row. */
function narrowingOf(filter: Filter): Narrowing {
  const asked = new Map<string, string>()
  const visit = (part: Filter): void => {
    if (part.kind === 'and') {
      visit(part.left)
      visit(part.right)
    }
    if (part.kind === 'some' && part.attribute.name === 'members') visitMembers(part.inner)
    if (part.kind === 'compare' && part.operator === 'eq' && part.path.attribute.name === 'members') {
      const { value, path } = part
      if (typeof value === 'string' && (path.part?.name ?? 'value') === 'value') asked.set('members', value)
    }
    if (part.kind !== 'compare' || part.operator !== 'eq' || part.path.part !== undefined) return
    if (typeof part.value === 'string') asked.set(part.path.attribute.name, part.value)
  }
  const visitMembers = (part: Filter): void => {
    if (part.kind === 'and') {
      visitMembers(part.left)
      visitMembers(part.right)
    }
    if (part.kind !== 'compare' || part.operator !== 'eq' || part.path.attribute.name !== 'value') return
    if (typeof part.value === 'string') asked.set('members', part.value)
  }
  visit(filter)
  return {
    id: asked.get('id'),
    userName: asked.get('userName'),
    externalId: asked.get('externalId'),
    displayName: asked.get('displayName'),
    member: asked.get('members'),
  }
}
