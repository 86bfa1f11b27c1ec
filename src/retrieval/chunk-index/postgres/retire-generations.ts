import type { Sql } from '../../../store/sql.ts'

/**
 * Ends what a search engine apart holds, all of it or these generations: nothing is searched there from the
 * caller's commit on. Stands here since it is also said where no engine is set, and none of its code loaded.
 */
export async function retireGenerations(sql: Sql, ids?: readonly string[]): Promise<void> {
  await sql.query(
    `update search_generations set is_current = false, retired_at = now()
     where retired_at is null and ($1::text[] is null or id = any($1))`,
    [ids ?? null],
  )
}
