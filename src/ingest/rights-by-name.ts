import { isReserved } from '../authz/allow-list/reserved.ts'
import type { TupleKey } from '../authz/fga.ts'
import { typesEver } from '../authz/model/pin.ts'
import { splitObject } from '../kernel/ids.ts'
import type { Sql } from '../store/sql.ts'
import type { IngestContext } from './context.ts'
import { isTagged } from './reconcile-tuples.ts'

/**
 * Tuples that name somebody (`user:acme/anne`) and let them read, by themselves or as a member of something:
 * those in force, and those of content that waits. Not on what a source or a directory brings: it says those
 * again as they are there. Throws `authorization_unavailable` where nobody knows what a relation does.
 */
export async function rightsByName(
  { database, fga, allowList }: Pick<IngestContext, 'database' | 'fga' | 'allowList'>,
  subject: string,
): Promise<readonly TupleKey[]> {
  const list = allowList()
  const found = [...(await database.query<TupleKey>(taggedSql, [subject]))]
  for (const type of await typesEver(database))
    for await (const { user, relation, object } of fga.read({ user: subject, object: `${type}:` }))
      if (!isTagged(type, relation)) found.push({ user, relation, object })
  const brought = await broughtPrefixes(database)
  return found.filter(({ object, relation }) => {
    const { type, id } = splitObject(object)
    return (
      !isReserved(type, relation) &&
      list.isWidening(type, relation) &&
      !brought.some((prefix) => id.startsWith(prefix))
    )
  })
}

/** Beginnings of the ids of what sources and directories bring: each has one that writes it. */
async function broughtPrefixes(sql: Sql): Promise<readonly string[]> {
  const rows = await sql.query<{ prefix: string }>(
    `select prefix from directories union all select id || '/' from sources`,
  )
  return rows.map(({ prefix }) => prefix)
}

// What is written on documents, folders, zones and collections, also with content that waits or failed.
const taggedSql = `
select subject as "user", relation, object from desired_tuples where subject = $1 and subject like 'user:%/%'
union
select $1::text, tag ->> 'relation', 'document:' || documents.id
from (select doc_no, access from revisions union all select doc_no, access from failed_documents) as waiting
  join documents using (doc_no) cross join lateral jsonb_array_elements(access) as tag
where access @> jsonb_build_array(jsonb_build_object('subject', $1::text)) and tag ->> 'subject' = $1`
