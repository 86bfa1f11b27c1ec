import type { Sql, SqlValue } from '../store/sql.ts'
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

// The same as stateOf() of job-store.ts says of a row, and as the indexes of migration 0124 have it.
const stateColumn = `case when state = 'broken' then 'failed'
  when state = 'receiving' or done + failed < total then case when done + failed > 0 then 'running' else 'queued' end
  when failed > 0 and done = 0 then 'failed' else 'done' end`

const states: readonly JobState[] = ['queued', 'running', 'done', 'failed']
const kinds: readonly JobKind[] = ['document', 'withdrawal', 'import', 'retry']

const listColumns = `id, owner, kind, state, created_at as "createdAt", total, done, failed, ${pacedColumns}`

/**
 * The newest of each state and kind that is asked for, each from its own place of an index, then the newest
 * of those: whatever is left out is not read.
 */
const listStatement = (owned: string): string =>
  `select to_char("createdAt" at time zone 'UTC', 'YYYY-MM-DD"T"HH24:MI:SS.US"Z"') as place, found.*
   from unnest($1::text[]) as s (told) cross join unnest($2::text[]) as k (kind_told) cross join lateral (
     select ${listColumns} from jobs
     where ${owned} and (${stateColumn}) = s.told and kind = k.kind_told
       and ($3::timestamptz is null or (created_at, id) < ($3, $4::text))
     order by created_at desc, id desc limit $5
   ) found order by "createdAt" desc, id desc limit $5`

/** The statement of {@link listJobs}, with its values. */
export function listJobsBy(
  { owner, state, kind }: JobFilter,
  place: Place | undefined,
  rows: number,
): readonly [string, readonly SqlValue[]] {
  const values = [
    state === undefined ? states : [state],
    kind === undefined ? kinds : [kind],
    place?.place ?? null,
    place?.id ?? null,
    rows,
  ]
  return owner === undefined
    ? [listStatement('true'), values]
    : [listStatement('owner = $6'), [...values, owner]]
}

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
  filter: JobFilter,
  { cursor, limit }: PageOf,
  now: number,
): Promise<JobPage> {
  const place = placeIn('jobs', cursor)
  const rows = await sql.query<Row>(...listJobsBy(filter, place, limit + 1))
  return { jobs: rows.slice(0, limit).map((row) => toListed(row, now)), cursor: nextOf('jobs', rows, limit) }
}

function toListed(row: Row, now: number): ListedJob {
  const { id, owner, kind, createdAt, total, done: doneCount, failed } = row
  return {
    id,
    owner,
    kind,
    state: stateOf(row),
    createdAt,
    done: doneCount,
    failed,
    total,
    ...progressOf(row, now),
  }
}
