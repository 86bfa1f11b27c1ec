import type { Sql } from '../store/sql.ts'

/** What the deployment holds, and what is still to be taken in. */
export interface Stock {
  /** Documents that were accepted and are not done, withdrawals included. */
  readonly waiting: number
  /**
   * Seconds since the oldest document or withdrawal came that was sent by itself and is not done; 0 where
   * there is none. An import has its own pace.
   */
  readonly waitingSeconds: number
  /** Documents that could not be taken in, of the jobs that are kept (30 days). */
  readonly failed: number
  /** Seconds since the oldest object was marked that OpenFGA may not have as it shall be; 0: none. */
  readonly unreconciledSeconds: number
  readonly documents: number
  readonly passages: number
  readonly databaseBytes: number
}

/** Counts all of it anew: a fraction of a second for a million documents, so not for each question. */
export async function readStock(sql: Sql): Promise<Stock | undefined> {
  const [row] = await sql.query<Stock>(
    `select jobs.*, live.*, marks.*, pg_database_size(current_database())::float8 as "databaseBytes" from
       (select coalesce(sum(total - done - failed) filter (where state <> 'broken'), 0)::float8 as waiting,
         coalesce(greatest(extract(epoch from now() - min(created_at) filter (where state <> 'broken'
           and kind in ('document', 'withdrawal') and done + failed < total)), 0), 0)::float8 as "waitingSeconds",
         coalesce(sum(failed), 0)::float8 as failed from jobs) as jobs,
       (select count(*)::float8 as documents, coalesce(sum(chunk_count), 0)::float8 as passages
         from documents where live_revision is not null) as live,
       (select coalesce(greatest(extract(epoch from now() - min(since)), 0), 0)::float8 as "unreconciledSeconds"
         from unreconciled) as marks`,
  )
  return row
}
