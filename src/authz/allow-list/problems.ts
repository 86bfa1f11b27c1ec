import type { Model, Relation } from '@remit/engine'
import { leavesOf, reachable } from '../model/reachable.ts'
import { readingOf, sidesOf } from '../write-order.ts'
import { labelOf } from './label.ts'
import { type Holder, type Row, readAllowList, type SubjectKind, withoutRows } from './read.ts'
import { isReserved, isReservedType } from './reserved.ts'

/** Why a row cannot count beside a model. */
export interface Problem {
  /**
   * `unknown`: the model lacks what it names. `refused`: whatever the model says, nobody may be let write
   * this.
   */
  readonly kind: 'unknown' | 'refused'
  readonly row: Row
  /** The one kind of subject that is wrong; undefined: the row as a whole. */
  readonly subject?: string
  readonly detail: string
}

/**
 * What is wrong with an allow-list beside this model; empty: it may come into force. What is refused is so
 * whatever the file says, since the gate, the lending and the rights of services rest on it.
 */
export function problemsOf(rows: readonly Row[], model: Model): readonly Problem[] {
  const unknown = rows.flatMap((row) => unknownIn(row, model))
  const knownRows = rows.filter(
    (row) => !unknown.some((problem) => problem.row === row && problem.subject === undefined),
  )
  const guarded = guardedIn(model)
  const rules = { reading: readingOf(model), rights: rightsIn(model), passing: passingIn(model, guarded) }
  const refusals = knownRows.flatMap((row): Problem[] => {
    const relation = relationOf(model, row.key)
    const detail = relation && refusalOf(row, relation, rules)
    return detail === undefined ? [] : [{ kind: 'refused', row, detail }]
  })
  return [...unknown, ...refusals, ...lendingReached(knownRows, model, guarded)]
}

/** A problem in one line, with the file and line it stands on. */
export const problemToText = ({ row: { key, line }, detail }: Problem, file: string): string =>
  `${file}:${line}: ${key}: ${detail}`

function unknownIn(row: Row, model: Model): Problem[] {
  const unknown = (detail: string): Problem => ({ kind: 'unknown', row, detail })
  const relations = model.types.get(row.type)
  if (relations === undefined) return [unknown(`The model has no type ${row.type}.`)]
  const relation = relations.get(row.relation)
  if (relation === undefined) return [unknown(`The model has no such relation on ${row.type}.`)]
  if (relation.restrictions.length === 0)
    return [unknown('The model computes it: no tuple of it can be written.')]
  return row.subjects
    .filter((subject) => !takes(relation, subject))
    .map(({ text }) => ({ ...unknown(`The model does not take ${text} here.`), subject: text }))
}

const takes = ({ restrictions }: Relation, { label, ends }: SubjectKind): boolean =>
  restrictions.some(
    (restriction) => labelOf(restriction) === label && restriction.condition === (ends ? 'until' : ''),
  )

/** Types whose objects are filed in a collection, on which services hold their rights. */
const filed: ReadonlySet<string> = new Set(['document', 'folder', 'zone', 'collection'])
/** Filed by a tagger at their first mention, once and for ever; a document is filed by its writer. */
const filedAtMention: ReadonlySet<string> = new Set(['folder', 'zone'])
/** Whether the tuple files such an object at its first mention. */
export const isFiling = (type: string, relation: string): boolean =>
  filedAtMention.has(type) && relation === 'filed_in'
/** Whether objects of the type are filed in a collection. */
export const isFiled = (type: string): boolean => filed.has(type)

// Whom a source or a directory blocks is its own word; of parents the change keeps what is sensitive so.
const takenBack: ReadonlySet<string> = new Set([
  'document#blocked',
  'document#parent',
  'folder#blocked',
  'folder#parent',
  'zone#blocked',
  'collection#blocked',
  'organization#blocked',
])

interface Rules {
  readonly reading: ReturnType<typeof readingOf>
  /** Keys by whose tuples a service comes to the right to write. */
  readonly rights: ReadonlySet<string>
  /** Keys over whose tuples what was lent or approved passes from one object to another. */
  readonly passing: ReadonlySet<string>
}

