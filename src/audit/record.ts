import type { DecisionEvent } from '@remit/contract/decision-event'
import type { Decision, EventName } from '@remit/contract/events'
import { assertNotAborted } from '../kernel/assert-not-aborted.ts'
import type { Principal } from '../kernel/principal.ts'
import { traceId } from '../kernel/trace.ts'
import type { Sql, SqlValue } from '../store/sql.ts'
import { withoutAliases } from './seal/canonical.ts'

/** Who a record is about: a principal, or the machine's operator for commands and jobs. */
export type RecordActor = Pick<Principal, 'subject' | 'actors' | 'client' | 'txn'> &
  Partial<Pick<Principal, 'delegation' | 'tool'>> & {
    /**
     * Fires when nobody waits for the request any more. Then nothing of it goes on record, nor in with that.
     */
    readonly over?: AbortSignal | undefined
    /** The trace that it is a step of; null: of none. Left out: the one that is under way. */
    readonly trace?: string | null
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
/**
 * For a statement that writes a record together with something else: its columns, their parameters,
 * {@link recordValues}.
 */
export const recordColumns = Object.keys(columns).join(', ')
const columnTypes = Object.entries(columns)
  .map(([name, type]) => `${name} ${type}`)
  .join(', ')
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
    actor.trace === undefined ? (traceId() ?? null) : actor.trace,
    event === 'person_erased' ? detail : withoutAliases(detail),
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

/** As {@link record}, of several in one statement. */
export async function recordAll(
  sql: Sql,
  records: readonly { readonly actor: RecordActor; readonly decision: DecisionEvent }[],
): Promise<void> {
  if (records.length === 0) return
  for (const { actor } of records) assertNotAborted(actor.over)
  const names = Object.keys(columns)
  const rows = records.map(({ actor, decision }) => {
    const values = recordValues(actor, decision)
    return Object.fromEntries(names.map((name, column) => [name, values[column] ?? null]))
  })
  await sql.query(
    `insert into decision_records (${recordColumns})
     select ${recordColumns} from jsonb_to_recordset($1::jsonb) as r (${columnTypes})`,
    [JSON.stringify(rows)],
  )
}

/** The operator of this machine, for commands and background jobs. */
export const operator = (txn: string): RecordActor => ({
  subject: 'service:remit',
  actors: [],
  client: 'machine',
  txn,
})

/** The decision of an event in one word of the record, by its counts where it has some. */
function decisionOf(decided: DecisionEvent): Decision {
  switch (decided.event) {
    case 'retrieved':
      return byCounts(decided.released.length, decided)
    case 'collections_listed':
      return byCounts(decided.collections.length, decided)
    case 'document_read':
      return decided.released === null ? 'denied' : 'allowed'
    case 'approval_decided':
      return decided.decision === 'approved' ? 'allowed' : 'denied'
    case 'approval_asked':
      return decided.blocked ? 'denied' : 'none'
    case 'vault_called':
      return decided.outcome === 'answered' ? 'allowed' : 'error'
    case 'consented':
    case 'token_exchanged':
    case 'signed_in':
    case 'user_verified':
    case 'connection_used':
      return 'allowed'
    case 'consent_refused':
    case 'sign_in_failed':
    case 'request_refused':
      return 'denied'
    case 'command_failed':
      return 'error'
    default:
      return 'none'
  }
}

interface Counts {
  readonly denied: number
  readonly passed_over: number
  readonly errors: number
}

/** What was let through decides the word; an answer that could not be given is no denial. */
function byCounts(allowed: number, { denied, passed_over, errors }: Counts): Decision {
  if (allowed > 0) return 'allowed'
  if (errors > 0) return 'error'
  return denied + passed_over > 0 ? 'denied' : 'none'
}

// More than any answer gives but a list of collections; a Write holds 100 tuples.
const objectsMax = 300

/**
 * `type:id` of what it was about: given, asked for, changed; and the inner agents, which no index but this
 * one finds.
 */
function objectsOf(
  { actors, delegation }: Pick<Principal, 'actors'> & Partial<Pick<Principal, 'delegation'>>,
  decided: DecisionEvent,
): string[] {
  const found = new Set<string>(objectsIn(decided))
  if (delegation !== undefined) found.add(`delegation:${delegation}`)
  for (const inner of actors.slice(1)) found.add(inner)
  // Of people only the subject is found by an index: an erasure has to reach everything else.
  return [...found].filter((object) => !object.startsWith('user:')).slice(0, objectsMax)
}

function objectsIn(decided: DecisionEvent): readonly string[] {
  switch (decided.event) {
    case 'retrieved':
      return decided.released.flatMap(({ document_id, grants = [] }) => [
        `document:${document_id}`,
        ...grants.map((id) => `grant:${id}`),
      ])
    case 'document_read':
      return [
        `document:${decided.document_id}`,
        ...(decided.released?.grants ?? []).map((id) => `grant:${id}`),
      ]
    case 'collections_listed':
      return decided.collections.map((id) => `collection:${id}`)
    case 'explained':
      return [String(decided.question['object'])]
    case 'access_changed':
    case 'what_if_asked':
      return [...decided.writes, ...decided.deletes].map(objectOfTuple)
    case 'drift_mended':
      return [...decided.added, ...decided.removed].map(objectOfTuple)
    case 'approval_asked':
      return [`approval:${decided.approval}`, ...(decided.documents ?? []).map((id) => `document:${id}`)]
    case 'client_saved':
    case 'client_removed':
      return [...named(decided), `client:${decided.client}`]
    case 'grant_made':
      return [...named(decided), ...decided.objects]
    default:
      return named(decided)
  }
}

const types = ['agent', 'approval', 'collection', 'connection', 'delegation', 'grant', 'plan'] as const

/** By the names that all events share. */
function named(decided: DecisionEvent): string[] {
  const members = decided as Readonly<Record<string, unknown>>
  const { document_id: document, object } = members
  return [
    ...(typeof document === 'string' ? [`document:${document}`] : []),
    ...(typeof object === 'string' ? [object] : []),
    ...types.flatMap((type) => {
      const id = members[type]
      return typeof id === 'string' ? [`${type}:${id}`] : []
    }),
  ]
}

/** Of `user:anne viewer document:x`. */
const objectOfTuple = (tuple: string): string => tuple.slice(tuple.lastIndexOf(' ') + 1)
