import type { DecisionEvent } from '@remit/contract/decision-event'
import type { EventName } from '@remit/contract/events'
import { assertNotAborted } from '../kernel/assert-not-aborted.ts'
import type { Principal } from '../kernel/principal.ts'
import { traceId } from '../kernel/trace.ts'
import type { Sql, SqlValue } from '../store/sql.ts'
import { decisionOf, objectsOf } from './facts.ts'

/** Who a record is about: a principal, or the machine's operator for commands and jobs. */
export type RecordActor = Pick<Principal, 'subject' | 'actors' | 'client' | 'txn'> &
  Partial<Pick<Principal, 'delegation' | 'tool'>> & {
    /** Fires when nobody waits for the request any more. Then nothing of it goes on record, nor in with that. */
    readonly over?: AbortSignal | undefined
  }

const columns = {
  txn: 'text',
  event: 'text',
  subject: 'text',
  actors: 'text[]',
  client: 'text',
  delegation: 'text',
  tool: 'text',
  trace_id: 'text',
  detail: 'jsonb',
  decision: 'text',
  objects: 'text[]',
} as const
/** For a statement that writes a record together with something else: its columns, their parameters, {@link recordValues}. */
export const recordColumns = Object.keys(columns).join(', ')
/** The placeholders of one record's columns, from `$firstParameter` on, each cast to its type. */
export const recordRow = (firstParameter: number): string =>
  Object.values(columns)
    .map((type, column) => `$${firstParameter + column}::${type}`)
    .join(', ')

/** The values of one record in the order of {@link recordRow}. */
export function recordValues(actor: RecordActor, decision: DecisionEvent): SqlValue[] {
  // An event that the contract does not name does not compile.
  const { event, ...detail }: { readonly event: EventName } = decision
  return [
    actor.txn,
    event,
    actor.subject,
    actor.actors,
    actor.client,
    actor.delegation ?? null,
    actor.tool ?? null,
    traceId() ?? null,
    detail,
    decisionOf(decision),
    objectsOf(actor, decision),
  ]
}

/**
 * Writes one record. Give it the transaction of what it records, or the database for a row of its own. Throws
 * `deadline_exceeded` where `who` is over: with it goes what the transaction was about to do.
 */
export async function record(sql: Sql, actor: RecordActor, decision: DecisionEvent): Promise<void> {
  assertNotAborted(actor.over)
  await sql.query(
    `insert into decision_records (${recordColumns}) values (${recordRow(1)})`,
    recordValues(actor, decision),
  )
}

/** The operator of this machine, for commands and background jobs. */
export const operator = (txn: string): RecordActor => ({
  subject: 'service:remit',
  actors: [],
  client: 'machine',
  txn,
})