function refusalOf(row: Row, ownRelation: Relation, { reading, rights, passing }: Rules): string | undefined {
  const { type, relation, key, subjects, write, delete: deletes } = row
  if (isReserved(type, relation)) return 'The service alone writes this, or nobody does.'
  const reserved = subjects.find((subject) => isReservedType(subject.type))
  if (reserved !== undefined) return `It leads to ${reserved.type}, where the service alone writes.`
  const holders = deletes === undefined ? [write] : [write, deletes]
  const [elsewhere] = holders.flatMap((holder) => heldElsewhere(holder, type) ?? [])
  if (elsewhere !== undefined) return elsewhere
  if (isFiling(type, relation))
    return write === 'tagger' && deletes === undefined
      ? undefined
      : `A ${type} is filed once, by a tagger of the collection, and never anew.`
  // Memberships are the directory's, whatever groups are used for besides letting read.
  const isExempt = (holder: Holder): boolean =>
    holder === 'administrator' || (holder === 'directory' && reading.gives.has(ownRelation))
  const isForServices = holders.some((holder) => holder !== 'administrator')
  if (isForServices && (rights.has(key) || subjects.some((subject) => subject.type === 'service')))
    return 'What a service may write rests on it: an administrator alone may write and delete it.'
  if (holders.includes('directory') && subjects.some(({ isWildcard }) => isWildcard))
    return 'Everybody is let in by collection: a directory cannot.'
  // Whoever writes a link must hold its right at both ends, which only what is filed has.
  if (isForServices && passing.has(key) && ![type, ...subjects.map((subject) => subject.type)].every(isFiled))
    return 'What was lent or approved passes over it: an administrator alone may write and delete it.'
  if (reading.undoes.has(ownRelation) && !isExempt(write))
    return 'It takes away what keeps others from reading: an administrator alone may write it, or nobody.'
  if (
    reading.restricts.has(ownRelation) &&
    deletes !== undefined &&
    !isExempt(deletes) &&
    !takenBack.has(key)
  )
    return 'It keeps others from reading: an administrator alone may delete it, or nobody.'
  return undefined
}

/** Why this holder has no say on objects of the type; undefined: it has. */
function heldElsewhere(holder: Holder, type: string): string | undefined {
  if (holder === 'writer' && type !== 'document') return 'A writer writes on documents only.'
  if (holder === 'tagger' && !filed.has(type))
    return 'A tagger writes on documents, folders, zones and collections only: nothing else is filed in a collection.'
  if (holder === 'directory' && filed.has(type))
    return 'A directory writes by the ids of its own prefix, which documents, folders, zones and collections have not.'
  return undefined
}

/** Relations by whose tuples a service comes to the right to write. */
function rightsIn(model: Model): ReadonlySet<string> {
  const rights = ['writer', 'tagger'].map((name) => model.types.get('collection')?.get(name))
  const { grants, restricts } = sidesOf(model, rights).direct
  return new Set([...grants, ...restricts].map(({ key }) => key))
}

/**
 * Each by itself, on whichever type: what an agent was lent, what was approved, and what stands in for
 * either.
 */
const lendingNames: ReadonlySet<string> = new Set([
  'acts',
  'active',
  'live',
  'in_scope',
  'granted',
  'emergency',
])

/** Most rows of which each is tried alone: it costs a look at the whole model. */
const blamedMax = 50

