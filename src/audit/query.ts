import type { RecordEntry as WireEntry } from '@remit/contract/audit'
import type { DecisionEvent } from '@remit/contract/decision-event'
import type { Decision } from '@remit/contract/events'
import { cursorAt, isCursorTime, positionIn } from '../kernel/cursor.ts'
import type { Sql } from '../store/sql.ts'

/** All of them have to fit; none: the whole record. */
export interface RecordFilter {
  readonly subject?: string | undefined
  /** Anywhere in the chain of agents. */
  readonly actor?: string | undefined
  readonly client?: string | undefined
  /** `type:id` of what it was about. */
  readonly object?: string | undefined
  readonly txn?: string | undefined
  /** W3C trace id. */
  readonly trace?: string | undefined
  readonly event?: DecisionEvent['event'] | undefined
  readonly decision?: Decision | undefined
  /** From here on. */
  readonly since?: Date | undefined
  /** And before here. */
  readonly until?: Date | undefined
}

/** One record, as it was written: what it has none of is null. Its time is in microseconds. */
export interface RecordEntry extends Omit<WireEntry, 'event' | 'delegation' | 'tool' | 'trace_id' | 'names'> {
  readonly event: DecisionEvent['event']
  readonly delegation: string | null
  /** Of MCP, by which it was asked. */
  readonly tool: string | null
  readonly trace_id: string | null
}

/** A page of the record, newest first. */
export interface RecordPage {
  readonly entries: readonly RecordEntry[]
  /** Where the next page begins; undefined on the last. */
  readonly next: string | undefined
}

/** Pages through the record. Does NOT check who may read it. */
export interface RecordReader {
  /** Newest first. Throws `invalid_request` for a cursor that is none. */
  page(
    filter: RecordFilter,
    options: { readonly cursor?: string; readonly limit: number },
  ): Promise<RecordPage>
}

/** Reads the record. Does NOT check who asks, nor put on record that somebody did. */
export const createRecordReader = ({ sql }: { readonly sql: Sql }): RecordReader => ({
  async page(filter, { cursor, limit }) {
    const afterNumber = positionIn(cursor, readPosition)
    const entries = await sql.query<RecordEntry>(select, [
      filter.subject ?? null,
      filter.actor ?? null,
      filter.client ?? null,
      filter.object ?? null,
      filter.txn ?? null,
      filter.event ?? null,
      filter.decision ?? null,
      filter.since ?? null,
      filter.until ?? null,
      afterNumber?.time ?? null,
      afterNumber?.seq ?? null,
      limit + 1,
      filter.trace ?? null,
    ])
    const lastEntry = entries.length > limit ? entries[limit - 1] : undefined
    return { entries: entries.slice(0, limit), next: lastEntry && cursorAt([lastEntry.time, lastEntry.seq]) }
  },
})

const columns = `record_no as seq, to_char(at at time zone 'UTC', 'YYYY-MM-DD"T"HH24:MI:SS.US"Z"') as time, event,
  decision, subject, actors, client, delegation, tool, txn, trace_id, detail`

// What is not asked for is null, and planned away: the statement has no name, so it is planned for its
// values.
const matching = (actor: string): string => `
  select * from decision_records
  where ${actor}
    and ($1::text is null or subject = $1)
    and ($3::text is null or client = $3)
    and ($4::text is null or objects @> array[$4])
    and ($5::text is null or txn = $5)
    and ($13::text is null or trace_id = $13)
    and ($6::text is null or event = $6)
    and ($7::text is null or decision = $7)
    and ($8::timestamptz is null or at >= $8)
    and ($9::timestamptz is null or at < $9)
    and ($10::timestamptz is null or (at, record_no) < ($10, $11::bigint))
  order by at desc, record_no desc
  limit $12`

// The outermost agent has an index in this order, inner ones are found by another: each by its own, then
// together.
const select = `
  select ${columns} from (
    (${matching(`($2::text is null or actors <> '{}' and actors[1] = $2)`)})
    union all
    (${matching(`$2::text is not null and objects @> array[$2] and $2 = any(actors[2:])`)})
  ) found
  order by at desc, record_no desc
  limit $12`

function readPosition([time, seq]: readonly unknown[]) {
  return typeof time === 'string' && isCursorTime(time) && Number.isSafeInteger(seq)
    ? { time, seq: Number(seq) }
    : undefined
}
