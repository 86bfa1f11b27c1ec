import type { Sql } from '../store/sql.ts'
import { type Paced, type Progress, pacedColumns, progressOf } from './job-progress.ts'
import { type JobKind, type JobState, stateOf } from './job-store.ts'
import { nextOf, type PageOf, type Place, placeIn } from './pages.ts'

/** One job of a list. */
export interface ListedJob extends Progress {
  readonly id: string
  /** `service:NAME`, whose it is. */
  readonly owner: string
  readonly kind: JobKind
  readonly state: JobState
  readonly createdAt: Date
  readonly done: number
  readonly failed: number
  readonly total: number
}

/** Which jobs: all that is left out is any. */
export interface JobFilter {
  readonly owner: string | undefined
  readonly state?: JobState | undefined
  readonly kind?: JobKind | undefined
}

/** One page, newest first. */
export interface JobPage {
  readonly jobs: readonly ListedJob[]
  /** Where the next page begins; undefined on the last. */
  readonly cursor: string | undefined
}

// The same as stateOf() of job-store.ts says of a row.
const stateColumn = `case when state = 'broken' then 'failed'
  when state = 'receiving' or done + failed < total then case when done + failed > 0 then 'running' else 'queued' end
  when failed > 0 and done = 0 then 'failed' else 'done' end`

interface Row extends Omit<ListedJob, 'queued' | 'state'>, Paced, Place {
  readonly id: string
  readonly state: 'receiving' | 'open' | 'broken'
}

/**
 * Jobs, newest first. What begins meanwhile comes before the first page and moves none. Throws
 * `invalid_request` for a cursor of another list. Does NOT check who asks.
 */
export async function listJobs(
  sql: Sql,
  { owner, state, kind }: JobFilter,
  { cursor, limit }: PageOf,
  now: number,
): Promise<JobPage> {
  const place = placeIn('jobs', cursor)
  const rows = await sql.query<Row>(
    `select to_char(created_at at time zone 'UTC', 'YYYY-MM-DD"T"HH24:MI:SS.US"Z"') as place, id, owner, kind, state,
       created_at as "createdAt", total, done, failed, ${pacedColumns}
     from jobs where ($1::text is null or owner = $1) and ($2::text is null or (${stateColumn}) = $2)
       and ($3::text is null or kind = $3) and ($4::timestamptz is null or (created_at, id) < ($4, $5::text))
     order by created_at desc, id desc limit $6`,
    [owner ?? null, state ?? null, kind ?? null, place?.place ?? null, place?.id ?? null, limit + 1],
  )
  return { jobs: rows.slice(0, limit).map((row) => toListed(row, now)), cursor: nextOf('jobs', rows, limit) }
}

function toListed(row: Row, now: number): ListedJob {
  const { id, owner, kind, createdAt, total, done, failed } = row
  return {
    id,
    owner,
    kind,
    state: stateOf(row),
    createdAt,
    done,
    failed,
    total,
    ...progressOf(row, now),
  }
}
