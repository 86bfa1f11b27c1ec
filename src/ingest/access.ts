import { record } from '../audit/record.ts'
import type { AllowList } from '../authz/allow-list/allow-list.ts'
import { assertInForce } from '../authz/allow-list/in-force.ts'
import { endsOf, type Tuple, type TupleKey, tupleId } from '../authz/fga.ts'
import { AppError, invalid } from '../kernel/errors.ts'
import { splitObject } from '../kernel/ids.ts'
import { type Caller, readObjects, refusalOf } from './access-rights.ts'
import { asNamedNow, groupPlacesOf, storeChange } from './access-store.ts'
import type { IngestContext, Writer } from './context.ts'
import { type Entry, toTag, unmark } from './desired-tuples.ts'
import {
  assertNoCircle,
  foldersLock,
  parentWaitMsMax,
  reconcileParents,
  writesFolderParent,
} from './filing.ts'
import { removeGroupPlaces } from './group-places.ts'
import { type Hold, retryRefusedWrite } from './hold.ts'
import { type JobNote, noteTexts } from './job-store.ts'
import { StayedLocked } from './locks.ts'
import { isContent, reconcileObject } from './reconcile-tuples.ts'
import { keepSensitive } from './sensitivity.ts'
import { assertNoSources } from './source-collections.ts'

/** Tuples that a service writes and deletes. */
export interface AccessChange {
  readonly writes: readonly Tuple[]
  readonly deletes: readonly TupleKey[]
}

const tuplesMax = 100
// With what a Write brings along (fences.ts) it is one Write.
const pageMax = 99
const holdTriesMax = 3
// Of single tuples: then the cause is another than these.
const failuresMax = 3

/**
 * Changes tuples by the allow-list of the model in force, in one Write to OpenFGA, in force when this
 * returns. Throws `invalid_request` naming the tuple that does not fit the model, `forbidden` naming the one
 * that this caller may not touch, `conflict` for one that exists with another end; then nothing of it is
 * written. A folder that would lie in itself is `invalid_request`. After a 503 the change may yet take
 * effect: it is remembered before it is sent, and drift completes it.
 */
export async function changeAccess(
  context: IngestContext,
  caller: Caller,
  change: AccessChange,
  signal?: AbortSignal,
): Promise<readonly JobNote[]> {
  const entries = entriesOf(change)
  assertFits(context.allowList(), entries)
  return holdingAfterParents(
    context,
    entries,
    async (hold) => {
      // Again: while others held what this changes, another model may have come into force.
      const list = context.allowList()
      assertFits(list, entries)
      const storedObjects = await readObjects(context, caller, entries)
      for (const entry of entries) {
        const refusal = refusalOf(list, caller, entry, storedObjects)
        if (refusal !== undefined) throw new AppError('forbidden', { field: entry.field, public: refusal })
      }
      await assertNoCircle(context.database, entries)
      const named = await asNamedNow(context, context.database, list, entries)
      await assertSameEnds(context, list, named)
      const sensitiveEntries =
        caller.kind === 'service' ? await keepSensitive(context, entries, storedObjects) : []
      const allEntries = [...named, ...sensitiveEntries]
      if (!(await hold.isOrderly(changeOf(allEntries))))
        throw invalid(
          'writes',
          'Too many tuples at once that may give as well as take: parents, filings, members. First send what denies and deletes of what lets read, then these in several requests, last what lets read.',
        )
      await writeChange(context, list, hold, caller.writer, allEntries)
      // Of the request and the clock alone. That somebody was never here it does not say: that tells who is.
      const redundantWrites = change.writes.filter(
        ({ condition }) => (endOf(condition) ?? Infinity) <= context.clock.now(),
      )
      return [
        ...sensitiveEntries.map(({ tuple }) => noteOn(tuple, 'sensitivity_kept')),
        ...redundantWrites.map((tuple) => noteOn(tuple, 'already_over')),
      ]
    },
    signal,
  )
}

/**
 * The same without asking who may: for the operator's own data, such as the sample's groups and folders.
 * Keeps our tags in step, which tuples written straight to OpenFGA would not: drift would take those away.
 * Any number of tuples.
 */
