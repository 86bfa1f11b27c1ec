import { type FgaObject, splitObject } from '../../kernel/ids.ts'
import type { Sql } from '../../store/sql.ts'
import type { AgentLimits } from '../registry/agents.ts'

type CollectionLimits = Pick<AgentLimits, 'collections'>

/**
 * Whether an agent so limited might read something of it. A folder or an organization may hold what it
 * reaches.
 */
export function limitsAllow({ collections }: CollectionLimits, object: FgaObject, filedIn?: string): boolean {
  if (collections === undefined) return true
  const { type, id } = splitObject(object)
  if (type === 'collection') return collections.includes(id)
  return filedIn === undefined || collections.includes(filedIn)
}

/** Whether it would read nothing at all of these, which the person may read. */
export async function limitsExcludeAll(
  sql: Sql,
  limit: CollectionLimits,
  objects: readonly FgaObject[],
): Promise<boolean> {
  if (limit.collections === undefined) return false
  const documents = objects.map(splitObject).flatMap(({ type, id }) => (type === 'document' ? [id] : []))
  const rows = await sql.query<{ id: string; collection: string }>(
    'select id, collection from documents where id = any($1)',
    [documents],
  )
  const filed = new Map(rows.map(({ id, collection }) => [`document:${id}`, collection]))
  return !objects.some((object) => limitsAllow(limit, object, filed.get(object)))
}
