import { operator, record } from '../audit/record.ts'
import { requestOnly } from '../authz/allow-list/reserved.ts'
import { endsOf, type TupleKey, tupleId } from '../authz/fga.ts'
import { eachOf } from '../kernel/each-of.ts'
import { type FgaObject, splitObject } from '../kernel/ids.ts'
import { reasonOf } from '../kernel/reason.ts'
import { isAllAdopted, readCompared } from '../store/adopted.ts'
import type { Sql } from '../store/sql.ts'
import type { IngestContext } from './context.ts'
import { isFiledAtMention } from './filing.ts'
import { addGroupPlaces, isGroupPlace, readGroupPlaces, removeGroupPlaces } from './group-places.ts'
import {
  type Comparing,
  compareObject,
  type Difference,
  isAdopted,
  isContent,
  isDifferent,
  isPlain,
  reconcileObject,
} from './reconcile-tuples.ts'

/** What a comparison of objects with OpenFGA came to. */
export interface DriftReport {
  /** Objects compared. */
  readonly compared: number
  /** Objects that differed and agree again. */
  readonly mended: number
  readonly added: number
  readonly removed: number
  /** Tuples that only keep somebody from something, and that no change told of: they stay, and are logged. */
  readonly kept: number
  /** Stored tuples that may never be stored, deleted now. Anything but 0 is an incident. */
  readonly requestOnly: number
  /** False: members, writers and the like are not all taken over yet, and none of them was compared. */
  readonly adopted: boolean
}

/** On whose behalf it is done. */
export interface DriftOptions {
  /** Of a recovery, which is not over: OpenFGA is held to the database all the same. */
  readonly recovering?: boolean
  /** See {@link Comparing}. */
  readonly keepsNone?: boolean
}

const loggedMax = 100

/**
 * Compares our tags with OpenFGA, object by object, and makes OpenFGA agree: content, members of groups and
 * organizations, who writes where. Also looks through the whole
 * store for tuples on objects that we know nothing of, and for request-only ones: those would let an agent
 * pass for whoever they name, so they go first. Delegations are mended elsewhere. Throws for an object that
 * could not be mended once all others are.
 */
export async function drift(
  context: IngestContext,
  { recovering = false, keepsNone = false }: DriftOptions = {},
): Promise<DriftReport> {
  const { database, log } = context
  const scanned = await scan(context)
  const { found, strangers } = scanned
  await forgetPlaces(context, scanned)
  const rows = await database.query<{ object: FgaObject }>(
    'select object from desired_tuples union select object from unreconciled order by 1',
  )
  const objects = [...new Set([...rows.map(({ object }) => object), ...strangers])]
  const { moving } = await readCompared(database)
  if (moving.size > 0) log('moves_not_ended', { subjects: [...moving].slice(0, loggedMax) })
  const differing: FgaObject[] = []
  const foreign = createTally()
  const kept = createTally()
  const counts = { added: 0, removed: 0 }
  const mended = new Set<FgaObject>()
  const marked = new Set<FgaObject>()
  try {
    await allOf([
      // Nobody waits meanwhile: only what differs is held, and compared again.
      () =>
        eachOf(objects, async (object) => {
          const difference = await compareObject(context, object, { keepsNone }).catch((error: unknown) => {
            // Where it stays so nobody is given anything: it may block somebody.
            if (!isPlain(object)) differing.push(object)
            throw error
          })
          // What seems to be kept may be a change that went on meanwhile.
          if (isDifferent(difference) || difference.kept.length > 0) differing.push(object)
          foreign.set(object, difference.foreign)
        }),
      async () => {
        for (const object of await markedObjects(database)) marked.add(object)
        await mendInOrder(context, [...differing, ...marked], { recovering, keepsNone, counts, mended, kept })
      },
    ])
  } finally {
    // What is marked is a change of ours that has not ended: it tells of nobody else.
    const unmarked = [...mended].filter((object) => !marked.has(object))
    context.onDrift(unmarked.length + found)
    if (mended.size > 0 || found > 0)
      log('drift_mended', {
        compared: objects.length,
        mended: mended.size,
        ...counts,
        requestOnly: found,
        unmarked: unmarked.slice(0, loggedMax),
      })
    logTuples(log, 'restrictions_without_row', kept)
    logTuples(log, 'foreign_conditions', foreign)
  }
  return {
    compared: objects.length,
    mended: mended.size,
    ...counts,
    kept: kept.count(),
    requestOnly: found,
    adopted: await isAllAdopted(database),
  }
}

