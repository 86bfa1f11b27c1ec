import { singleEdits } from '../../kernel/single-edits.ts'
import type { Sql } from '../../store/sql.ts'

/** What {@link spelledAlike} looks through. */
export interface SpelledAlikeDeps {
  readonly sql: Sql
  /** Whether a tuple names it. */
  readonly isNamed: (id: string) => boolean
}

const suggestionsMax = 3
// Left out by whoever writes a name of a file from memory.
const endings = ['.md', '.txt', '.html', '.pdf', '.docx']

/**
 * At most 3 `type:id` that are, or were, here and are spelled nearly like this one: one slip or a file's ending away, else those
 * that go on where it ends. Takes look-ups by key alone, as many as the id is long, however much is here.
 * Does NOT check who asks: it tells what exists.
 */
export async function spelledAlike({ sql, isNamed }: SpelledAlikeDeps, id: string): Promise<string[]> {
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
