import type { Sql } from '../../store/sql.ts'

/**
 * Compares the list of who got what with the records: that is counted from the list, which may not leave
 * anybody out.
 */
export class Listing {
  // What is between two calls belongs to the later one.
  #nextNumber: number | undefined

  /** Begins at a number, or at the first that is given. */
  constructor(firstNumber: number | undefined) {
    this.#nextNumber = firstNumber
  }

  /**
   * Of these records those that are listed as something else than they say; and, between the numbers, what is
   * listed of records that do not exist.
   */
  async differing(sql: Sql, numbers: readonly number[]): Promise<readonly number[]> {
    if (numbers.length === 0) return []
    const [least, highest] = [Math.min(...numbers), Math.max(...numbers)]
    const fromNumber = Math.min(least, this.#nextNumber ?? least)
    this.#nextNumber = Math.max(highest + 1, this.#nextNumber ?? 0)
    const found = await sql.query<{ record_no: number }>(text, [numbers, fromNumber, highest])
    return found.map(({ record_no }) => record_no)
  }

  /** What is listed after all of them, of records that do not exist. At most a hundred. */
  async rest(sql: Sql): Promise<readonly number[]> {
    const found = await sql.query<{ record_no: number }>(
      `select distinct record_no from record_given g where record_no >= $1 and not exists (
         select from decision_records d where d.record_no = g.record_no) limit 100`,
      [this.#nextNumber ?? 0],
    )
    return found.map(({ record_no }) => record_no)
  }
}

// Each record is looked up by its number: joined in another way, the whole record may be read for one batch.
const text = `
  with listed as materialized (
    select record_no, array_agg(document_id order by document_id collate "C") as documents, min(at) as at, max(at) as last_at,
      min(who) as who, max(who) as last_who
    from record_given where record_no between $2 and $3 group by record_no),
  held as materialized (
    select d.record_no, d.at, d.subject, d.actors, d.client,
      case when d.decision = 'allowed' and d.event in ('retrieved', 'document_read') then array(
        select distinct substr(object, 10) collate "C" from unnest(d.objects) object
        where starts_with(object, 'document:') order by 1) else '{}' end as documents
    from (select unnest($1::bigint[]) union select record_no from listed) n (record_no)
      cross join lateral (select * from decision_records d where d.record_no = n.record_no offset 0) d)
  select record_no from held full join listed using (record_no) left join record_who w on w.who = listed.who
  where case
    when listed.record_no is null then held.documents <> '{}'
    when held.record_no is null then true
    else listed.documents <> held.documents or listed.at <> held.at or listed.last_at <> held.at
      or listed.who <> listed.last_who or w.actors is distinct from held.actors or w.client <> held.client
      or w.subject <> held.subject and not exists (
        -- While they are being erased, one of the two names them still.
        select from record_people p where p.erasing_since is not null and p.erased_at is null
          and p.alias in (w.subject, held.subject) and p.subject in (w.subject, held.subject)) end`