/** Rows by which a consent or an approval could be had without any tuple that the service's code writes. */
function lendingReached(rows: readonly Row[], model: Model, guarded: ReadonlySet<string>): Problem[] {
  const reached = (someRows: readonly Row[]): string[] => {
    const byKey = new Map(someRows.map((row) => [row.key, row]))
    const had = reachable(model, {
      stored: (relation, restriction) =>
        byKey.get(relation.key)?.subjects.some(({ label }) => label === labelOf(restriction)) === true,
      // Links may be stored already, whether or not a row lets write more. Where a document is filed its
      // writer says.
      linked: (type, tupleset) =>
        !isReserved(type, tupleset) || `${type}#${tupleset}` === 'document#filed_in',
    })
    return [...guarded].filter((key) => had.has(key))
  }
  const found = rows.flatMap((row) =>
    row.subjects
      .filter(({ type, relation }) => guarded.has(`${type}#${relation ?? ''}`))
      .map(
        (subject): Problem => ({ kind: 'refused', row, detail: `${subject.text} rests on what was lent.` }),
      ),
  )
  const reachedByAll = reached(rows)
  if (reachedByAll.length === 0) return found
  const behind = sidesOf(
    model,
    reachedByAll.map((key) => relationOf(model, key)),
  ).direct.grants
  const involved = rows.filter(({ key }) => [...behind].some((relation) => relation.key === key))
  // Where several ways lead there, no row alone is to blame; of very many it is not looked for.
  const alone =
    involved.length > blamedMax
      ? []
      : involved.filter(
          (row) => reached(rows.filter((otherRow) => otherRow !== row)).length < reachedByAll.length,
        )
  const detail = `By it ${reachedByAll.join(', ')} could be had without a consent or an approval.`
  return [
    ...found,
    ...(alone.length > 0 ? alone : involved).map((row): Problem => ({ kind: 'refused', row, detail })),
  ]
}

/** Relations by whose tuples an object has what is guarded from another: `in_scope from organization`. */
function passingIn(model: Model, guarded: ReadonlySet<string>): ReadonlySet<string> {
  const links = relationsOf(model).flatMap(({ type, rewrite }) =>
    [...leavesOf(rewrite, { subtracted: true })]
      .filter((leaf) => leaf.kind === 'ttu')
      .filter(({ targets }) => [...targets.values()].some(({ key }) => guarded.has(key)))
      .map(({ tupleset }) => `${type}#${tupleset}`),
  )
  return new Set(links)
}

const relationsOf = (model: Model): readonly Relation[] =>
  [...model.types.values()].flatMap((relations) => [...relations.values()])

function relationOf(model: Model, key: string): Relation | undefined {
  const [type = '', name = ''] = key.split('#')
  return model.types.get(type)?.get(name)
}

/** By name, and whatever of what an agent is told rests on what was lent. */
function guardedIn(model: Model): ReadonlySet<string> {
  const relations = relationsOf(model)
  const rests = new Set<Relation>()
  const restsOnLent = (owner: Relation): boolean =>
    [...leavesOf(owner.rewrite)].some((leaf) => {
      if (leaf.kind === 'computed') return rests.has(leaf.relation)
      const direct = leaf.kind === 'this' ? owner : model.types.get(owner.type)?.get(leaf.tupleset)
      return (
        direct?.restrictions.some(({ type }) => isReservedType(type)) === true ||
        (leaf.kind === 'ttu' && [...leaf.targets.values()].some((target) => rests.has(target)))
      )
    })
  for (let sizeBefore = -1; rests.size > sizeBefore; ) {
    sizeBefore = rests.size
    for (const relation of relations) if (restsOnLent(relation)) rests.add(relation)
  }
  const lendingReads = ['can_be_told', 'can_read_delegated'].map((name) =>
    model.types.get('document')?.get(name),
  )
  const { grants } = sidesOf(model, lendingReads).seen
  return new Set(
    relations
      .filter(({ name }) => lendingNames.has(name))
      .concat([...grants].filter((grant) => rests.has(grant)))
      .map(({ key }) => key),
  )
}

/** An allow-list without what another model lacks: who could write that can no longer. */
interface Fitted {
  readonly text: string
  readonly dropped: readonly Problem[]
}

/**
 * Keeps of a list what still fits. What may not be written whatever the file says stays in it, to be refused.
 * Throws TextError.
 */
export function fitted(text: string, model: Model): Fitted {
  const dropped = problemsOf(readAllowList(text), model).filter(({ kind }) => kind === 'unknown')
  if (dropped.length === 0) return { text, dropped }
  const removals = dropped.map(({ row: { key }, subject }) => ({
    key,
    ...(subject !== undefined && { subject }),
  }))
  return { text: withoutRows(text, removals), dropped }
}
