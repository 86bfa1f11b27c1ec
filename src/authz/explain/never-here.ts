import type { Sql } from '../../store/sql.ts'
import type { LocalReplica } from '../permission-index.ts'
import { spelledAlike } from './spelling.ts'

/**
 * Which of these `type:id` nothing here has or had: no row, no tuple, and nothing on record that proves it. Who is asked
 * about one that is mistyped would else say "nobody", as of one that is safe. Answers none of them while there is no replica
 * to look into. Does NOT check who asks: it tells what exists.
 */
export type NeverHere = (ids: readonly string[]) => Promise<NotHere>

/** Ids that were never here, and what each of them may be a slip of. */
export interface NotHere {
  readonly ids: readonly string[]
  /** For each of them for which there are any: {@link spelledAlike}. */
  readonly alike: ReadonlyMap<string, readonly string[]>
}

/** Looks ids up in the tables and in the tuples of the replica. */
export function createNeverHere({
  sql,
  index,
}: {
  readonly sql: Sql
  readonly index: Pick<LocalReplica, 'view'>
}): NeverHere {
  return async (askedIds) => {
    const tuples = index.view()?.tuples
    if (tuples === undefined) return { ids: [], alike: new Map() }
    const isNamed = (id: string): boolean => tuples.node(id) !== undefined
    const unnamed = askedIds.filter((id) => !isNamed(id))
    const found = unnamed.length === 0 ? [] : await sql.query<{ id: string }>(knownSql, [unnamed])
    const isKnown = new Set(found.map(({ id }) => id))
    const ids = unnamed.filter((id) => !isKnown.has(id))
    const alike = new Map<string, readonly string[]>()
    for (const id of ids) {
      const alikeIds = await spelledAlike({ sql, isNamed }, id)
      if (alikeIds.length > 0) alike.set(id, alikeIds)
    }
    return { ids, alike }
  }
}

// What somebody merely asked for is on record too: it proves nothing. Of other types nothing is said.
const knownSql = `select asked.id from (select id, substr(id, strpos(id, ':') + 1) as bare from unnest($1::text[]) id) asked
  where case split_part(asked.id, ':', 1)
    when 'document' then exists (select from documents d where d.id = bare)
      or exists (select from record_given g where g.document_id = bare)
      or exists (select from desired_tuples t where t.object = asked.id)
    when 'user' then exists (select from people p where p.key = bare)
      or exists (select from revocations r where r.kind = 'subject' and r.key = asked.id)
      or exists (select from administrators a where a.subject = asked.id)
      or exists (select from person_moves m where bare in (m.old_key, m.new_key))
      or exists (select from delegations d where d.subject = asked.id)
      or exists (select from connections c where c.subject = asked.id)
      or exists (select from record_who w where w.subject = asked.id)
      or exists (select from decision_records r where r.subject = asked.id)
      or exists (select from agents a where a.owner = asked.id)
      or exists (select from documents d where d.owner = asked.id)
      or exists (select from desired_tuples t where t.subject = asked.id)
    when 'agent' then exists (select from agents a where a.id = bare)
      or exists (select from revocations r where r.kind = 'agent' and r.key = bare)
    when 'collection' then exists (select from collections c where c.id = bare)
    when 'group' then exists (
      select from decision_records r where r.objects @> array[asked.id] and r.event = 'access_changed')
      or exists (select from desired_tuples t where t.subject = asked.id || '#member')
    else true
  end`