/**
 * Completes what a crash left half done, and throws for what it could not once all the rest is. Cheap where
 * there is nothing: run at start and every minute.
 */
export async function mendUnsettled(context: IngestContext): Promise<number> {
  const objects = await markedObjects(context.database)
  await mendInOrder(context, objects, {})
  return objects.length
}

const markedObjects = async (sql: Sql): Promise<FgaObject[]> =>
  (await sql.query<{ object: FgaObject }>('select object from unreconciled order by object')).map(
    ({ object }) => object,
  )

interface Mending extends DriftOptions {
  /** Counted up. */
  readonly counts?: { added: number; removed: number }
  /** Each that differed is put in. */
  readonly mended?: Set<FgaObject>
  /** Told what is kept. */
  readonly kept?: Tally
}

/**
 * First, of members and the like, what lets anybody read less: whoever left one group and was put into
 * another that blocks reads at no moment more than before or after. Then content: it has its own order. Last
 * all the rest; none of that where some of the first failed.
 */
async function mendInOrder(
  context: IngestContext,
  objects: readonly FgaObject[],
  { recovering = false, keepsNone = false, counts, mended, kept: keptTally }: Mending,
): Promise<void> {
  const sorted = [...new Set(objects)].sort()
  const inOrder = [...sorted.filter(isContent), ...sorted.filter((one) => !isContent(one))]
  const mendAll = (ofThem: readonly FgaObject[], part?: Comparing['part']): Promise<void> =>
    eachOf(ofThem, async (object) => {
      if (await isLeftOut(context, object, { keepsNone })) return
      const { added, removed, kept } = await mend(context, object, {
        ...(part && { part }),
        keepsNone,
        ...(!recovering && { assertSound: context.assertSound }),
      }).catch((error: unknown) => {
        // Others may wait for it: somebody has to know for which.
        context.log('object_not_mended', { object, reason: reasonOf(error) })
        throw error
      })
      keptTally?.set(object, kept)
      if (counts === undefined || added.length + removed.length === 0) return
      mended?.add(object)
      counts.added += added.length
      counts.removed += removed.length
    })
  let isNarrowed = true
  await allOf([
    async () => {
      // Of one alone its own Write keeps the order.
      if (inOrder.length < 2) return
      isNarrowed = false
      await mendAll(
        inOrder.filter((one) => !isPlain(one)),
        'narrowing',
      )
      isNarrowed = true
    },
    () => (isNarrowed ? mendAll(inOrder) : mendAll(inOrder.filter(isContent), 'content')),
  ])
}

/** While all that differs waits for an adoption or a move nobody is kept waiting for a look at it. */
async function isLeftOut(
  context: IngestContext,
  object: FgaObject,
  comparing: Pick<Comparing, 'keepsNone'>,
): Promise<boolean> {
  if (isPlain(object)) return false
  const { isAllAdopted, moving } = await readCompared(context.database)
  if (isAllAdopted && moving.size === 0) return false
  const difference = await compareObject(context, object, comparing)
  return !isDifferent(difference) && !difference.isWhole
}

/** How many tuples of objects there are, and the first of them: a store may hold any number. */
interface Tally {
  /** Instead of what was said of the object before. */
  set(object: FgaObject, tuples: readonly TupleKey[]): void
  count(): number
  /** At most {@link loggedMax}. */
  first(): readonly string[]
}

function createTally(): Tally {
  const counts = new Map<FgaObject, number>()
  const first = new Map<FgaObject, readonly string[]>()
  return {
    set(object, tuples) {
      counts.delete(object)
      first.delete(object)
      if (tuples.length === 0) return
      counts.set(object, tuples.length)
      if (first.size < loggedMax) first.set(object, tuples.slice(0, loggedMax).map(tupleId))
    },
    count: () => [...counts.values()].reduce((sum, count) => sum + count, 0),
    first: () => [...first.values()].flat().slice(0, loggedMax),
  }
}

