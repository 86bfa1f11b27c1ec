import type { Sql } from '../../../store/sql.ts'
import type { Generation } from './generations.ts'
import type { Hit } from './nominate.ts'

/** Chunks by where they stand: a document, and a place in it at the same index. */
export interface Places {
  readonly docs: Int32Array
  readonly ordinals: Int32Array
  /** How many indices the generation has by now. */
  readonly ranges: number
}

/**
 * The places of what is in force. The database alone says what that is: of what ended since, or never was,
 * nothing is left. Undefined: another generation is searched by now, whose numbers say other things.
 */
export async function resolvePlaces(
  sql: Sql,
  generation: Generation,
  hits: readonly Hit[],
): Promise<Places | undefined> {
  const rows = await sql.query<{ publication: number | null; doc_no: number; ranges: number }>(
    `select p.publication, p.doc_no,
       (select count(*) from search_ranges r where r.generation = $1 and r.index_uuid is not null) as ranges
     from search_generations g left join index_publications p on p.is_shown and p.publication = any($2::int[])
     where g.id = $1 and g.is_current`,
    [generation.id, Int32Array.from(new Set(hits.map(({ number }) => number)))],
  )
  if (rows.length === 0) return undefined
  const docNos = new Map(rows.map((row) => [row.publication, row.doc_no]))
  const places = hits.flatMap(({ number, ordinal }) => {
    const docNo = docNos.get(number)
    return docNo === undefined ? [] : [{ docNo, ordinal }]
  })
  return {
    docs: Int32Array.from(places, ({ docNo }) => docNo),
    ordinals: Int32Array.from(places, ({ ordinal }) => ordinal),
    ranges: rows[0]?.ranges ?? 0,
  }
}
