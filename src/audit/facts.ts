import type { DecisionEvent } from '@remit/contract/decision-event'
import type { Decision } from '@remit/contract/events'
import type { Principal } from '../kernel/principal.ts'

/** The decision of an event in one word of the record, by its counts where it has some. */
export function decisionOf(decided: DecisionEvent): Decision {
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

// More than any answer gives; a Write holds 100 tuples.
const objectsMax = 300

/** `type:id` of what it was about: given, asked for, changed; and the inner agents, which no index but this one finds. */
export function objectsOf(
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
