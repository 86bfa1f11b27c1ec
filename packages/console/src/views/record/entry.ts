import type { RecordEntry } from '@remit/contract/audit'
import type { ByGrants, ByTuples, Proven } from '@remit/contract/decision-event'

/** One document that left. */
export type Released = Left & { readonly document_id: string }

type Left = Proven & ByGrants & ByTuples & { readonly chunk_ids?: readonly string[] }

/** What of it left. A single document that was read stands in another form than those of an answer. */
export function releasedIn({ event, detail }: RecordEntry): readonly Released[] {
  const { released, document_id: document } = detail
  if (
    event === 'document_read' &&
    typeof document === 'string' &&
    released !== null &&
    typeof released === 'object'
  )
    return [{ ...(released as Left), document_id: document }]
  return event === 'retrieved' && Array.isArray(released) ? released : []
}

const types: Readonly<Record<string, string>> = {
  agent: 'agent',
  approval: 'approval',
  collection: 'collection',
  collections: 'collection',
  connection: 'connection',
  delegation: 'delegation',
  document_id: 'document',
  documents: 'document',
  grant: 'grant',
  plan: 'plan',
  sub_agents: 'agent',
}

/** Ids in one member of a detail, as `type:id`; undefined where it holds something else. */
export function idsIn(member: string, value: unknown): readonly string[] | undefined {
  const values = [value].flat()
  if (values.length === 0 || !values.every((text): text is string => typeof text === 'string'))
    return undefined
  const type = types[member]
  if (type !== undefined) return values.map((id) => `${type}:${id}`)
  return member === 'object' ||
    member === 'objects' ||
    member === 'scope' ||
    member === 'lender' ||
    member === 'grantor'
    ? values.every((id) => /^[a-z_]+:[^/]/.test(id))
      ? values
      : undefined
    : undefined
}

/** What it was about, in a line. */
export function about(entry: RecordEntry): readonly string[] {
  const released = releasedIn(entry).map(({ document_id: id }) => `document:${id}`)
  if (released.length > 0) return released
  return Object.entries(entry.detail).flatMap(([member, value]) => idsIn(member, value) ?? [])
}
