import { isOpen, sourcePrefix } from '../store/open-document.ts'
import type { Sql } from '../store/sql.ts'

// Out of the searches a little before reading refuses it: what a search finds and reading leaves out would
// show.
const leadSeconds = 3
const lookAgainMs = 60_000
// Far below what one statement has time for.
const pageSizeDefault = 10_000
const isOpenSoon = isOpen({
  source: 'documents.source',
  id: 'documents.id',
  at: `(now() + interval '${leadSeconds} seconds')`,
})

/**
 * Takes documents whose permissions are about to be too old out of every search, and brings those back that
 * count again. It only follows: reading refuses by itself, at that very moment. A source is looked at where
 * it as a whole turned, and each minute for items that are older than the rest.
 */
export function createClosing(
  sql: Sql,
  now: () => number,
  pageSize: number = pageSizeDefault,
): () => Promise<void> {
  const lastSeen = new Map<string, { readonly fresh: string; readonly at: number }>()
  return async () => {
    for (const { id, fresh } of await readFreshness(sql)) {
      const last = lastSeen.get(id)
      if (last?.fresh === fresh && now() - last.at < lookAgainMs) continue
      await closeWhatIsOld(sql, id, pageSize)
      lastSeen.set(id, { fresh, at: now() })
    }
  }
}

/** What decides about all documents of a source together, in a word. */
const readFreshness = (sql: Sql): Promise<{ readonly id: string; readonly fresh: string }[]> =>
  sql.query(
    `select id, edition || ' ' || state || ' ' || coalesce(groups_at > soon, false) || ' ' || coalesce(items_at > soon, false) as fresh
     from sources cross join lateral
       (select now() + interval '${leadSeconds} seconds' - make_interval(secs => max_age_seconds) as soon) as at`,
  )

/** Past rows that others have locked: they are at that document, and it is looked at again. */
async function closeWhatIsOld(sql: Sql, id: string, pageSize: number): Promise<void> {
  let after: number | null = 0
  while (after !== null) {
    const rows: readonly Page[] = await sql.query<Page>(
      `with page as materialized (
         select doc_no from documents where source = $1 and source like 'source/%' and doc_no > $2
         order by doc_no limit $3), turned as (
         update documents set closed = not closed where doc_no in (
           select doc_no from documents where doc_no in (select doc_no from page) and closed = ${isOpenSoon}
           for update skip locked))
       select max(doc_no) as last from page`,
      [`${sourcePrefix}${id}`, after, pageSize],
    )
    after = rows[0]?.last ?? null
  }
}

interface Page {
  /** Null: it is empty. */
  readonly last: number | null
}
