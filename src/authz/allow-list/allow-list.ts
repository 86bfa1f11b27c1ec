import { isId } from '@remit/contract/id'
import { isInstant } from '@remit/contract/instant'
import { checkTuple, compileModel, type Model } from '@remit/engine'
import { AppError } from '../../kernel/errors.ts'
import { reasonOf } from '../../kernel/reason.ts'
import type { Tuple, TupleKey } from '../fga.ts'
import type { ModelVersion } from '../model/pin.ts'
import { type Polarity, polarityOf } from '../write-order.ts'
import { labelOf } from './label.ts'
import { isFiled, isFiling, problemsOf, problemToText } from './problems.ts'
import { type Holder, type Row, readAllowList } from './read.ts'
import { isReserved } from './reserved.ts'

/** What a caller must hold for one tuple of a change. */
export type Requirement =
  /** A service with `docs.write` that is writer of the document's collection. */
  | { readonly kind: 'document_writer'; readonly document: string; readonly parent?: string }
  /**
   * A service with `docs.write` that is tagger of the object's collection, and of the parent's if it has one.
   */
  | { readonly kind: 'tagger'; readonly object: string; readonly parent?: string }
  /**
   * A service with `docs.write` that is tagger of this collection files a folder or zone at its first
   * mention.
   */
  | { readonly kind: 'filing'; readonly object: string; readonly collection: string }
  /** A service with `directory.write` and a prefix of this id. */
  | { readonly kind: 'directory'; readonly id: string }
  /** A person with `security.write`. `object`: must exist, if it is a document, folder or collection. */
  | { readonly kind: 'security'; readonly object: string }
  /**
   * Opens an object to everybody: for a service with this right where its collection allows it, else
   * `security`.
   */
  | { readonly kind: 'everybody'; readonly object: string; readonly right: 'writer' | 'tagger' }
  /** Nobody, by any route. */
  | { readonly kind: 'nobody' }

/** What is done to a tuple. */
export type Operation = 'write' | 'delete'

/**
 * The first member of the tuple that does not fit the model or the id rules: `relation`, `condition.name`.
 */
export interface Misfit {
  readonly field: string
  readonly detail: string
}

/**
 * Who may write which tuples under one model. Each relation stands alone, never by `*`; what has no row
 * nobody writes.
 */
export interface AllowList {
  /** OpenFGA's id of the model that it belongs to. */
  readonly modelId: string
  /** Tells whether a tuple fits a row and the id rules. Who may write it is {@link requirementOf}. */
  misfitOf(tuple: Tuple, operation: Operation): Misfit | undefined
  /** What the caller must hold for a tuple that fits. */
  requirementOf(tuple: TupleKey, operation: Operation): Requirement
  /** Whether a row lets anybody write this relation. */
  has(type: string, relation: string): boolean
  /** Whether a tuple with this subject may have an end. */
  mayEnd(tuple: TupleKey): boolean
  /** Whether the model takes it: OpenFGA refuses to store any other. */
  isStorable(tuple: Tuple): boolean
  /** Whether more of its tuples lets more people read. */
  isWidening(type: string, relation: string): boolean
  /**
   * Whether each of its tuples may keep somebody from reading. Of a relation that others name, such as
   * `group#member`, that depends on where it is named: false.
   */
  restrictsByItself(type: string, relation: string): boolean
  /** Names of relations that may keep somebody from reading on some type, and let nobody read there. */
  readonly restricting: readonly string[]
  /** Names of relations by which what restricts comes down from another object: `parent`, `filed_in`. */
  readonly leadingUp: readonly string[]
}

/** A version of the model with its list. */
export type ListedModel = Pick<ModelVersion, 'id' | 'json' | 'allowList'>

/**
 * Throws `authorization_unavailable` where it is missing, cannot be read or does not match its model: nobody
 * writes then.
 */
export function compileAllowList({ id, json, allowList }: ListedModel): AllowList {
  try {
    if (allowList === undefined) throw new Error('there is none')
    const model = compileModel(json)
    const rows = readAllowList(allowList)
    const [wrong] = problemsOf(rows, model)
    if (wrong !== undefined) throw new Error(problemToText(wrong, 'allow_list'))
    return createAllowList(id, rows, model)
  } catch (error) {
    throw unusable(id, error)
  }
}

