import type { AccessTuple } from '@remit/client'
import { groupBy } from './group-by.ts'

/** Tuples to write and to delete together, as text. */
export interface Texts {
  readonly writes?: readonly string[]
  readonly deletes?: readonly string[]
}

/** Puts entries into one change. */
export const textsOf = (
  changes: readonly { readonly tuple: string; readonly isWrite: boolean }[],
): Texts => ({
  writes: changes.flatMap(({ tuple, isWrite }) => (isWrite ? [tuple] : [])),
  deletes: changes.flatMap(({ tuple, isWrite }) => (isWrite ? [] : [tuple])),
})

/** A tuple and its text: `user:anne viewer folder:x`. */
export interface Parsed {
  readonly text: string
  readonly user: string
  readonly relation: string
  readonly object: string
}

/** No id holds a space: whoever makes a text has asked `ids.ts` about each of its names. */
export function parsed(text: string): Parsed {
  const [user = '', relation = '', object = ''] = text.split(' ')
  return { text, user, relation, object }
}

/** As the writer takes it. */
export function tupleOf(text: string): AccessTuple {
  const { user, relation, object } = parsed(text)
  return { user, relation, object }
}

/** The group of a membership, by its id. */
export const groupIn = (text: string): string => parsed(text).object.slice('group:'.length)
/** Whether it is a membership. */
export const isMember = ({ relation }: Parsed): boolean => relation === 'member'
/** Whether it is a parent of a folder. */
export const isParent = ({ relation }: Parsed): boolean => relation === 'parent'
const reading: ReadonlySet<string> = new Set(['viewer', 'audience', 'gate_1', 'gate_2', 'gate_3'])
/** Whether it lets somebody read, and does nothing else. */
export const isReading = ({ relation }: Parsed): boolean => reading.has(relation)

/** By the objects on which they stand; of one object each alone. Parents of one folder go together. */
export function partsOf({ writes = [], deletes = [] }: Texts): readonly Texts[] {
  const entries = [
    ...deletes.map((tuple) => ({ tuple, part: { deletes: [tuple] } })),
    ...writes.map((tuple) => ({ tuple, part: { writes: [tuple] } })),
  ]
  const byObject = [...groupBy(entries, ({ tuple }) => parsed(tuple).object).values()]
  if (byObject.length === 1)
    return entries.some(({ tuple }) => isParent(parsed(tuple)))
      ? [{ writes, deletes }]
      : entries.map(({ part }) => part)
  return byObject.map((found) => ({
    deletes: found.flatMap(({ part }) => ('deletes' in part ? part.deletes : [])),
    writes: found.flatMap(({ part }) => ('writes' in part ? part.writes : [])),
  }))
}
