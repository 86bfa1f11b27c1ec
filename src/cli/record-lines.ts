import { pluralize } from '../kernel/pluralize.ts'
import { printable } from '../kernel/printable.ts'
import { spaced } from './listing.ts'

/** A record as `GET /audit` and `GET /audit/thread` give it. */
export interface WireRecord {
  readonly time: string
  readonly event: string
  /** Left out where the answer has it in another place. */
  readonly decision?: string
  readonly subject: string
  readonly actors: readonly string[]
  readonly client: string
  readonly delegation?: string | null | undefined
  readonly tool?: string | null | undefined
  readonly trace_id?: string | null | undefined
  /** `t_…` */
  readonly txn?: string
  readonly detail: Readonly<Record<string, unknown>>
}

/** Titles and names for the ids in a record. */
export type WireNames = Readonly<Record<string, string>>

interface Released {
  readonly document_id?: string
  readonly chunk_ids?: readonly string[]
  readonly proof?: string
  readonly age_ms?: number
  readonly grants?: readonly string[]
  readonly why?: readonly string[]
}

// How an answer was come by, which is asked for last: on one line.
const aside = new Set([
  'mode',
  'consistency',
  'complete',
  'considered',
  'denied',
  'passed_over',
  'errors',
  'query_hmac',
  'openfga_request_ids',
])

/**
 * One record for people: who, through what, what it says, and of each document that left, by which tuples.
 */
export function recordLines(record: WireRecord, names: WireNames): string[] {
  const { document_id: document, released, ...detail } = record.detail
  const members = Object.entries(detail).filter(([, value]) => value !== null && String(value) !== '')
  return [
    `${record.time.replace(/\.\d+Z$/, 'Z')} ${record.event}${record.decision === undefined || record.decision === 'none' ? '' : ` ${record.decision}`}`,
    ...(record.actors.length === 0
      ? [line('by', withName(record.subject, names))]
      : [
          line('for', withName(record.subject, names)),
          line('by', record.actors.map((actor) => withName(actor, names)).join(', ')),
        ]),
    line('client', withName(record.client, names)),
    ...['delegation', 'tool', 'trace_id', 'txn'].flatMap((member) => {
      const value = record[member as 'txn']
      return typeof value === 'string' ? [line(member, value)] : []
    }),
    ...members
      .filter(
        ([member, value]) => !aside.has(member) && (member !== 'delegation' || value !== record.delegation),
      )
      .map(([member, value]) => line(member, valueText(value, names))),
    ...(typeof document === 'string' && !isReleased(released) ? [line('document', document)] : []),
    ...releasedIn(document, released).flatMap(releasedLines),
    ...asideLine(members.filter(([member]) => aside.has(member))),
  ].map(printable)
}

/** `user:anne (Anne Kerrigan)`: a name beside the id, never in its place. */
export function withName(id: string, names: WireNames): string {
  const name = names[id]
  return name === undefined || id.endsWith(`:${name}`) ? id : `${id} (${name})`
}

const line = (member: string, value: string): string => `  ${spaced(member)}: ${value}`

function valueText(value: unknown, names: WireNames): string {
  if (Array.isArray(value)) return value.map((element) => valueText(element, names)).join(', ') || 'none'
  return typeof value === 'string' ? withName(value, names) : JSON.stringify(value)
}

const isReleased = (released: unknown): released is Released | readonly Released[] =>
  typeof released === 'object' && released !== null

/** A document that was read whole stands in another form than those of an answer. */
function releasedIn(document: unknown, released: unknown): readonly Released[] {
  if (!isReleased(released)) return []
  return [released]
    .flat()
    .map((release) => ({ ...(typeof document === 'string' && { document_id: document }), ...release }))
}

function releasedLines({
  document_id: id = '',
  chunk_ids: chunks,
  proof,
  grants = [],
  why: reasons = [],
}: Released): string[] {
  const passages = chunks === undefined ? 'whole' : pluralize(chunks.length, 'passage')
  const how = [passages, spaced(proof ?? ''), ...grants.map((grant) => `grant:${grant}`)].join(', ')
  return [
    `  gave document:${id} (${how})${reasons.length === 0 ? '' : ', allowed then by'}`,
    ...reasons.map((tuple) => `    ${tuple}`),
  ]
}

const asideLine = (members: readonly (readonly [string, unknown])[]): string[] =>
  members.length === 0
    ? []
    : [`  ${members.map(([member, value]) => `${spaced(member)} ${valueText(value, {})}`).join(', ')}`]