/** The 503 for a model whose allow-list cannot be used. Nothing is written under it. */
export const unusable = (modelId: string, error: unknown): AppError =>
  new AppError('authorization_unavailable', {
    internal: `the allow-list of model ${modelId} cannot be used: ${reasonOf(error)}`,
  })

/** Whether an administrator may, and so the operator: of tuples that a command writes. */
export const isAdministrators = (list: AllowList, tuple: TupleKey, operation: Operation): boolean =>
  list.misfitOf(tuple as Tuple, operation) === undefined &&
  list.requirementOf(tuple, operation).kind === 'security'

interface Entry {
  readonly row: Row | undefined
  /** Kind of subject → whether it is taken without an end, and with one. */
  readonly subjects: ReadonlyMap<string, { readonly plain: boolean; readonly ending: boolean }>
}

/** Of rows without problems. */
export function createAllowList(modelId: string, rows: readonly Row[], model: Model): AllowList {
  const types = entriesOf(rows, model)
  const entryOf = (type: string, relation: string) => types.get(type)?.get(relation)
  const polarity = polarityOf(model)
  const named = namedIn(model)
  const tupleOf = (type: string, relation: string): TupleKey => ({ user: '', relation, object: `${type}:x` })
  const restricting = [...model.types.values()]
    .flatMap((relations) => [...relations.values()])
    .filter(({ type, name }) => polarity.restricts(tupleOf(type, name)))
  const restrictsByItself = (type: string, relation: string): boolean =>
    polarity.restricts(tupleOf(type, relation)) && !named.has(`${type}#${relation}`)

  return {
    modelId,
    misfitOf: (tuple, operation) =>
      misfitIn(types, tuple, operation) ?? (operation === 'write' ? unheeded(tuple, polarity) : undefined),
    requirementOf({ user, relation, object }, operation) {
      const [type = '', id = ''] = object.split(':')
      const holder = entryOf(type, relation)?.row?.[operation]
      if (holder === undefined) return { kind: 'nobody' }
      if (
        (holder === 'writer' || holder === 'tagger') &&
        user.endsWith(':*') &&
        polarity.opens(tupleOf(type, relation))
      )
        return { kind: 'everybody', object, right: holder }
      return requirementBy(holder, { user, relation, object }, type, id)
    },
    has: (type, relation) => entryOf(type, relation)?.row !== undefined,
    mayEnd({ user, relation, object }) {
      const [type = ''] = object.split(':')
      return entryOf(type, relation)?.subjects.get(subjectLabel(user) ?? '')?.ending === true
    },
    isStorable: (tuple) => checkTuple(model, tuple) === undefined,
    isWidening: (type, relation) => polarity.grants(tupleOf(type, relation)),
    restrictsByItself,
    restricting: restricting
      .filter(({ type, name }) => !polarity.grants(tupleOf(type, name)))
      .map(({ name }) => name),
    leadingUp: restricting.filter(({ isTupleset }) => isTupleset).map(({ name }) => name),
  }
}

/** Relations that others take as a subject: `group#member`. */
const namedIn = (model: Model): ReadonlySet<string> =>
  new Set(
    [...model.types.values()]
      .flatMap((relations) => [...relations.values()])
      .flatMap(({ restrictions }) => restrictions)
      .flatMap(({ type, relation }) => (relation === undefined ? [] : [`${type}#${relation}`])),
  )

/**
 * A source that blocks somebody above a document must hear where that would keep nobody out: by a model of
 * one's own whose rule for documents does not lead there.
 */
function unheeded(tuple: Tuple, polarity: Polarity): Misfit | undefined {
  const isAbove = tuple.relation === 'blocked' && !tuple.object.startsWith('document:')
  return isAbove && !polarity.restricts(tuple)
    ? { field: 'relation', detail: 'By the model in force this would keep nobody from reading.' }
    : undefined
}

function requirementBy(
  holder: Holder,
  { user, relation, object }: TupleKey,
  type: string,
  id: string,
): Requirement {
  const parent = isFiled(user.slice(0, user.indexOf(':'))) ? { parent: user } : {}
  switch (holder) {
    case 'writer':
      return { kind: 'document_writer', document: id, ...parent }
    case 'tagger':
      return isFiling(type, relation)
        ? { kind: 'filing', object, collection: user.slice('collection:'.length) }
        : { kind: 'tagger', object, ...parent }
    case 'directory':
      return { kind: 'directory', id }
    case 'administrator':
      return { kind: 'security', object }
  }
}