function logTuples(log: IngestContext['log'], event: string, tally: Tally): void {
  if (tally.count() > 0) log(event, { count: tally.count(), tuples: tally.first() })
}

const allOf = (tasks: readonly (() => Promise<void>)[]): Promise<void> => eachOf(tasks, (task) => task())

// Of one record: a group may have had any number.
const recordedMax = 1_000

/** Makes OpenFGA agree about one object, and records what differed. */
export async function mend(
  context: IngestContext,
  object: FgaObject,
  comparing: Comparing,
): Promise<Difference> {
  const { database, documentLocks } = context
  const difference = await documentLocks.hold([object], (hold) =>
    reconcileObject(context, hold, object, comparing),
  )
  const { added, removed } = difference
  const most = Math.max(added.length, removed.length)
  for (let offset = 0; offset < most; offset += recordedMax) {
    const addedNow = added.slice(offset, offset + recordedMax)
    await record(database, operator(context.newId()), {
      event: 'drift_mended',
      object,
      added: addedNow.map(tupleId),
      removed: removed.slice(offset, offset + recordedMax).map(tupleId),
      ...endsOf(addedNow),
    })
  }
  return difference
}

interface Scan {
  readonly found: number
  /** Objects with tuples of ours' kind, those that have no tags among them: withdrawn, or never ours. */
  readonly strangers: readonly FgaObject[]
  /** Where groups were known to stand, and where they do. */
  readonly placesBefore: readonly TupleKey[]
  readonly places: readonly TupleKey[]
}

async function scan(context: IngestContext): Promise<Scan> {
  const { database, fga, log } = context
  const forbidden: TupleKey[] = []
  const objects = new Set<FgaObject>()
  const placesBefore = await readGroupPlaces(database)
  const places: TupleKey[] = []
  for await (const { user, relation, object } of fga.read({})) {
    const { type } = splitObject(object)
    if (isGroupPlace({ user, relation, object })) places.push({ user, relation, object })
    if (requestOnly.some((rule) => rule.object === type && rule.relation === relation)) {
      forbidden.push({ user, relation, object })
    } else if (type === 'document' || isFiledAtMention(object) || isAdopted(type, relation))
      objects.add(object as FgaObject)
  }
  if (forbidden.length > 0) {
    log('request_only_tuples_stored', { count: forbidden.length, tuples: forbidden.map(tupleId) })
    await fga.write({ deletes: forbidden })
    await record(database, operator(context.newId()), {
      event: 'drift_mended',
      object: 'store',
      added: [],
      removed: forbidden.map(tupleId),
    })
  }
  // Those of before they were noted, or of an OpenFGA that was put back. Too many only keep somebody out.
  await addGroupPlaces(database, places)
  return { found: forbidden.length, strangers: [...objects], placesBefore, places }
}

/**
 * Forgets where no group stands. Each by itself, and as it is now: it may have changed since it was read. At
 * start nobody waits for that.
 */
async function forgetPlaces(
  { fga, documentLocks, log }: IngestContext,
  { placesBefore: before, places: found }: Scan,
): Promise<void> {
  const [knownIds, foundIds] = [before, found].map((places) => new Set(places.map(tupleId)))
  const unclear = [
    ...before.filter((place) => foundIds?.has(tupleId(place)) === false),
    // At first all of them are new.
    ...(before.length === 0 ? [] : found.filter((place) => knownIds?.has(tupleId(place)) === false)),
  ]
  for (const place of unclear)
    try {
      await documentLocks.hold([place.object], async (hold) => {
        const stored = new Set<string>()
        for await (const tuple of fga.read(place)) stored.add(tupleId(tuple))
        if (!stored.has(tupleId(place))) await hold.transaction((sql) => removeGroupPlaces(sql, [place]))
      })
    } catch (error) {
      // It is looked at again. Until then nobody is taken out of that group.
      log('group_place_unclear', { object: place.object, reason: reasonOf(error) })
    }
}

/** Whether any request-only tuple is stored. Asserted at start, before anybody is answered. */
export async function removeRequestOnly(context: IngestContext): Promise<number> {
  return (await scan(context)).found
}
