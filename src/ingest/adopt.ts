import { type Tuple, type TupleKey, tupleId } from '../authz/fga.ts'
import { type FgaObject, splitObject } from '../kernel/ids.ts'
import { reasonOf } from '../kernel/reason.ts'
import {
  assertAdopting,
  claimAdoption,
  endAdoption,
  isAllAdopted,
  noteLeft,
  Superseded,
} from '../store/adopted.ts'
import { lockPrefixes } from '../store/prefixes.ts'
import type { IngestContext } from './context.ts'
import { addTags, readTags, removeTags, toTag, toTuple } from './desired-tuples.ts'
import { StayedLocked } from './locks.ts'
import { isAdopted, isForeign, isOurs, isPlain } from './reconcile-tuples.ts'
import { readSourcesOf } from './source-collections.ts'

// Held together: so many objects, or fewer with so many tuples; one with more is alone.
const objectsMax = 50
const tuplesMax = 1_000
// Then it is not for what they are.
const failuresMax = 20
const loggedMax = 100

/** Held by the process that adopts: the others have no use of doing it too. */
const adoptionLock = 'adoption'
const waitMsMax = 100

/**
 * Takes over into rows, once, what stood in OpenFGA alone: members of groups and organizations, who writes
 * where. OpenFGA has the last word: nothing is written there, and a row without its tuple goes. Until all of
 * it is done no comparison looks at these. May run twice, and in two processes. What one object is in the way
 * of keeps no other from it: throws in the end, and the next call looks at that object alone.
 */
export async function adoptTuples(context: IngestContext): Promise<void> {
  const { database, documentLocks } = context
  if (await isAllAdopted(database)) return
  let isBegun = false
  const begin = (): Promise<void> => {
    isBegun = true
    return adoptAll(context)
  }
  try {
    await documentLocks.hold([adoptionLock], begin, undefined, waitMsMax)
  } catch (error) {
    if (isBegun || !(error instanceof StayedLocked)) throw error
  }
}

async function adoptAll(context: IngestContext): Promise<void> {
  const { database, newId, log } = context
  if (await isAllAdopted(database)) return
  // One that stood still until it lost the lock does not go on beside the next, or after its end.
  const id = newId()
  const leftBefore = await claimAdoption(database, id)
  const counts = leftBefore
    ? new Map(leftBefore.map((object) => [object, tuplesMax]))
    : await countsByObject(context)
  // What an older OpenFGA lacks would be forgotten.
  await context.assertSound()
  const failures = new Map<FgaObject, unknown>()
  let tuples = 0
  for (const page of pagesOf(counts)) {
    tuples += await adoptPage(context, id, page).catch(async (error: unknown) => {
      let adopted = 0
      for (const object of page)
        adopted += await adoptPage(context, id, [object]).catch((one: unknown) => {
          failures.set(object, one)
          if (one instanceof Superseded || failures.size === failuresMax) throw error
          log('tuples_not_adopted', { object, reason: reasonOf(one) })
          return 0
        })
      return adopted
    })
  }
  if (failures.size > 0) {
    await noteLeft(database, id, [...failures.keys()])
    throw [...failures.values()][0]
  }
  await database.transaction((sql) => endAdoption(sql, id))
  if (counts.size > 0) log('tuples_adopted', { objects: counts.size, tuples })
}

/** All that have such a tuple or such a row. What comes meanwhile gets its row by itself. */
async function countsByObject({ database, fga }: IngestContext): Promise<ReadonlyMap<FgaObject, number>> {
  const objects = new Map<FgaObject, number>()
  const count = (object: FgaObject, more: number): void =>
    void objects.set(object, (objects.get(object) ?? 0) + more)
  // First: a process of 0.9.0 that has one of these writes it without a row, and maybe after it was read.
  const leases = await database.query<{ object: string }>(`select object from leases where object like '%:%'`)
  for (const { object } of leases) if (!isPlain(object as FgaObject)) count(object as FgaObject, 0)
  const rows = await database.query<{ object: FgaObject; relation: string; n: number }>(
    `select object, relation, count(*)::int as n from desired_tuples
     where split_part(object, ':', 1) not in ('document', 'folder', 'zone') group by object, relation`,
  )
  for (const { object, relation, n } of rows)
    if (isAdopted(splitObject(object).type, relation)) count(object, n)
  for await (const { object, relation } of fga.read({}))
    if (isAdopted(splitObject(object).type, relation)) count(object, 1)
  return new Map([...objects].sort(([a], [b]) => (a < b ? -1 : 1)))
}

function pagesOf(counts: ReadonlyMap<FgaObject, number>): readonly (readonly FgaObject[])[] {
  const pages: FgaObject[][] = []
  let size = Number.POSITIVE_INFINITY
  for (const [object, tuples] of counts) {
    const page = pages.at(-1)
    size += tuples
    if (page !== undefined && page.length < objectsMax && size <= tuplesMax) page.push(object)
    else {
      pages.push([object])
      size = tuples
    }
  }
  return pages
}

const adoptPage = (context: IngestContext, id: string, objects: readonly FgaObject[]): Promise<number> =>
  context.documentLocks.hold(objects, async (hold) => {
    const { fga, log } = context
    const list = context.allowList()
    // What nobody may write by us is others'. Of a move that died it is taken as it stands: the move, said
    // again, finds rows and tuples under one key.
    const isTaken = ({ relation, object }: TupleKey): boolean =>
      isOurs(list, splitObject(object).type, relation) && isAdopted(splitObject(object).type, relation)
    const found = await Promise.all(
      objects.map(async (object) => {
        const tuples: Tuple[] = []
        for await (const tuple of fga.read({ object })) if (isTaken(tuple)) tuples.push(tuple)
        return tuples
      }),
    )
    const there = new Set(found.flat().map(tupleId))
    const foreign = found.flat().filter(({ condition }) => isForeign(condition))
    if (foreign.length > 0)
      log('foreign_conditions', {
        count: foreign.length,
        tuples: foreign.slice(0, loggedMax).map(tupleId),
      })
    // Else an older OpenFGA that was put in its place would be believed.
    await context.assertSound()
    await hold.transaction(async (sql) => {
      // A source that is proposed at this moment would get a collection that somebody else writes.
      await lockPrefixes(sql)
      await assertAdopting(sql, id)
      const tagsByObject = await readTags(sql, objects)
      const gone = objects.flatMap((object) =>
        (tagsByObject.get(object) ?? [])
          .map((tag) => toTuple(object, tag))
          .filter((tuple) => isTaken(tuple) && !there.has(tupleId(tuple))),
      )
      await removeTags(sql, gone)
      // 0.9.0 let one administrator give it. Without a row it is taken away.
      const sourceOf = await readSourcesOf(sql, found.flat())
      const refused = found.flat().filter((tuple) => sourceOf(tuple) !== undefined)
      if (refused.length > 0)
        log('source_rights_not_adopted', {
          count: refused.length,
          tuples: refused.slice(0, loggedMax).map(tupleId),
        })
      for (const [nth, object] of objects.entries()) {
        const own = (found[nth] ?? []).filter(
          (tuple) => !isForeign(tuple.condition) && sourceOf(tuple) === undefined,
        )
        await addTags(sql, object, own.map(toTag))
      }
    })
    return there.size
  })