/**
 * What can be written, by rows, and what the service alone writes, by the model: known by its form, and
 * nobody's.
 */
function entriesOf(rows: readonly Row[], model: Model): ReadonlyMap<string, ReadonlyMap<string, Entry>> {
  const types = new Map<string, Map<string, Entry>>()
  for (const [type, relations] of model.types) {
    const entries = new Map<string, Entry>()
    for (const [name, { key, restrictions }] of relations) {
      const row = rows.find((row) => row.key === key)
      const subjectLabels = isReserved(type, name)
        ? restrictions.map((restriction) => ({
            label: labelOf(restriction),
            plain: true,
            ending: restriction.condition === 'until',
          }))
        : (row?.subjects ?? []).map(({ label, ends }) => ({ label, plain: !ends, ending: ends }))
      if (subjectLabels.length === 0) continue
      const byLabel = [...Map.groupBy(subjectLabels, ({ label }) => label)]
      const subjects = new Map(
        byLabel.map(([label, kinds]) => [
          label,
          { plain: kinds.some(({ plain }) => plain), ending: kinds.some(({ ending }) => ending) },
        ]),
      )
      entries.set(name, { row, subjects })
    }
    if (entries.size > 0) types.set(type, entries)
  }
  return types
}

function misfitIn(
  types: ReadonlyMap<string, ReadonlyMap<string, Entry>>,
  { user, relation, object, condition }: Tuple,
  operation: Operation,
): Misfit | undefined {
  const [type = '', id = '', ...excess] = object.split(':')
  const relations = types.get(type)
  if (excess.length > 0 || !isId(id) || relations === undefined)
    return { field: 'object', detail: 'Nobody may write tuples on such an object.' }
  const entry = relations.get(relation)
  if (entry === undefined)
    return {
      field: 'relation',
      detail: 'No row of the allow-list lets anybody write this relation on this type.',
    }
  const subject = entry.subjects.get(subjectLabel(user) ?? '')
  if (subject === undefined) return { field: 'user', detail: 'This subject does not fit the relation.' }
  if (user === `${object}#${relation}` || user === object)
    return { field: 'user', detail: 'Nothing can be in a relation with itself.' }
  if (operation === 'delete')
    return condition && { field: 'condition', detail: 'A tuple is deleted without its condition.' }
  if (condition === undefined)
    return subject.plain ? undefined : { field: 'condition', detail: 'This tuple needs an end.' }
  if (!subject.ending) return { field: 'condition', detail: 'This tuple cannot carry a condition.' }
  return conditionMisfit(condition)
}

// Anything else in the stored context, such as a `current_time`, would win over what a check sends.
function conditionMisfit(condition: { readonly name: string; readonly context: object }): Misfit | undefined {
  if (condition.name !== 'until') return { field: 'condition.name', detail: 'Must be until.' }
  const members = Object.keys(condition.context)
  const stranger = members.find((member) => member !== 'expires_at')
  if (stranger !== undefined)
    return { field: `condition.context.${stranger}`, detail: 'This member is not allowed.' }
  const expiry: unknown = 'expires_at' in condition.context ? condition.context.expires_at : undefined
  if (!isEnd(expiry)) {
    return { field: 'condition.context.expires_at', detail: 'Must be an RFC 3339 date-time.' }
  }
  return undefined
}

/** Whether it is a time at which a tuple can end. With seconds: OpenFGA reads none without. */
export const isEnd = (value: unknown): boolean => isInstant(value) && /T\d\d:\d\d:/.test(value)

/**
 * `user:anne` → `user`, `user:*` → `user:*`, `group:x#member` → `group#member`; undefined for anything else.
 */
function subjectLabel(user: string): string | undefined {
  const [type, idAndRelation, ...excess] = user.split(':')
  if (type === undefined || idAndRelation === undefined || excess.length > 0) return undefined
  if (idAndRelation === '*') return `${type}:*`
  const [id = '', relation, ...extra] = idAndRelation.split('#')
  if (!isId(id) || extra.length > 0) return undefined
  return relation === undefined ? type : `${type}#${relation}`
}
