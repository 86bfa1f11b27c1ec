import type { Activity as ActivityAnswer } from '@remit/contract/activity'
import type { Sql } from '../store/sql.ts'

/** What was asked for in one stretch of time, by how it went. */
export type Stretch = Omit<ActivityAnswer['stretches'][number], 'at'> & {
  /** When it begins. */
  readonly at: Date
}

/** What agents and people did in a time, cut into stretches of equal length. */
export interface Activity {
  /** Oldest first, each as long as the other; none is left out. */
  readonly stretches: readonly Stretch[]
  /** Documents whose permissions were found to differ, and mended, in all that time. */
  readonly driftMended: number
}

/** The stretches to count: the end of the last one, the length of each in milliseconds, and how many. */
export interface ActivityOptions {
  readonly until: Date
  readonly stretchMs: number
  readonly count: number
}

/** Requests for something: not what follows from them, nor what people do with their own account. */
const recordedEvents = ['retrieved', 'document_read', 'collections_listed', 'vault_called', 'request_refused']

/** Counts the record: how many, never who or what. */
export async function readActivity(
  sql: Sql,
  { until: endAt, stretchMs, count }: ActivityOptions,
): Promise<Activity> {
  const lastStretch = Math.floor(endAt.getTime() / stretchMs)
  const firstStretch = lastStretch - count + 1
  const startAt = new Date(firstStretch * stretchMs)
  const [stretches, [drift]] = await Promise.all([
    sql.query<Stretch>(
      `select to_timestamp((stretch * $3::numeric / 1000)::float8) as at,
         count(*) filter (where decision = 'allowed')::int as allowed,
         count(*) filter (where decision = 'denied')::int as denied,
         count(*) filter (where decision = 'error')::int as error,
         count(*) filter (where decision = 'none')::int as none
       from generate_series($4::bigint, $5::bigint) stretch left join (
         select floor(extract(epoch from at) * 1000 / $3::numeric)::bigint as stretch, decision
         from decision_records where event = any($1) and at >= $2
       ) asked using (stretch)
       group by stretch order by stretch`,
      [recordedEvents, startAt, stretchMs, firstStretch, lastStretch],
    ),
    sql.query<{ count: number }>(
      `select count(*)::int as count from decision_records where event = 'drift_mended' and at >= $1`,
      [startAt],
    ),
  ])
  return { driftMended: drift?.count ?? 0, stretches }
}
