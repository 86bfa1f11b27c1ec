import type { Sql } from '../../store/sql.ts'
import type { SealedRow } from './canonical.ts'

interface ListedRow {
  readonly record_no: number
  readonly documents: string
  readonly count: number
  readonly time: string
  readonly who: number
  /** All of its documents at one time, by one of whom. */
  readonly alike: boolean
}

interface Who {
  readonly who: number
  readonly subject: string
  readonly actors: readonly string[]
  readonly client: string
}

/** Compares the list of records by reader with the records themselves. */
export interface Listing {
  /**
   * Of these records those that are listed as something else than they say; and, between the numbers, what is listed of records that
   * do not exist. Who got what is counted from that list: it may not leave anybody out.
   */
  differing(numbers: readonly number[], rows: ReadonlyMap<number, SealedRow>): Promise<readonly number[]>
  /** What is listed after all of them, of records that do not exist. At most a hundred. */
  rest(): Promise<readonly number[]>
}

const whoMax = 50_000

/**
 * Begins at a number, or at the first that is given. What seems to differ is looked at once more, in one statement: meanwhile an
 * erasure or retention may have been there.
 */
export function createListing(sql: Sql, firstNumber: number | undefined): Listing {
  let actorsById = new Map<number, Who>()
  // What is between two calls belongs to the later one.
  let nextNumber = firstNumber
  return {
    async differing(numbers, rows) {
      if (numbers.length === 0) return []
      const [least, highest] = [Math.min(...numbers), Math.max(...numbers)]
      const fromNumber = Math.min(least, nextNumber ?? least)
      nextNumber = Math.max(highest + 1, nextNumber ?? 0)
      const listed = await sql.query<ListedRow>(
        `select record_no, string_agg(document_id, e'\n' order by document_id collate "C") as documents, count(*)::int as count,
           to_char(min(at) at time zone 'UTC', 'YYYY-MM-DD"T"HH24:MI:SS.US"Z"') as time,
           min(who) as who, min(who) = max(who) and min(at) = max(at) as alike
         from record_given where record_no between $1 and $2 group by record_no`,
        [fromNumber, highest],
      )
      if (actorsById.size > whoMax) actorsById = new Map()
      const missingActors = [...new Set(listed.map(({ who: actorId }) => actorId))].filter(
        (actorId) => !actorsById.has(actorId),
      )
      if (missingActors.length > 0)
        for (const actor of await sql.query<Who>('select * from record_who where who = any($1::bigint[])', [
          missingActors,
        ]))
          actorsById.set(actor.who, actor)
      const rowsByNumber = new Map(listed.map((row) => [row.record_no, row]))
      const suspects = [
        ...[...rows.values()]
          .filter((row) => !fits(row, rowsByNumber.get(row.record_no), actorsById))
          .map((row) => row.record_no),
        ...listed.filter(({ record_no }) => !rows.has(record_no)).map(({ record_no }) => record_no),
      ]
      if (suspects.length === 0) return []
      const found = await sql.query<{ record_no: number }>(text, [suspects])
      return found.map(({ record_no }) => record_no)
    },
    async rest() {
      const found = await sql.query<{ record_no: number }>(
        `select distinct record_no from record_given g where record_no >= $1 and not exists (
           select from decision_records d where d.record_no = g.record_no) limit 100`,
        [nextNumber ?? 0],
      )
      return found.map(({ record_no }) => record_no)
    },
  }
}

/** No id of ours holds a line's end: as many, and the same lines, are the same ones. */
function fits(row: SealedRow, listed: ListedRow | undefined, actorsById: ReadonlyMap<number, Who>): boolean {
  const documents =
    readingEvents.has(row.event) && row.decision === 'allowed' ? row.objects.filter(isDocument) : []
  if (listed === undefined) return documents.length === 0
  const actor = actorsById.get(listed.who)
  return (
    actor !== undefined &&
    listed.alike &&
    listed.time === row.time &&
    listed.count === documents.length &&
    listed.documents === documents.map(idOf).sort().join('\n') &&
    actor.subject === row.subject &&
    actor.client === row.client &&
    actor.actors.join('\n') === row.actors.join('\n')
  )
}

const readingEvents: ReadonlySet<string> = new Set(['retrieved', 'document_read'])
const prefix = 'document:'
const isDocument = (object: string): boolean => object.startsWith(prefix)
const idOf = (object: string): string => object.slice(prefix.length)

const text = `
  with held as materialized (
    select d.record_no, d.at, d.subject, d.actors, d.client,
      case when d.decision = 'allowed' and d.event in ('retrieved', 'document_read') then array(
        select distinct substr(object, 10) collate "C" from unnest(d.objects) object
        where starts_with(object, 'document:') order by 1) else '{}' end as documents
    from unnest($1::bigint[]) n join decision_records d on d.record_no = n),
  listed as materialized (
    select record_no, array_agg(document_id order by document_id collate "C") as documents, min(at) as at, max(at) as last_at,
      min(who) as who, max(who) as last_who
    from record_given where record_no between (select min(n) from unnest($1::bigint[]) n) and (select max(n) from unnest($1::bigint[]) n)
      and record_no = any($1) group by record_no)
  select record_no from held full join listed using (record_no) left join record_who w on w.who = listed.who
  where case
    when listed.record_no is null then held.documents <> '{}'
    when held.record_no is null then not exists (
      select from decision_records d where d.record_no = listed.record_no)
    else listed.documents <> held.documents or listed.at <> held.at or listed.last_at <> held.at
      or listed.who <> listed.last_who or w.actors is distinct from held.actors or w.client <> held.client
      or w.subject <> held.subject and not exists (
        -- While they are being erased, one of the two names them still.
        select from record_people p where p.erasing_since is not null and p.erased_at is null
          and p.alias in (w.subject, held.subject) and p.subject in (w.subject, held.subject)) end`
