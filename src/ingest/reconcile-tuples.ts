import { type AllowList, isEnd } from '../authz/allow-list/allow-list.ts'
import { isReserved } from '../authz/allow-list/reserved.ts'
import { type Tuple, type TupleKey, tupleId, type Writing } from '../authz/fga.ts'
import { type FgaObject, splitObject } from '../kernel/ids.ts'
import { type Compared, readCompared } from '../store/adopted.ts'
import type { Sql } from '../store/sql.ts'
import type { IngestContext } from './context.ts'
import { type Mark, markUnsettled, readTags, type Tag, toTuple, unmark } from './desired-tuples.ts'
import { type Hold, retryRefusedWrite } from './hold.ts'

/** The tuples that were added to OpenFGA, and those that were taken away. */
export interface Reconciled {
  readonly added: readonly Tuple[]
  readonly removed: readonly TupleKey[]
}

/** What being in usersets, `group:eng#member`, does to what somebody reads. */
export interface Effects {
  /** Those by which somebody is kept from something. */
  readonly restricting: ReadonlySet<string>
  /** Those by which somebody gets something. */
  readonly giving: ReadonlySet<string>
}

/** How objects are compared with OpenFGA. */
export interface Comparing {
  /**
   * Left out: all. `narrowing`: of what is no content, only what takes something away from readers.
   * `content`: that alone.
   */
  readonly part?: 'narrowing' | 'content'
  /** OpenFGA is known to be older: without a row, what only keeps somebody from something goes too. */
  readonly keepsNone?: boolean
  /** Asked once more before anything is written: throws where OpenFGA is not to be held to the database. */
  readonly assertSound?: () => Promise<void>
}

type ReconcileContext = Pick<IngestContext, 'database' | 'fga' | 'allowList' | 'effectsOf'>

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

/** Whether all that stands on it is content or others', and nothing is adopted. */
export function isPlain(object: FgaObject): boolean {
  const { type } = splitObject(object)
  return content.has(type) && type !== 'collection'
}

/** Whether documents are or lie in it. */
export const isContent = (object: FgaObject): boolean => content.has(splitObject(object).type)

/** Whether tuples of callers on it are kept as tags. */
export const isTagged = (type: string, relation: string): boolean =>
  isOnContent(type, relation) || isAdopted(type, relation)

/**
 * Whether our tags speak for all tuples of it. Lendings, grants and what no row lets anybody write are
 * others'.
 */
export const isOurs = (list: AllowList, type: string, relation: string): boolean =>
  isTagged(type, relation) && (relation === 'filed_in' || list.has(type, relation))

/** A condition that no row can hold: whoever wrote it sees to its tuple. */
export const isForeign = (condition: Tuple['condition']): boolean =>
  condition !== undefined &&
  (condition.name !== 'until' ||
    Object.keys(condition.context ?? {}).join() !== 'expires_at' ||
    !isEnd(condition.context.expires_at))

// Reads of one batch at a time: those of others, and questions, are answered beside them.
const readsAtOnce = 8

/**
 * Makes OpenFGA hold exactly the tags of these objects, and takes their unsettled marks away. May run twice.
 * Where the tuples of one cannot be read, the others are done before it throws: each loses what it should.
 * The caller holds the objects and is not inside a transaction: the embedded engine writes to the same
 * single-session database.
 */
export function reconcileObjects(
  context: ReconcileContext,
  hold: Hold,
  objects: readonly FgaObject[],
  { part, keepsNone = false, assertSound }: Comparing = {},
): Promise<readonly Difference[]> {
  const { database } = context
  return retryRefusedWrite(async () => {
    const marks = await database.query<Mark & { readonly purge: boolean }>(
      'select object, purge, number from unreconciled where object = any($1)',
      [objects],
    )
    const marksByObject = new Map(marks.map((mark) => [mark.object, mark]))
    const tagsByObject = await readTags(database, objects)
    const compared = await comparedOf(database, objects)
    const outcomes = await settleAtOnce(objects, readsAtOnce, (object) =>
      differenceOf(context, object, {
        tags: tagsByObject.get(object) ?? [],
        mark: marksByObject.get(object),
        compared,
        part,
        keepsNone,
      }),
    )
    const differences = outcomes.flatMap((one) => (one.status === 'fulfilled' ? [one.value] : []))
    const changes = await Promise.all(differences.map((difference) => inOrder(hold, difference)))
    if (differences.some(isDifferent)) await assertSound?.()
    const partedObjects = differences
      .filter(isParted)
      .flatMap(({ object }) => (marksByObject.has(object) ? [] : [object]))
    const ownMarks: Mark[] = []
    if (partedObjects.length > 0)
      await hold.transaction(async (sql) => {
        for (const object of partedObjects) ownMarks.push(await markUnsettled(sql, object, false))
      })
    await hold.writeEach(changes.map(({ first }) => first))
    for (const { second } of changes) if (second !== undefined) await hold.write(second)
    // What something was left out of is not settled yet.
    const settledObjects = new Set<string>(
      objects.filter((_, nth) => {
        const outcome = outcomes[nth]
        return outcome?.status === 'fulfilled' && outcome.value.isWhole
      }),
    )
    const doneMarks = [...marks, ...ownMarks].filter(({ object }) => settledObjects.has(object))
    if (doneMarks.length > 0) await hold.transaction((sql) => unmark(sql, doneMarks))
    for (const one of outcomes) if (one.status === 'rejected') throw one.reason
    return differences
  })
}

