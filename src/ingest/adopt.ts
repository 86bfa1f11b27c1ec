import { type Tuple, tupleId } from '../authz/fga.ts'
import { type FgaObject, splitObject } from '../kernel/ids.ts'
import { endAdoption, isAllAdopted } from '../store/adopted.ts'
import type { IngestContext } from './context.ts'
import { addTags, readTags, removeTags, toTag, toTuple } from './desired-tuples.ts'
import { isAdopted } from './reconcile-tuples.ts'

/** Objects that are held at a time. */
const pageMax = 50

/**
 * Takes over into rows, once, what stood in OpenFGA alone: members of groups and organizations, who writes
 * where. OpenFGA has the last word: nothing is written there, and a row without its tuple goes. Until all of
 * it is done no comparison looks at these. May run twice, and in two processes.
 */
export async function adoptTuples(context: IngestContext): Promise<void> {
  const { database, log } = context
  if (await isAllAdopted(database)) return
  const objects = await objectsOf(context)
  let tuples = 0
  for (let offset = 0; offset < objects.length; offset += pageMax)
    tuples += await adoptPage(context, objects.slice(offset, offset + pageMax))
  await endAdoption(database)
  if (objects.length > 0) log('tuples_adopted', { objects: objects.length, tuples })
}

/** All that have such a tuple or such a row. What comes meanwhile gets its row by itself. */
async function objectsOf({ database, fga }: IngestContext): Promise<readonly FgaObject[]> {
  const rows = await database.query<{ object: string; relation: string }>(
    `select distinct object, relation from desired_tuples
     where split_part(object, ':', 1) not in ('document', 'folder', 'zone')`,
  )
  const objects = new Set<string>()
  const add = ({ object, relation }: { readonly object: string; readonly relation: string }): void => {
    if (isAdopted(splitObject(object).type, relation)) objects.add(object)
  }
  for (const row of rows) add(row)
  for await (const tuple of fga.read({})) add(tuple)
  return [...objects].sort() as FgaObject[]
}

const adoptPage = ({ documentLocks, fga }: IngestContext, objects: readonly FgaObject[]): Promise<number> =>
  documentLocks.hold(objects, async (hold) => {
    const found = await Promise.all(
      objects.map(async (object) => {
        const { type } = splitObject(object)
        const tuples: Tuple[] = []
        for await (const tuple of fga.read({ object }))
          if (isAdopted(type, tuple.relation)) tuples.push({ ...tuple, object })
        return tuples
      }),
    )
    const there = new Set(found.flat().map(tupleId))
    await hold.transaction(async (sql) => {
      const tagsByObject = await readTags(sql, objects)
      const gone = objects.flatMap((object) =>
        (tagsByObject.get(object) ?? [])
          .filter(({ relation }) => isAdopted(splitObject(object).type, relation))
          .map((tag) => toTuple(object, tag))
          .filter((tuple) => !there.has(tupleId(tuple))),
      )
      await removeTags(sql, gone)
      for (const [nth, object] of objects.entries()) await addTags(sql, object, (found[nth] ?? []).map(toTag))
    })
    return there.size
  })
