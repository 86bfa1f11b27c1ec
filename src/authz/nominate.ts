import { ownElapsed } from '../kernel/elapsed.ts'
import { splitObject } from '../kernel/ids.ts'
import type { Principal } from '../kernel/principal.ts'
import type { Fga } from './fga.ts'
import { questionFor } from './gate.ts'
import type { DocumentNominator } from './permission-index.ts'

/** Documents worth asking the gate about. Only nominates: what is listed may still be refused. */
export interface Nomination {
  readonly documentIds: readonly string[]
  /** False: the list may lack documents that this principal may read. */
  readonly complete: boolean
}

/** The permission index, and OpenFGA's own streamed list while that is not ready. Neither decides. */
export interface Nominator {
  nominate(principal: Principal, options: NominateOptions): Promise<Nomination>
}

/** `grants` are those that the request brings; the signal ends the wait for OpenFGA. */
export interface NominateOptions {
  readonly signal?: AbortSignal
  /** Ids of the grants that the gate will be shown. */
  readonly grants?: readonly string[]
}

/** `serverDeadlineMs` is how long OpenFGA may take to list, in milliseconds. */
export interface NominatorDeps {
  readonly fga: Fga
  readonly index: Pick<DocumentNominator, 'nominate'>
  readonly now: () => number
  /** For how long the list took, in milliseconds. Default: this process's (kernel/elapsed.ts). */
  readonly elapsed?: () => number
  /**
   * Milliseconds after which the server is known to cut its list short without a word (its deadline is 3 s).
   */
  readonly serverDeadlineMs: number
}

/** Nominates by the index, and by OpenFGA's own list while the index is not ready. */
export function createNominator({
  fga,
  index,
  now,
  elapsed = ownElapsed,
  serverDeadlineMs,
}: NominatorDeps): Nominator {
  return {
    async nominate(principal, { signal, grants }) {
      const began = elapsed()
      const question = questionFor(principal, grants)
      const nominated = index.nominate(question)
      if (nominated !== undefined) return { documentIds: nominated, complete: true }
      const { user, relation, contextual } = question
      const documentIds: string[] = []
      const listed = fga.listObjects(
        { user, relation, type: 'document', contextual },
        { now: now(), ...(signal && { signal }) },
      )
      for await (const object of listed) documentIds.push(splitObject(object).id)
      return { documentIds, complete: elapsed() - began < serverDeadlineMs }
    },
  }
}
