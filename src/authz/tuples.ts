import { isId } from '../kernel/ids.ts'
import { isInstant } from '../kernel/instant.ts'
import type { Tuple, TupleKey } from './fga.ts'

/** What a caller must hold for one tuple of a change. */
export type Requirement =
  /** A service with `docs.write` that is writer of the document's collection. */
  | { readonly kind: 'document_writer'; readonly document: string; readonly parent?: string }
  /** A service with `docs.write` that is tagger of the object's collection, and of the parent's if it has one. */
  | { readonly kind: 'tagger'; readonly object: string; readonly parent?: string }
  /** A service with `docs.write` that is tagger of this collection files a folder at its first mention. */
  | { readonly kind: 'filing'; readonly folder: string; readonly collection: string }
  /** A service with `directory.write` and a prefix of this id. */
  | { readonly kind: 'directory'; readonly id: string }
  /** A person with `security.write`. `object`: must exist, if it is a document, folder or collection. */
  | { readonly kind: 'security'; readonly object: string }
  /** Opens an object to everybody: as another viewer where its collection allows it, else `security`. */
  | { readonly kind: 'everybody'; readonly object: string }
  /** Nobody, by any route. */
  | { readonly kind: 'nobody' }

export type Operation = 'write' | 'delete'

interface Rule {
  readonly object: string
  readonly relation: string
  /** Types of subject that the model takes here: `user`, `user:*`, `group#member`. */
  readonly subjects: readonly string[]
  /** Those of them that may carry an end. */
  readonly expiring?: readonly string[]
  readonly write: RuleKind
  readonly delete: RuleKind
}

type RuleKind = 'document_writer' | 'tagger' | 'filing' | 'directory' | 'security' | 'nobody'

const viewers = ['user', 'user:*', 'group#member', 'organization#member']
const expiringViewers = ['user', 'group#member']
const reserved = { write: 'nobody', delete: 'nobody' } as const

/**
 * The allow-list: every directly related tuple of model.fga, one row a relation, never by `*`. What has no row
 * does not fit the model. Each row says who may write and who may delete it over `POST /access`.
 */
export const rules: readonly Rule[] = [
  { object: 'document', relation: 'filed_in', subjects: ['collection'], ...reserved },
  {
    object: 'document',
    relation: 'owner',
    subjects: ['user'],
    write: 'document_writer',
    delete: 'document_writer',
  },
  {
    object: 'document',
    relation: 'parent',
    subjects: ['folder', 'collection'],
    write: 'document_writer',
    delete: 'document_writer',
  },
  {
    object: 'document',
    relation: 'viewer',
    subjects: viewers,
    expiring: expiringViewers,
    write: 'document_writer',
    delete: 'document_writer',
  },
  {
    object: 'document',
    relation: 'blocked',
    subjects: ['user', 'group#member'],
    write: 'document_writer',
    delete: 'document_writer',
  },
  {
    object: 'document',
    relation: 'sensitive',
    subjects: ['user:*'],
    write: 'document_writer',
    delete: 'security',
  },
  { object: 'document', relation: 'delegated_to', subjects: ['delegation'], ...reserved },
  { object: 'document', relation: 'granted_by', subjects: ['grant'], ...reserved },
  { object: 'folder', relation: 'filed_in', subjects: ['collection'], write: 'filing', delete: 'nobody' },
  {
    object: 'folder',
    relation: 'parent',
    subjects: ['folder', 'collection'],
    write: 'tagger',
    delete: 'tagger',
  },
  {
    object: 'folder',
    relation: 'viewer',
    subjects: viewers,
    expiring: expiringViewers,
    write: 'tagger',
    delete: 'tagger',
  },
  { object: 'folder', relation: 'sensitive', subjects: ['user:*'], write: 'tagger', delete: 'security' },
  { object: 'folder', relation: 'delegated_to', subjects: ['delegation'], ...reserved },
  { object: 'folder', relation: 'granted_by', subjects: ['grant'], ...reserved },
  {
    object: 'collection',
    relation: 'viewer',
    subjects: viewers,
    expiring: expiringViewers,
    write: 'tagger',
    delete: 'tagger',
  },
  { object: 'collection', relation: 'sensitive', subjects: ['user:*'], write: 'tagger', delete: 'security' },
  { object: 'collection', relation: 'writer', subjects: ['service'], write: 'security', delete: 'security' },
  { object: 'collection', relation: 'tagger', subjects: ['service'], write: 'security', delete: 'security' },
  {
    object: 'collection',
    relation: 'organization',
    subjects: ['organization'],
    write: 'security',
    delete: 'security',
  },
  { object: 'collection', relation: 'delegated_to', subjects: ['delegation'], ...reserved },
  { object: 'collection', relation: 'granted_by', subjects: ['grant'], ...reserved },
  {
    object: 'group',
    relation: 'member',
    subjects: ['user', 'group#member'],
    expiring: ['user'],
    write: 'directory',
    delete: 'directory',
  },
  { object: 'organization', relation: 'admin', subjects: ['user'], write: 'directory', delete: 'directory' },
  {
    object: 'organization',
    relation: 'member',
    subjects: ['user', 'group#member'],
    write: 'directory',
    delete: 'directory',
  },
  { object: 'organization', relation: 'delegated_to', subjects: ['delegation'], ...reserved },
  { object: 'agent', relation: 'acting_for', subjects: ['user'], ...reserved },
  { object: 'delegation', relation: 'delegator', subjects: ['user'], expiring: ['user'], ...reserved },
  { object: 'delegation', relation: 'agent', subjects: ['agent'], ...reserved },
  { object: 'delegation', relation: 'sub_agent', subjects: ['agent'], ...reserved },
  { object: 'delegation', relation: 'presented', subjects: ['user'], ...reserved },
  { object: 'grant', relation: 'grantor', subjects: ['user'], expiring: ['user'], ...reserved },
  { object: 'grant', relation: 'agent', subjects: ['agent'], ...reserved },
  { object: 'grant', relation: 'presented', subjects: ['user'], ...reserved },
  { object: 'fence', relation: 'turn', subjects: ['turn'], ...reserved },
  { object: 'watermark', relation: 'at', subjects: ['turn'], ...reserved },
]

