import type { Tuple } from '../../../src/authz/fga.ts'
import type { Corpus } from '../corpus.ts'

/**
 * What copies of permissions beside the vectors hold: to whom a document is open or closed, and in what a
 * person is.
 */
export interface Labels {
  /** Of each document. */
  readonly open: readonly (readonly number[])[]
  readonly closed: readonly (readonly number[])[]
  ofPerson(person: string): readonly number[]
  /** The one that stands for the person alone. */
  labelOf(person: string): number
}

/** As they are at this moment: what ends later is not in them, which is how such copies grow stale. */
export function labelsOf(corpus: Corpus, tuples: readonly Tuple[], at: number): Labels {
  const live = tuples.filter(
    ({ condition }) => condition === undefined || Date.parse(condition.context.expires_at) > at,
  )
  const numbers = new Map<string, number>()
  const numberOf = (subject: string): number => {
    const known = numbers.get(subject) ?? numbers.size + 1
    numbers.set(subject, known)
    return known
  }
  const byObject = Map.groupBy(live, ({ object }) => object as string)
  const groups = Map.groupBy(
    live.filter(({ relation }) => relation === 'member' || relation === 'admin'),
    ({ user }) => user,
  )
  const known = new Map<string, readonly number[]>()
  function openTo(object: string): readonly number[] {
    const before = known.get(object)
    if (before !== undefined) return before
    const found = new Set<number>()
    for (const { user, relation } of byObject.get(object) ?? []) {
      if (relation === 'viewer' || relation === 'owner') found.add(numberOf(user))
      else if (relation === 'parent') for (const label of openTo(user)) found.add(label)
    }
    const all = [...found]
    known.set(object, all)
    return all
  }
  return {
    open: corpus.documents.map(({ id }) => openTo(`document:${id}`)),
    closed: corpus.documents.map(({ id }) =>
      (byObject.get(`document:${id}`) ?? []).flatMap(({ user, relation }) =>
        relation === 'blocked' ? [numberOf(user)] : [],
      ),
    ),
    labelOf: numberOf,
    ofPerson(person) {
      const subjects = new Set(['user:*', person])
      for (const subject of subjects)
        for (const { object } of groups.get(subject) ?? []) subjects.add(`${object}#member`)
      return [...subjects].flatMap((subject) => numbers.get(subject) ?? [])
    },
  }
}
