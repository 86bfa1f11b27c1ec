import { type Corpus, dot, vectorAt } from './corpus.ts'

/**
 * Who may read what, and what is nearest to a question: by a walk of its own over the tuples and products of
 * its own. Shares nothing with the service, its engine or its SQL.
 */
export interface Oracle {
  /** 1 for each document that the person may read at this time. */
  visibleTo(person: string, at: number): Uint8Array
  /**
   * The best of the passages of these documents: how many they have, and the score of the last of the best.
   */
  best(question: Float32Array, documents: Uint8Array, count: number): Best
}

export interface Best {
  /** Passages that are visible at all. */
  readonly visible: number
  /** By number, best first. */
  readonly passages: readonly number[]
  readonly least: number
}

interface OracleTuple {
  readonly user: string
  readonly relation: string
  readonly object: string
  readonly condition?: { readonly context: { readonly expires_at: string } }
}

interface Edge {
  readonly to: string
  readonly relation: string
  readonly until: number
}

const leadsOn = new Set(['member', 'admin', 'viewer', 'owner', 'parent'])

export function createOracle(corpus: Corpus, tuples: Iterable<OracleTuple>): Oracle {
  const from = new Map<string, Edge[]>()
  for (const { user, relation, object, condition } of tuples) {
    if (!leadsOn.has(relation) && relation !== 'blocked')
      throw new Error(`The oracle does not know the relation ${relation}.`)
    const until =
      condition === undefined ? Number.POSITIVE_INFINITY : Date.parse(condition.context.expires_at)
    const edge = { to: object, relation, until }
    const edges = from.get(user)
    if (edges === undefined) from.set(user, [edge])
    else edges.push(edge)
  }
  const placeOf = new Map(corpus.documents.map(({ id }, place) => [`document:${id}`, place]))

  /** Everything that the person is in, and everything that is open to any of it. */
  function reach(person: string, at: number): { readonly subjects: Set<string>; readonly open: Set<string> } {
    const subjects = new Set(['user:*', person])
    const open = new Set<string>()
    for (const subject of subjects) {
      for (const { to, relation, until } of from.get(subject) ?? []) {
        if (until <= at) continue
        if (relation === 'member' || relation === 'admin') {
          subjects.add(`${to}#member`)
          if (relation === 'admin') subjects.add(`${to}#admin`)
        } else if (relation !== 'blocked') open.add(to)
      }
    }
    // What lies in an open folder is open.
    for (const place of open)
      for (const { to, relation } of from.get(place) ?? []) if (relation === 'parent') open.add(to)
    return { subjects, open }
  }

  return {
    visibleTo(person, at) {
      const visible = new Uint8Array(corpus.documents.length)
      const { subjects, open } = reach(person, at)
      for (const object of open) {
        const place = placeOf.get(object)
        if (place !== undefined) visible[place] = 1
      }
      for (const subject of subjects) {
        for (const { to, relation } of from.get(subject) ?? []) {
          const place = placeOf.get(to)
          if (relation === 'blocked' && place !== undefined) visible[place] = 0
        }
      }
      return visible
    },
    best(question, documents, count) {
      let visible = 0
      const best: { readonly passage: number; readonly score: number }[] = []
      for (let passage = 0; passage < corpus.count; passage++) {
        if (documents[corpus.documentOf[passage] as number] !== 1) continue
        visible += 1
        const score = dot(question, vectorAt(corpus, passage))
        if (best.length === count && score <= (best.at(-1)?.score ?? 0)) continue
        const at = best.findIndex((one) => one.score < score)
        best.splice(at < 0 ? best.length : at, 0, { passage, score })
        best.length = Math.min(best.length, count)
      }
      return {
        visible,
        passages: best.map(({ passage }) => passage),
        least: best.at(-1)?.score ?? Number.POSITIVE_INFINITY,
      }
    },
  }
}