export async function applyTuples(
  context: IngestContext,
  writer: Writer,
  change: AccessChange,
): Promise<void> {
  const entries = entriesOf(change)
  const list = context.allowList()
  for (let offset = 0; offset < entries.length; offset += pageMax) {
    const page = entries.slice(offset, offset + pageMax)
    for (const { tuple, operation, field } of page) {
      const misfit = list.misfitOf(tuple, operation)
      if (misfit !== undefined) throw invalid(`${field}.${misfit.field}`, misfit.detail)
    }
    await holdingAfterParents(context, page, async (hold) => {
      await assertNoCircle(context.database, page)
      await writeChange(context, list, hold, writer, page)
    })
  }
}

/**
 * Takes tuples away, whoever wrote them and whatever the allow-list says: of somebody whose rights end. Any
 * number. One object that cannot be written keeps no other from it: throws once the rest is done, or at once
 * where several cannot. Does NOT check who asks.
 */
export async function takeAway(
  context: IngestContext,
  writer: Writer,
  tuples: readonly TupleKey[],
): Promise<void> {
  const entries = entriesOf({ writes: [], deletes: tuples })
  const failures: unknown[] = []
  const write = (page: readonly Entry[]): Promise<void> =>
    context.documentLocks.hold(locksFor(page), (hold) => writeChange(context, undefined, hold, writer, page))
  for (let offset = 0; offset < entries.length; offset += pageMax) {
    const page = entries.slice(offset, offset + pageMax)
    const one = await write(page).then(
      () => [],
      () => page,
    )
    for (const entry of one) {
      await write([entry]).catch((error: unknown) => failures.push(error))
      if (failures.length === failuresMax) throw failures[0]
    }
  }
  if (failures.length > 0) throw failures[0]
}

const entriesOf = ({ writes, deletes }: AccessChange): Entry[] => [
  ...deletes.map((tuple, index): Entry => ({ tuple, operation: 'delete', field: `deletes.${index}` })),
  ...writes.map((tuple, index): Entry => ({ tuple, operation: 'write', field: `writes.${index}` })),
]

/**
 * Holds what a change is of, once what it puts something into is settled. Where that became unsettled since,
 * and is held by somebody else, it lets go, so that they need not wait for this one, and begins again.
 */
async function holdingAfterParents<T>(
  context: IngestContext,
  entries: readonly Entry[],
  work: (hold: Hold) => Promise<T>,
  signal?: AbortSignal,
): Promise<T> {
  for (let tries = 1; ; tries += 1) {
    // What cannot be settled fails below: only once it is known that the caller may write it.
    await settleParents(context, entries).catch(() => undefined)
    try {
      return await context.documentLocks.hold(locksFor(entries), work, signal)
    } catch (error) {
      if (!(error instanceof StayedLocked) || tries === holdTriesMax) throw error
    }
  }
}

function locksFor(entries: readonly Entry[]): readonly string[] {
  const objects = entries.map(({ tuple }) => tuple.object)
  return [...new Set([...objects, ...(entries.some(writesFolderParent) ? [foldersLock] : [])])].sort()
}

/** Throws for the first tuple that the list does not take, and for too many. */
export function assertFits(list: AllowList, entries: readonly Entry[]): void {
  if (entries.length === 0) throw invalid('writes', 'At least one tuple is needed.')
  if (entries.length > tuplesMax)
    throw invalid('writes', `At most ${tuplesMax} tuples, writes and deletes together.`)
  const seenIds = new Set<string>()
  for (const { tuple, operation, field } of entries) {
    const misfit = list.misfitOf(tuple, operation)
    if (misfit !== undefined) throw invalid(`${field}.${misfit.field}`, misfit.detail)
    if (seenIds.has(tupleId(tuple))) throw invalid(field, 'This tuple is named twice.')
    seenIds.add(tupleId(tuple))
  }
}

/** OpenFGA cannot change a stored tuple's end in one Write, and would fail the whole. */
async function assertSameEnds(
  { fga }: IngestContext,
  list: AllowList,
  entries: readonly Entry[],
): Promise<void> {
  const expiring = entries.filter(({ tuple, operation }) => operation === 'write' && list.mayEnd(tuple))
  const found = await Promise.all(
    expiring.map(async ({ tuple: { user, relation, object, condition } }) => {
      for await (const stored of fga.read({ user, relation, object })) {
        return endOf(stored.condition) !== endOf(condition)
      }
      return false
    }),
  )
  const index = found.indexOf(true)
  const entry = expiring[index]
  if (entry === undefined) return
  throw new AppError('conflict', {
    field: entry.field,
    public: 'This tuple exists with another end. Delete it in a request of its own first.',
  })
}

const noteOn = ({ object }: TupleKey, code: 'sensitivity_kept' | 'already_over'): JobNote => ({
  id: splitObject(object).id,
  code,
  detail: noteTexts[code],
})

