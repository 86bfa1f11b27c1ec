import { ownMarks } from '../own-marks.ts'

interface OfType {
  readonly object: string
  readonly relation: string
}

const keysOf = (relations: readonly OfType[]): ReadonlySet<string> =>
  new Set(relations.map(({ object, relation }) => `${object}#${relation}`))

/** What an agent's check brings, from a verified token: every model has it. */
export const presented: readonly OfType[] = [
  { object: 'agent', relation: 'acting_for' },
  { object: 'delegation', relation: 'presented' },
  { object: 'grant', relation: 'presented' },
]

/** The same as `type#relation`. */
export const presentedKeys = keysOf(presented)

/**
 * Relations that come with a check and are never stored: what is presented, and what is asked beside it
 * (docs/decisions/0055). A model may lack the latter.
 */
export const requestOnly: readonly OfType[] = [
  ...presented,
  { object: 'collection', relation: 'not_blocked' },
  { object: 'zone', relation: 'not_blocked' },
]

/** The same as `type#relation`. */
export const requestOnlyKeys = keysOf(requestOnly)

/**
 * Types of what was lent and approved, and of the service's own marks: no allow-list names or leads to them.
 */
const types: ReadonlySet<string> = new Set(['agent', 'delegation', 'grant', ...ownMarks.keys()])
/** On whichever type: what leads from a document to what was lent, and what a request brings. */
const relations: ReadonlySet<string> = new Set([
  'delegated_to',
  'granted_by',
  'acting_for',
  'presented',
  'not_blocked',
])

/** Whether Remit alone writes tuples with objects of the type. */
export const isReservedType = (type: string): boolean => types.has(type)

/** Whether only the service's own code writes it, or nothing does. */
export const isReserved = (type: string, relation: string): boolean =>
  types.has(type) || relations.has(relation) || (type === 'document' && relation === 'filed_in')

const lendable = ['document', 'folder', 'collection'] as const

/** What that code writes, in part for the object that a caller files or lends. */
export const serviceWrites: readonly {
  readonly type: string
  readonly relation: string
  readonly subject: string
}[] = [
  { type: 'document', relation: 'filed_in', subject: 'collection' },
  ...[...lendable, 'organization'].map((type) => ({ type, relation: 'delegated_to', subject: 'delegation' })),
  ...lendable.map((type) => ({ type, relation: 'granted_by', subject: 'grant' })),
  { type: 'delegation', relation: 'delegator', subject: 'user' },
  { type: 'delegation', relation: 'agent', subject: 'agent' },
  { type: 'delegation', relation: 'sub_agent', subject: 'agent' },
  { type: 'grant', relation: 'grantor', subject: 'user' },
  { type: 'grant', relation: 'agent', subject: 'agent' },
  { type: 'fence', relation: 'turn', subject: 'turn' },
  { type: 'watermark', relation: 'at', subject: 'turn' },
]
