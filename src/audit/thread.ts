import type { Decision } from '@remit/contract/events'
import type { Sql } from '../store/sql.ts'

/** One record of an action, as it was written. */
export interface ThreadStep {
  readonly seq: number
  readonly at: Date
  readonly event: string
  readonly decision: Decision
  /** Another than the one asked for, where a trace leads there. */
  readonly txn: string
  readonly subject: string
  /** Outermost first. */
  readonly actors: readonly string[]
  readonly client: string
  readonly delegation: string | undefined
  /** Of MCP, by which it was asked. */
  readonly tool: string | undefined
  readonly trace: string | undefined
  readonly detail: Readonly<Record<string, unknown>>
}

/** What is on record of one action, oldest first. */
export interface AuditThread {
  readonly steps: readonly ThreadStep[]
  /** false: there is more than {@link threadMax}; the record itself has all of it. */
  readonly isComplete: boolean
}

/** More of one action than anybody reads. */
export const threadMax = 1_000

/**
 * What was put on record under one txn, and under the traces that it was part of, oldest first: from the
 * agent's first call to the last request that came of it. `id` may also be a trace's: then what is under
 * that. An agent chooses its traces, so of too much the txn's own come first, and then what is nearest to
 * them; of too much that is its own, as many of the first as of the last. NOT checked: who may see it.
 */
export async function readThread(sql: Sql, id: string): Promise<AuditThread> {
  const rows = await sql.query<ThreadRow>(
    // Each by its own index and in its order: an OR of the two would read the whole record, and so would a
    // sort where somebody gives one trace to all of theirs.
    `with own as materialized (
       (select record_no, trace_id from decision_records where txn = $1 order by record_no limit $2 / 2)
       union
       (select record_no, trace_id from decision_records where txn = $1 order by record_no desc limit $2 / 2)),
     span as (select coalesce(min(record_no), 0) as first_no, coalesce(max(record_no), 0) as last_no from own),
     others as (
       select near.record_no from (select trace_id as trace from own where trace_id is not null union select $1) traces
         cross join span cross join lateral (
           (select record_no from decision_records
            where trace_id = trace and txn <> $1 and record_no >= first_no order by record_no limit $2)
           union all
           (select record_no from decision_records
            where trace_id = trace and txn <> $1 and record_no < first_no order by record_no desc limit $2)) near),
     chosen as (
       select record_no, -1 as distance from own
       union all
       select record_no, greatest(first_no - record_no, record_no - last_no, 0) from others cross join span
       order by distance, record_no limit $2)
     select record_no as seq, at, event, decision, txn, subject, actors, client, delegation, tool, trace_id, detail,
       (select count(*) from (select from decision_records where txn = $1 limit $2) counted) = $2 as "isCut"
     from chosen join decision_records using (record_no) order by distance, record_no`,
    [id, threadMax + 1],
  )
  const steps = rows.slice(0, threadMax).map(({ delegation, tool, trace_id: trace, isCut: _, ...row }) => ({
    ...row,
    delegation: delegation ?? undefined,
    tool: tool ?? undefined,
    trace: trace ?? undefined,
  }))
  const isComplete = rows.length <= threadMax && rows[0]?.isCut !== true
  return { steps: steps.sort((step, other) => step.seq - other.seq), isComplete }
}

/** As `GET /audit/thread` and `remit trace` give it. */
export const stepToWire = ({ at, trace, actors, detail, ...step }: ThreadStep) => ({
  ...step,
  time: at.toISOString(),
  actors: [...actors],
  trace_id: trace,
  detail: { ...detail },
})

interface ThreadRow extends Omit<ThreadStep, 'delegation' | 'tool' | 'trace'> {
  readonly delegation: string | null
  readonly tool: string | null
  readonly trace_id: string | null
  /** It has more of its own than are listed. */
  readonly isCut: boolean
}