const endOf = (condition: Tuple['condition']): number | undefined =>
  condition === undefined ? undefined : Date.parse(condition.context.expires_at)

/**
 * Records a change and writes it, by the hold that its caller has. Does NOT check who asks. Without a list,
 * whatever is in force: for what only ends. Throws, with nothing written, `invalid_request` for a right on a
 * source's own collection, and `storage_unavailable` where somebody holds for long what something is put
 * into, and that is unsettled.
 */
export async function writeChange(
  context: IngestContext,
  list: AllowList | undefined,
  hold: Hold,
  writer: Writer,
  entries: readonly Entry[],
): Promise<void> {
  // What became unsettled since. Not for long: who holds it may wait for what is held here.
  await settleParents(context, entries, parentWaitMsMax)
  const { named, waiting, marked, newlyMarked } = await hold.transaction(async (sql) => {
    // Before rows are locked: see `lockPrefixes`.
    await assertNoSources(sql, entries)
    await writer.assertCurrent?.(sql)
    if (list !== undefined) await assertInForce(sql, list)
    // Here it stays true; else the tuples would name others than the rows.
    const named = list === undefined ? entries : await asNamedNow(context, sql, list, entries)
    const stored = await storeChange(sql, named)
    const { writes, deletes } = changeOf(named)
    await record(sql, writer, {
      event: 'access_changed',
      writes: writes.map(tupleId),
      deletes: deletes.map(tupleId),
      ...endsOf(writes),
    })
    return { named, ...stored }
  })
  const change = changeOf(named.filter(({ tuple }) => !waiting.has(tuple.object)))
  // What is there already is rare, and only said by a refusal; another end would be refused for good.
  let isSure = !change.writes.some(({ condition }) => condition !== undefined)
  await retryRefusedWrite(async () => {
    const remaining = isSure ? change : await leftToDo(context, change)
    isSure = false
    await hold.write(remaining)
  })
  // Only now: as long as a group may stand in a block there, nobody is to be taken out of it.
  const goneFrom = groupPlacesOf(named, 'delete')
  if (goneFrom.length > 0) await hold.transaction((sql) => removeGroupPlaces(sql, goneFrom))
  // Marks of this change alone are settled by its Write; older ones, and what is filed now, are looked at
  // whole. A group may have any number of members: the minute's mending sees to its older ones.
  if (marked.length > 0) await hold.transaction((sql) => unmark(sql, marked))
  const { assertSound } = context
  for (const object of newlyMarked.filter(isContent))
    await reconcileObject(context, hold, object, { assertSound })
}

/** Those that something is put into. Objects of the change itself are settled by it. */
async function settleParents(
  context: IngestContext,
  entries: readonly Entry[],
  waitMsMax?: number,
): Promise<void> {
  const objects = new Set<string>(entries.map(({ tuple }) => tuple.object))
  const joins = entries.filter(({ tuple, operation }) => operation === 'write' && !objects.has(tuple.user))
  await reconcileParents(
    context,
    joins.map(({ tuple }) => toTag(tuple)),
    waitMsMax,
  )
}

const changeOf = (entries: readonly Entry[]): AccessChange => ({
  deletes: entries.flatMap(({ tuple: { user, relation, object }, operation }) =>
    operation === 'delete' ? [{ user, relation, object }] : [],
  ),
  writes: entries.flatMap(({ tuple, operation }) => (operation === 'write' ? [tuple] : [])),
})

/** Without what is there already. Of a tuple that has another end the old one is deleted. */
async function leftToDo({ fga }: IngestContext, { writes, deletes }: AccessChange): Promise<AccessChange> {
  const stored = await Promise.all(
    writes.map(async ({ user, relation, object }) => {
      for await (const tuple of fga.read({ user, relation, object })) return tuple
      return undefined
    }),
  )
  const isAsWanted = (tuple: Tuple, index: number): boolean => {
    const found = stored[index]
    return found !== undefined && endOf(found.condition) === endOf(tuple.condition)
  }
  const ending = stored.flatMap((tuple, index) => {
    const wantedTuple = writes[index]
    if (tuple === undefined || wantedTuple === undefined || isAsWanted(wantedTuple, index)) return []
    const { user, relation, object } = tuple
    return [{ user, relation, object }]
  })
  return {
    writes: writes.filter((tuple, index) => !isAsWanted(tuple, index)),
    deletes: [...deletes, ...ending],
  }
}
