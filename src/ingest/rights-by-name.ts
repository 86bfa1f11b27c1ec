import { isReserved } from '../authz/allow-list/reserved.ts'
import { type TupleKey, tupleId } from '../authz/fga.ts'
import { typesEver } from '../authz/model/pin.ts'
import { splitObject } from '../kernel/ids.ts'
import { olderGroups } from '../store/older-groups.ts'
import type { Sql } from '../store/sql.ts'
import type { IngestContext } from './context.ts'
import { isOnContent } from './reconcile-tuples.ts'

/**
 * Tuples that name somebody (`user:acme/anne`) and let them read, by themselves or as a member of something:
 * those in force, and those of content that waits. Not on what a source or a directory brings: it says those
 * again as they are there, and its rows tell of them. Where these are of an older copy they tell nothing, and
 * those on the group are named. Throws `authorization_unavailable` where nobody knows what a relation does.
 */
export async function rightsByName(
  { database, fga, allowList }: Pick<IngestContext, 'database' | 'fga' | 'allowList'>,
  subject: string,
): Promise<readonly TupleKey[]> {
  const list = allowList()
  const found = [...(await database.query<TupleKey>(taggedSql, [subject]))]
  for (const type of await typesEver(database))
    for await (const { user, relation, object } of fga.read({ user: subject, object: `${type}:` }))
      if (!isOnContent(type, relation)) found.push({ user, relation, object })
  // What is no content stands in both.
  const distinct = new Map(found.map((tuple) => [tupleId(tuple), tuple]))
  const rights = [...distinct.values()].filter(({ object, relation }) => {
    const { type } = splitObject(object)
    return !isReserved(type, relation) && list.isWidening(type, relation)
  })
  const brought = await broughtObjects(
    database,
    rights.map(({ object }) => object),
  )
  return rights.filter(({ object }) => !brought.has(object))
}

/**
 * Those of which a source or a directory says who is named on them: groups by their ids, which one program
 * alone may write below a prefix; documents by who sent all that is there of them; folders and zones by where
 * they are filed too, since others may choose such an id.
 */
async function broughtObjects(sql: Sql, objects: readonly string[]): Promise<ReadonlySet<string>> {
  const rows = await sql.query<{ object: string }>(
    `select object from unnest($1::text[]) as asked (object) where
       object like 'group:%' and exists (select from (
         select prefix from directories union all select id || '/' from sources) as one
         where starts_with(object, 'group:' || prefix))
         and object not in (select 'group:' || prefix || group_id from (${olderGroups}) as older
           join directory_groups on id = group_id join directories on name = directory)
       or object like 'document:%' and (
         select bool_and(one.source in (select 'source/' || id from sources)) from documents d cross join lateral (
           select d.source where d.live_revision is not null
           union all select r.source from revisions r where r.doc_no = d.doc_no
           union all select f.source from failed_documents f where f.doc_no = d.doc_no) as one (source)
         where d.id = substr(object, 10))
       or exists (select from filings f join sources s on f.collection = any(s.collections)
         where f.object = asked.object and starts_with(split_part(asked.object, ':', 2), s.id || '/'))`,
    [objects],
  )
  return new Set(rows.map(({ object }) => object))
}

// What stands in rows, also with content that waits or failed.
const taggedSql = `
select subject as "user", relation, object from desired_tuples where subject = $1 and subject like 'user:%/%'
union
select $1::text, tag ->> 'relation', 'document:' || documents.id
from (select doc_no, access from revisions union all select doc_no, access from failed_documents) as waiting
  join documents using (doc_no) cross join lateral jsonb_array_elements(access) as tag
where access @> jsonb_build_array(jsonb_build_object('subject', $1::text)) and tag ->> 'subject' = $1`