/** Relations that come with a check, from a verified token, and are never stored. */
export const requestOnly: readonly { readonly object: string; readonly relation: string }[] = [
  { object: 'agent', relation: 'acting_for' },
  { object: 'delegation', relation: 'presented' },
  { object: 'grant', relation: 'presented' },
]

/** The same as `type#relation`. */
export const requestOnlyKeys: ReadonlySet<string> = new Set(
  requestOnly.map(({ object, relation }) => `${object}#${relation}`),
)

/** The first member of the tuple that does not fit the model or the id rules: `relation`, `condition.name`. */
export interface Misfit {
  readonly field: string
  readonly detail: string
}

const ruleOf = (type: string, relation: string): Rule | undefined =>
  rules.find((rule) => rule.object === type && rule.relation === relation)

/** Tells whether a tuple fits the model and the id rules. Who may write it is {@link requirementOf}. */
export function misfitOf(
  { user, relation, object, condition }: Tuple,
  operation: Operation,
): Misfit | undefined {
  const [type = '', id = '', ...rest] = object.split(':')
  if (rest.length > 0 || !isId(id) || !rules.some((rule) => rule.object === type)) {
    return { field: 'object', detail: 'This is not an object of the model.' }
  }
  const rule = ruleOf(type, relation)
  if (rule === undefined)
    return { field: 'relation', detail: 'This relation cannot be written on this type.' }
  const subject = subjectType(user)
  if (subject === undefined || !rule.subjects.includes(subject)) {
    return { field: 'user', detail: 'This subject does not fit the relation.' }
  }
  if (user === `${object}#${relation}` || user === object) {
    return { field: 'user', detail: 'Nothing can be in a relation with itself.' }
  }
  if (condition === undefined) return undefined
  if (operation === 'delete')
    return { field: 'condition', detail: 'A tuple is deleted without its condition.' }
  if (rule.expiring?.includes(subject) !== true) {
    return { field: 'condition', detail: 'This tuple cannot carry a condition.' }
  }
  return conditionMisfit(condition)
}

// Anything else in the stored context, such as a `current_time`, would win over what a check sends.
function conditionMisfit(condition: { readonly name: string; readonly context: object }): Misfit | undefined {
  if (condition.name !== 'until') return { field: 'condition.name', detail: 'Must be until.' }
  const members = Object.keys(condition.context)
  const stranger = members.find((member) => member !== 'expires_at')
  if (stranger !== undefined)
    return { field: `condition.context.${stranger}`, detail: 'This member is not allowed.' }
  const end: unknown = 'expires_at' in condition.context ? condition.context.expires_at : undefined
  if (!isEnd(end)) {
    return { field: 'condition.context.expires_at', detail: 'Must be an RFC 3339 date-time.' }
  }
  return undefined
}

/** Whether it is a time at which a tuple can end. With seconds: OpenFGA reads none without. */
export const isEnd = (value: unknown): boolean => isInstant(value) && /T\d\d:\d\d:/.test(value)

/** `user:anne` → `user`, `user:*` → `user:*`, `group:x#member` → `group#member`; undefined for anything else. */
function subjectType(user: string): string | undefined {
  const [type, rest, ...more] = user.split(':')
  if (type === undefined || rest === undefined || more.length > 0) return undefined
  if (rest === '*') return `${type}:*`
  const [id = '', relation, ...extra] = rest.split('#')
  if (!isId(id) || extra.length > 0) return undefined
  return relation === undefined ? type : `${type}#${relation}`
}

/** What the caller must hold for a tuple that fits the model ({@link misfitOf}). */
export function requirementOf({ user, relation, object }: TupleKey, operation: Operation): Requirement {
  const [type = '', id = ''] = object.split(':')
  const kind = ruleOf(type, relation)?.[operation] ?? 'nobody'
  const parent = relation === 'parent' ? { parent: user } : {}
  if (user === 'user:*' && relation === 'viewer') return { kind: 'everybody', object }
  switch (kind) {
    case 'document_writer':
      return { kind, document: id, ...parent }
    case 'tagger':
      return { kind, object, ...parent }
    case 'filing':
      return { kind, folder: id, collection: user.slice('collection:'.length) }
    case 'directory':
      return { kind, id }
    case 'security':
      return { kind, object }
    case 'nobody':
      return { kind }
  }
}
