import type { Sql } from '../../store/sql.ts'
import type { SealedRow } from './canonical.ts'

/** Adds what agents were given to the days of their reach, in the transaction that seals it: once for each record. */
export async function addToBaselines(sql: Sql, rows: readonly SealedRow[]): Promise<void> {
  const counts = new Map<string, number>()
  for (const { actors, decision, event, objects, time } of rows) {
    const [agent] = actors
    if (agent === undefined || decision !== 'allowed' || !readingEvents.has(event)) continue
    for (const object of objects) {
      if (!object.startsWith(documentPrefix)) continue
      const key = JSON.stringify([agent, time.slice(0, 10), object.slice(documentPrefix.length)])
      counts.set(key, (counts.get(key) ?? 0) + 1)
    }
  }
  if (counts.size === 0) return
  // In one order, so that no two transactions wait for each other.
  const found = [...counts]
    .sort()
    .map(([key, reads]) => [...(JSON.parse(key) as [string, string, string]), reads] as const)
  await sql.query(
    `insert into agent_baselines (agent, day, document_id, reads)
     select * from unnest($1::text[], $2::date[], $3::text[], $4::int[])
     on conflict (agent, day, document_id) do update set reads = agent_baselines.reads + excluded.reads`,
    [
      found.map(([agent]) => agent),
      found.map(([, day]) => day),
      found.map(([, , id]) => id),
      found.map(([, , , n]) => n),
    ],
  )
}

const readingEvents: ReadonlySet<string> = new Set(['retrieved', 'document_read'])
const documentPrefix = 'document:'
