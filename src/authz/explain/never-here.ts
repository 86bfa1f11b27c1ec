import { singleEdits } from '../../kernel/single-edits.ts'
import type { Sql } from '../../store/sql.ts'
import type { LocalReplica } from '../permission-index.ts'

/**
 * Which of these `type:id` nothing here has or had: no row, no tuple, and nothing on record that proves it.
 * Who is asked about one that is mistyped would else say "nobody", as of one that is safe. Answers none of
 * them while there is no replica to look into. Does NOT check who asks: it tells what exists.
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
      const alikeIds = await spelledAlike(sql, isNamed, id)
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

const suggestionsMax = 3
// Left out by whoever writes a name of a file from memory.
const endings = ['.md', '.txt', '.html', '.pdf', '.docx']

/**
 * At most 3 `type:id` that are, or were, here and are spelled nearly like this one: one slip or a file's
 * ending away, else those that go on where it ends. Takes look-ups by key alone, as many as the id is long,
 * however much is here. `isNamed`: whether a tuple names it. Does NOT check who asks: it tells what exists.
 */
async function spelledAlike(sql: Sql, isNamed: (id: string) => boolean, id: string): Promise<string[]> {
  const [, type = '', bare = ''] = /^([^:]*):(.*)$/s.exec(id) ?? []
  const typed = (withType: string): string => `${type}:${withType}`
  const near = [...singleEdits(bare), ...endings.map((ending) => bare + ending)]
  const named = near.map(typed).filter(isNamed)
  const text = byType.get(type)
  if (named.length > 0 || text === undefined) return named.slice(0, suggestionsMax)
  const rows = await sql.query<{ id: string; longer: boolean }>(text, [near, bare])
  const slips = rows.filter(({ longer }) => !longer)
  return (slips.length > 0 ? slips : rows).slice(0, suggestionsMax).map((row) => typed(row.id))
}

// Each look-up with a limit of its own: else the planner may read the whole table for thousands of them.
const looking = (table: string, key: string, extraSql = ''): string =>
  `select distinct found.id, false as longer from unnest($1::text[]) asked(id) cross join lateral (
     (select ${key} as id from ${table} where ${key} = asked.id limit 1) ${extraSql}) found
   union all
   select id, true from (select ${key} as id from ${table} where ${key} > $2 order by ${key} limit 20) next
   where starts_with(id, $2)
   order by longer, id`

const byType: ReadonlyMap<string, string> = new Map([
  [
    'document',
    looking(
      'documents',
      'id',
      'union all (select document_id from record_given where document_id = asked.id limit 1)',
    ),
  ],
  ['user', looking('people', 'key')],
  ['agent', looking('agents', 'id')],
  ['collection', looking('collections', 'id')],
])