/** As {@link reconcileObjects}, of one object. */
export async function reconcileObject(
  context: ReconcileContext,
  hold: Hold,
  object: FgaObject,
  comparing?: Comparing,
): Promise<Difference> {
  const [reconciled] = await reconcileObjects(context, hold, [object], comparing)
  if (reconciled === undefined) throw new Error('An object was not compared with OpenFGA.')
  return reconciled
}

/** What {@link reconcileObject} would do by now, and what it would leave. Nobody need hold the object. */
export async function compareObject(
  context: ReconcileContext,
  object: FgaObject,
  { keepsNone = false }: Pick<Comparing, 'keepsNone'> = {},
): Promise<Difference> {
  const { database } = context
  const [mark] = await database.query<{ readonly purge: boolean }>(
    'select purge from unreconciled where object = $1',
    [object],
  )
  const tags = (await readTags(database, [object])).get(object) ?? []
  const compared = await comparedOf(database, [object])
  return differenceOf(context, object, { tags, mark, compared, part: undefined, keepsNone })
}

/**
 * Whether one ends at another time: it is deleted in one Write and written in the next, so that a crash
 * between must be known of. Not where something is kept: beside a mark it would go.
 */
function isParted({ added, removed, kept }: Difference): boolean {
  const addedIds = new Set(added.map(tupleId))
  return kept.length === 0 && removed.some((tuple) => addedIds.has(tupleId(tuple)))
}

/** Whether there is anything to write. */
export const isDifferent = ({ added, removed }: Reconciled): boolean => added.length + removed.length > 0

/**
 * In one Write, where it takes that many. Members and the like else first come, then go: at each moment
 * somebody is in it as before or as after, also through a group, and nobody is out of a block meanwhile.
 */
