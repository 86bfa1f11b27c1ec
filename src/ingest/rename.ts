import type { Sql } from '../store/sql.ts'
import type { IngestContext } from './context.ts'
import { markUnsettled } from './desired-tuples.ts'
import { mendUnsettled } from './drift.ts'

/** Tags that name a subject (`user:acme/anne`). */
export async function countTags(sql: Sql, subject: string): Promise<number> {
  const [row] = await sql.query<{ n: number }>(
    'select count(*) as n from desired_tuples where subject = $1',
    [subject],
  )
  return row?.n ?? 0
}

/**
 * Gives another subject every tag of this one, and what of documents names it, and resolves when OpenFGA holds that. A tag
 * that both have keeps its later end. May run twice; after a crash the objects' marks see to OpenFGA. Does NOT move what has
 * no tag: groups, lendings.
 */
export async function renameSubject(
  context: IngestContext,
  oldSubject: string,
  newSubject: string,
): Promise<void> {
  await context.database.transaction(async (sql) => {
    const objects = await sql.query<{ object: string }>(
      'select distinct object from desired_tuples where subject = $1 order by object',
      [oldSubject],
    )
    await sql.query(
      `insert into desired_tuples (object, relation, subject, expires_at)
       select object, relation, $2, expires_at from desired_tuples where subject = $1
       on conflict (object, relation, subject) do update set expires_at =
         case when desired_tuples.expires_at is null or excluded.expires_at is null then null
              else greatest(desired_tuples.expires_at, excluded.expires_at) end`,
      [oldSubject, newSubject],
    )
    await sql.query('delete from desired_tuples where subject = $1', [oldSubject])
    for (const { object } of objects) await markUnsettled(sql, object, false)
    await sql.query('update documents set owner = $2 where owner = $1', [oldSubject, newSubject])
    await sql.query('update revisions set owner = $2 where owner = $1', [oldSubject, newSubject])
    // Of revisions that are on their way in: their tags as they will be set.
    await sql.query(
      `update revisions set access = (
         select jsonb_agg(case when tag ->> 'subject' = $1 then tag || jsonb_build_object('subject', $2::text) else tag end)
         from jsonb_array_elements(access) tag)
       where access @> jsonb_build_array(jsonb_build_object('subject', $1::text))`,
      [oldSubject, newSubject],
    )
  })
  await mendUnsettled(context)
}
