import { isWithin } from '../kernel/occasional.ts'
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
 * it as a whole turned, and each minute for items that are older than the rest: a page of each in turn, so
 * that none waits for the end of another one. Throws the first failure once all others are through.
 */
export function createClosing(
  sql: Sql,
  now: () => number,
  pageSize: number = pageSizeDefault,
): () => Promise<void> {
  const lastSeen = new Map<string, { readonly fresh: string; readonly at: number }>()
  /** The last document of each source that is being looked at. It goes on there, too, after a failure. */
  const places = new Map<string, number>()
  return async () => {
    const failures = new Map<string, unknown>()
    let isDone = false
    while (!isDone) {
      isDone = true
      for (const { id, fresh } of await readFreshness(sql)) {
        const last = lastSeen.get(id)
        if (last?.fresh !== fresh || (!places.has(id) && !isWithin(lookAgainMs, now() - last.at))) {
          lastSeen.set(id, { fresh, at: now() })
          places.set(id, 0)
        }
        const place = places.get(id)
        if (place === undefined || failures.has(id)) continue
        isDone = false
        try {
          const next = await closeWhatIsOld(sql, { id, after: place, pageSize })
          if (next === null) places.delete(id)
          else places.set(id, next)
        } catch (error) {
          failures.set(id, error)
        }
      }
    }
    for (const error of failures.values()) throw error
  }
}

/** What decides about all documents of a source together, in a word. */
const readFreshness = (sql: Sql): Promise<{ readonly id: string; readonly fresh: string }[]> =>
  sql.query(
    `select id, edition || ' ' || state || ' ' || coalesce(groups_at > soon, false) || ' ' || coalesce(items_at > soon, false) as fresh
     from sources cross join lateral
       (select now() + interval '${leadSeconds} seconds' - make_interval(secs => max_age_seconds) as soon) as at order by id`,
  )

/**
 * Past rows that others have locked: they are at that document, and it is looked at again. Gives the last
 * one; null: there are no more.
 */
async function closeWhatIsOld(
  sql: Sql,
  { id, after, pageSize }: { readonly id: string; readonly after: number; readonly pageSize: number },
): Promise<number | null> {
  const [page] = await sql.query<{ last: number | null }>(
    `with page as materialized (
       select doc_no from documents where source = $1 and source like 'source/%' and doc_no > $2
       order by doc_no limit $3), turned as (
       update documents set closed = not closed where doc_no in (
         select doc_no from documents where doc_no in (select doc_no from page) and closed = ${isOpenSoon}
         for update skip locked))
     select max(doc_no) as last from page`,
    [`${sourcePrefix}${id}`, after, pageSize],
  )
  return page?.last ?? null
}
