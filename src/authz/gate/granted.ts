import { documentObject } from '../../kernel/ids.ts'
import type { Check, Fga } from '../fga.ts'
import type { Limiter } from './limiter.ts'
import type { Question } from './question.ts'

/** A grant of an approval, as it is shown to OpenFGA. */
export interface ShownGrant {
  /** `g_…` */
  readonly id: string
  /** All that it names itself; empty for one over folders or collections. */
  readonly documentIds: readonly string[]
}

/** OpenFGA and the limiter that the checks pass. */
export interface CoveringDeps {
  readonly fga: Pick<Fga, 'batchCheck'>
  readonly limiter: Limiter
  readonly now: () => number
}

/** Documents that may need a grant, and the grants that were shown for them. */
export interface Covering {
  readonly question: Question
  readonly grants: readonly ShownGrant[]
  readonly documentIds: readonly string[]
  /** Of these documents, those that may need a grant at all. */
  readonly sensitive: (documentIds: readonly string[]) => readonly string[]
  readonly signal?: AbortSignal
}

/**
 * The grants by which each document goes: those that name it, and those by which OpenFGA says that it is
 * granted, each asked alone and past all caches. Where OpenFGA failed on one it counts as covering: rather a
 * use too many than one that nobody counted. Undefined: one that may need a grant goes by none, and OpenFGA
 * does not let it go any more. Throws when OpenFGA as a whole does not answer.
 */
export async function coveringGrants(
  { fga, limiter, now }: CoveringDeps,
  { question, grants, documentIds, sensitive, signal }: Covering,
): Promise<ReadonlyMap<string, readonly string[]> | undefined> {
  const covering = new Map<string, string[]>()
  const add = (documentId: string, grant: string): void => {
    covering.set(documentId, [...(covering.get(documentId) ?? []), grant])
  }
  const openPairs: { readonly documentId: string; readonly grant: string }[] = []
  const may = new Set(grants.length === 0 ? [] : sensitive(documentIds))
  for (const { id, documentIds: named } of grants) {
    for (const documentId of documentIds) {
      if (named.includes(documentId)) add(documentId, id)
      else if (may.has(documentId)) openPairs.push({ documentId, grant: id })
    }
  }
  if (openPairs.length === 0) return covering
  const checks = openPairs.map(
    ({ documentId, grant }): Check => ({
      user: question.user,
      relation: 'granted',
      object: documentObject(documentId),
      contextual: question.contextual.filter(
        ({ object }) => !object.startsWith('grant:') || object === `grant:${grant}`,
      ),
    }),
  )
  const ask = (asked: readonly Check[]) =>
    limiter.run(asked.length, signal, () =>
      fga.batchCheck(asked, { now: now(), consistency: 'fresh', ...(signal && { signal }) }),
    )
  const { verdicts } = await ask(checks)
  for (const [index, { documentId, grant }] of openPairs.entries())
    if (verdicts[index] !== 'denied') add(documentId, grant)
  const bare = [...may].filter((documentId) => !covering.has(documentId))
  if (bare.length === 0) return covering
  // Ordinary ones go without. Of the others the grant was taken back since they were cleared.
  const again = await ask(bare.map((documentId) => ({ ...question, object: documentObject(documentId) })))
  return again.verdicts.every((verdict) => verdict === 'allowed') ? covering : undefined
}