async function inOrder(
  hold: Hold,
  { added, removed }: Reconciled,
): Promise<{ readonly first: Writing; readonly second?: Writing }> {
  const change = { writes: added, deletes: removed }
  const hasContent = [...added, ...removed].some(
    ({ object, relation }) => !isAdopted(splitObject(object).type, relation),
  )
  if (hasContent || (await hold.isOrderly(change))) return { first: change }
  const addedIds = new Set(added.map(tupleId))
  const isChanged = (tuple: TupleKey): boolean => addedIds.has(tupleId(tuple))
  return {
    first: { writes: added, deletes: removed.filter(isChanged) },
    second: { deletes: removed.filter((tuple) => !isChanged(tuple)) },
  }
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

/** Undefined: all of them is content, which is always compared. */
const comparedOf = async (sql: Sql, objects: readonly FgaObject[]): Promise<Compared | undefined> =>
  objects.every(isPlain) ? undefined : readCompared(sql)

interface Stored {
  readonly tags: readonly Tag[]
  /** Undefined: no change of it is under way. `purge`: nothing stays that others wrote. */
  readonly mark: { readonly purge: boolean } | undefined
  readonly compared: Compared | undefined
  readonly part: Comparing['part']
  readonly keepsNone: boolean
}

/** How an object differs from its tags. */
export interface Difference extends Reconciled {
  readonly object: FgaObject
  /** Left as they are, though no tag says so: by them somebody reads less, and nobody more. */
  readonly kept: readonly TupleKey[]
  /** Of a condition that no row can hold. */
  readonly foreign: readonly TupleKey[]
  /** Whether nothing that differs was left out, for whoever sees to it later. */
  readonly isWhole: boolean
}

async function differenceOf(
  { fga, allowList, effectsOf }: Pick<ReconcileContext, 'fga' | 'allowList' | 'effectsOf'>,
  object: FgaObject,
  { tags, mark, compared, part, keepsNone }: Stored,
): Promise<Difference> {
  const { type } = splitObject(object)
  const desiredTuples = tags.map((tag) => toTuple(object, tag))
  const wantedById = new Map(desiredTuples.map((tuple) => [tupleId(tuple), tuple]))
  const present = new Map<string, Tuple>()
  for await (const tuple of fga.read({ object })) present.set(tupleId(tuple), tuple)
  const removed: TupleKey[] = []
  const foreign: TupleKey[] = []
  for (const [id, { user, relation, condition }] of present) {
    if (isAdopted(type, relation) && isForeign(condition)) {
      if (isOurs(allowList(), type, relation)) foreign.push({ user, relation, object })
      continue
    }
    const target = wantedById.get(id)
    if (target !== undefined && sameEnd(target.condition, condition)) continue
    if (target === undefined && mark?.purge !== true && !isOurs(allowList(), type, relation)) continue
    removed.push({ user, relation, object })
  }
  const removedIds = new Set(removed.map(tupleId))
  // What another model took stays a tag: under this one it would keep all else from being settled.
  const added = desiredTuples.filter(
    (tuple) =>
      (!present.has(tupleId(tuple)) || removedIds.has(tupleId(tuple))) &&
      (isOnContent(type, tuple.relation) || isOurs(allowList(), type, tuple.relation)) &&
      allowList().isStorable(tuple),
  )
  const none: Difference = { object, added: [], removed: [], kept: [], foreign, isWhole: true }
  const adopted = [...added, ...removed].filter(({ relation }) => isAdopted(type, relation))
  if (compared === undefined || adopted.length === 0)
    return part === 'narrowing'
      ? { ...none, isWhole: added.length + removed.length === 0 }
      : { ...none, added, removed }

  const { restricting, giving } = await effectsOf([...new Set(adopted.map(usersetOf))])
  const list = allowList()
  const restricts = (tuple: TupleKey): boolean =>
    !list.isWidening(type, tuple.relation) ||
    list.restrictsByItself(type, tuple.relation) ||
    restricting.has(usersetOf(tuple))
  const gives = (tuple: TupleKey): boolean =>
    list.isWidening(type, tuple.relation) &&
    (!restricting.has(usersetOf(tuple)) || giving.has(usersetOf(tuple)))
  /** Until all was adopted, tags do not tell whether such a tuple should be there. */
  const isCompared = ({ user, relation }: TupleKey): boolean =>
    !isAdopted(type, relation) ||
    (compared.isAllAdopted && !compared.moving.has(user) && !compared.moving.has(object))
  /**
   * That it has no tag lets no person read more, unless a change of it was told of. What a collection's
   * organization gives is to agents, of what their persons read.
   */
  const isKept = (tuple: TupleKey): boolean =>
    !keepsNone &&
    mark === undefined &&
    isAdopted(type, tuple.relation) &&
    !wantedById.has(tupleId(tuple)) &&
    restricts(tuple) &&
    !giving.has(usersetOf(tuple))
  /** What both gives and takes changes with all else, in one Write. */
  const isDue = (tuple: TupleKey, isAdded: boolean): boolean => {
    if (part === undefined) return true
    if (!isAdopted(type, tuple.relation)) return part === 'content'
    return part === 'narrowing' && restricts(tuple) === isAdded && gives(tuple) !== isAdded
  }
  const kept = removed.filter((tuple) => isCompared(tuple) && isKept(tuple))
  const keptIds = new Set(kept.map(tupleId))
  const addedNow = added.filter((tuple) => isCompared(tuple) && isDue(tuple, true))
  const addedIds = new Set(addedNow.map(tupleId))
  const removedNow = removed.filter(
    (tuple) =>
      isCompared(tuple) &&
      !keptIds.has(tupleId(tuple)) &&
      // The old end of one goes with the new one.
      (wantedById.has(tupleId(tuple)) ? addedIds.has(tupleId(tuple)) : isDue(tuple, false)),
  )
  return {
    object,
    added: addedNow,
    removed: removedNow,
    kept,
    foreign,
    isWhole: addedNow.length + removedNow.length + kept.length === added.length + removed.length,
  }
}

const usersetOf = ({ object, relation }: TupleKey): string => `${object}#${relation}`

/** Whether two conditions have the same name and end at the same instant. */
export function sameEnd(a: Tuple['condition'], b: Tuple['condition']): boolean {
  if (a === undefined || b === undefined) return a === b
  return a.name === b.name && Date.parse(a.context.expires_at) === Date.parse(b.context.expires_at)
}
