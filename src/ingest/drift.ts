import { operator, record } from '../audit/record.ts'
import { requestOnly } from '../authz/allow-list/reserved.ts'
import { endsOf, type TupleKey, tupleId } from '../authz/fga.ts'
import { type FgaObject, splitObject } from '../kernel/ids.ts'
import { reasonOf } from '../kernel/reason.ts'
import type { IngestContext } from './context.ts'
import { isFiledAtMention } from './filing.ts'
import { addGroupPlaces, isGroupPlace, readGroupPlaces, removeGroupPlaces } from './group-places.ts'
import { isAdopted, reconcileObject } from './reconcile-tuples.ts'

/** What a comparison of objects with OpenFGA came to. */
export interface DriftReport {
  /** Objects compared. */
  readonly compared: number
  /** Objects that differed and agree again. */
  readonly mended: number
  readonly added: number
  readonly removed: number
  /** Stored tuples that may never be stored, deleted now. Anything but 0 is an incident. */
  readonly requestOnly: number
}

/**
 * Compares our tags with OpenFGA, object by object, and makes OpenFGA agree: content, members of groups and
 * organizations, who writes where. Also looks through the whole
 * store for tuples on objects that we know nothing of, and for request-only ones: those would let an agent
 * pass for whoever they name, so they go first. Delegations are mended elsewhere. Throws for an object that
 * could not be mended once all others are.
 */
export async function drift(context: IngestContext): Promise<DriftReport> {
  const { database } = context
  const scanned = await scan(context)
  const { found, strangers } = scanned
  await forgetPlaces(context, scanned)
  const rows = await database.query<{ object: FgaObject }>(
    'select object from desired_tuples union select object from unreconciled order by 1',
  )
  const objects = [...new Set([...rows.map(({ object }) => object), ...strangers])]
  const report = { compared: objects.length, mended: 0, added: 0, removed: 0, requestOnly: found }
  try {
    await eachOf(objects, async (object) => {
      const { added, removed } = await mend(context, object)
      if (added + removed === 0) return
      report.mended += 1
      report.added += added
      report.removed += removed
    })
  } finally {
    if (report.mended > 0 || found > 0) context.log('drift_mended', { ...report })
  }
  return report
}

/**
 * Completes what a crash left half done, and throws for what it could not once all the rest is. Cheap where
 * there is nothing: run at start and every minute.
 */
export async function mendUnsettled(context: IngestContext): Promise<number> {
  const rows = await context.database.query<{ object: FgaObject }>(
    'select object from unreconciled order by object',
  )
  await eachOf(
    rows.map(({ object }) => object),
    (object) => mend(context, object),
  )
  return rows.length
}

/**
 * One that is held by somebody who stands still, or that the model refuses, keeps no other from being mended.
 */
async function eachOf<T>(objects: readonly T[], handle: (object: T) => Promise<unknown>): Promise<void> {
  const failures: unknown[] = []
  for (const object of objects) await handle(object).catch((error: unknown) => failures.push(error))
  if (failures.length > 0) throw failures[0]
}

async function mend(
  context: IngestContext,
  object: FgaObject,
): Promise<{ readonly added: number; readonly removed: number }> {
  const { database, documentLocks } = context
  const { added, removed } = await documentLocks.hold([object], (hold) =>
    reconcileObject(context, hold, object),
  )
  if (added.length + removed.length > 0) {
    await record(database, operator(context.newId()), {
      event: 'drift_mended',
      object,
      added: added.map(tupleId),
      removed: removed.map(tupleId),
      ...endsOf(added),
    })
  }
  return { added: added.length, removed: removed.length }
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
