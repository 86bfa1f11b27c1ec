import type { AllowList } from '../authz/allow-list/allow-list.ts'
import { isReserved } from '../authz/allow-list/reserved.ts'
import { type Fga, type Tuple, type TupleKey, tupleId } from '../authz/fga.ts'
import { type FgaObject, splitObject } from '../kernel/ids.ts'
import { isAllAdopted } from '../store/adopted.ts'
import type { Sql } from '../store/sql.ts'
import type { IngestContext } from './context.ts'
import { type Mark, readTags, toTuple, unmark } from './desired-tuples.ts'
import { type Hold, retryRefusedWrite } from './hold.ts'

/** The tuples that were added to OpenFGA, and those that were taken away. */
export interface Reconciled {
  readonly added: readonly Tuple[]
  readonly removed: readonly TupleKey[]
}

const content: ReadonlySet<string> = new Set(['document', 'folder', 'zone', 'collection'])
const notOnContent: ReadonlySet<string> = new Set([
  'collection#writer',
  'collection#tagger',
  'collection#organization',
])

/** Whether it says who reads a document or what documents lie in. */
export const isOnContent = (type: string, relation: string): boolean =>
  content.has(type) && !notOnContent.has(`${type}#${relation}`)

/**
 * Whether it is kept as a tag, and is none {@link isOnContent}: members of groups and organizations, who
 * writes where. Those of before were taken over once: see adopt.ts.
 */
export const isAdopted = (type: string, relation: string): boolean =>
  !isOnContent(type, relation) && !isReserved(type, relation)

/** Whether tuples of callers on it are kept as tags. */
export const isTagged = (type: string, relation: string): boolean =>
  isOnContent(type, relation) || isAdopted(type, relation)

/**
 * Whether our tags speak for all tuples of it. Lendings, grants and what no row lets anybody write are
 * others'.
 */
const isOurs = (list: AllowList, type: string, relation: string): boolean =>
  isTagged(type, relation) && (relation === 'filed_in' || list.has(type, relation))

// Reads of one batch at a time: those of others, and questions, are answered beside them.
const readsAtOnce = 8

/**
 * Makes OpenFGA hold exactly the tags of these objects, and takes their unsettled marks away. May run twice.
 * Where the tuples of one cannot be read, the others are done before it throws: each loses what it should.
 * The caller holds the objects and is not inside a transaction: the embedded engine writes to the same
 * single-session database.
 */
export function reconcileObjects(
  { database, fga, allowList }: Pick<IngestContext, 'database' | 'fga' | 'allowList'>,
  hold: Hold,
  objects: readonly FgaObject[],
): Promise<readonly Reconciled[]> {
  return retryRefusedWrite(async () => {
    const marks = await database.query<Mark & { readonly purge: boolean }>(
      'select object, purge, number from unreconciled where object = any($1)',
      [objects],
    )
    const purges = new Map(marks.map(({ object, purge }) => [object, purge]))
    const tagsByObject = await readTags(database, objects)
    const compares = await comparedOn(database, objects)
    const outcomes = await settleAtOnce(objects, readsAtOnce, (object) => {
      const desiredTuples = (tagsByObject.get(object) ?? []).map((tag) => toTuple(object, tag))
      return differenceOf(fga, allowList, object, {
        desiredTuples: desiredTuples.filter(({ relation }) => compares(object, relation)),
        purge: purges.get(object) ?? false,
        compares: (relation) => compares(object, relation),
      })
    })
    const reconciled = outcomes.flatMap((one) => (one.status === 'fulfilled' ? [one.value] : []))
    await hold.writeEach(reconciled.map(({ added, removed }) => ({ writes: added, deletes: removed })))
    const doneObjects = new Set<string>(objects.filter((_, nth) => outcomes[nth]?.status === 'fulfilled'))
    const doneMarks = marks.filter(({ object }) => doneObjects.has(object))
    if (doneMarks.length > 0) await hold.transaction((sql) => unmark(sql, doneMarks))
    for (const one of outcomes) if (one.status === 'rejected') throw one.reason
    return reconciled
  })
}

/** As {@link reconcileObjects}, of one object. */
export async function reconcileObject(
  context: Pick<IngestContext, 'database' | 'fga' | 'allowList'>,
  hold: Hold,
  object: FgaObject,
): Promise<Reconciled> {
  const [reconciled] = await reconcileObjects(context, hold, [object])
  if (reconciled === undefined) throw new Error('An object was not compared with OpenFGA.')
  return reconciled
}

/** In their order; none any more once all of a round failed. */
async function settleAtOnce<T, R>(
  items: readonly T[],
  atOnce: number,
  map: (item: T) => Promise<R>,
): Promise<PromiseSettledResult<R>[]> {
  const results: PromiseSettledResult<R>[] = []
  for (let offset = 0; offset < items.length; offset += atOnce) {
    const outcomes = await Promise.allSettled(items.slice(offset, offset + atOnce).map(map))
    results.push(...outcomes)
    if (outcomes.every(({ status }) => status === 'rejected')) break
  }
  return results
}

interface Comparison {
  readonly desiredTuples: readonly Tuple[]
  /** Whether nothing stays that others wrote. */
  readonly purge: boolean
  /** Other relations are left as they are. */
  readonly compares: (relation: string) => boolean
}

/** Until all was adopted, tags do not tell whether a tuple of that kind should be there. */
async function comparedOn(
  sql: Sql,
  objects: readonly FgaObject[],
): Promise<(object: FgaObject, relation: string) => boolean> {
  const types = new Set(objects.map((object) => splitObject(object).type))
  const isPlain = [...types].every((type) => content.has(type) && type !== 'collection')
  if (isPlain || (await isAllAdopted(sql))) return () => true
  return (object, relation) => !isAdopted(splitObject(object).type, relation)
}

async function differenceOf(
  fga: Pick<Fga, 'read'>,
  allowList: () => AllowList,
  object: FgaObject,
  { desiredTuples, purge, compares }: Comparison,
): Promise<Reconciled> {
  const { type } = splitObject(object)
  const wantedById = new Map(desiredTuples.map((tuple) => [tupleId(tuple), tuple]))
  const present = new Map<string, Tuple>()
  for await (const tuple of fga.read({ object }))
    if (compares(tuple.relation)) present.set(tupleId(tuple), tuple)
  const removed: TupleKey[] = []
  for (const [id, { user, relation, condition }] of present) {
    const target = wantedById.get(id)
    if (target !== undefined && sameEnd(target.condition, condition)) continue
    if (target === undefined && !purge && !isOurs(allowList(), type, relation)) continue
    removed.push({ user, relation, object })
  }
  const removedIds = new Set(removed.map(tupleId))
  // What another model took stays a tag: under this one it would keep all else from being settled.
  const added = desiredTuples.filter(
    (tuple) =>
      (!present.has(tupleId(tuple)) || removedIds.has(tupleId(tuple))) && allowList().isStorable(tuple),
  )
  return { added, removed }
}

/** Whether two conditions have the same name and end at the same instant. */
export function sameEnd(a: Tuple['condition'], b: Tuple['condition']): boolean {
  if (a === undefined || b === undefined) return a === b
  return a.name === b.name && Date.parse(a.context.expires_at) === Date.parse(b.context.expires_at)
}
