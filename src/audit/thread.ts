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

/** More of one action than anybody reads; the record itself has all of it. */
export const threadMax = 1_000

/**
 * What was put on record under one txn, and under the traces that it was part of, oldest first: from the
 * agent's first call to the last request that came of it. `id` may also be a trace's: then what is under
 * that. NOT checked: who may see it.
 */
export async function readThread(sql: Sql, id: string): Promise<readonly ThreadStep[]> {
  const rows = await sql.query<ThreadRow>(
    // Each by its own index and in its order: an OR of the two would read the whole record, and so would a
    // sort where somebody gives one trace to all of theirs.
    `with own as materialized (
       select * from decision_records where txn = $1 order by record_no limit ${threadMax})
     select record_no as seq, at, event, decision, txn, subject, actors, client, delegation, tool, trace_id, detail from (
       select * from own
       union all
       select others.* from (select trace_id as trace from own where trace_id is not null union select $1) traces
         cross join lateral (
           select * from decision_records where trace_id = trace and txn <> $1 order by record_no limit ${threadMax}) others
     ) found
     order by record_no limit ${threadMax}`,
    [id],
  )
  return rows.map(({ delegation, tool, trace_id: trace, ...row }) => ({
    ...row,
    delegation: delegation ?? undefined,
    tool: tool ?? undefined,
    trace: trace ?? undefined,
  }))
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
}
