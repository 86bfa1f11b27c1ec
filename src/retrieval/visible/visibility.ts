import { questionFor } from '../../authz/gate.ts'
import type { NominateOptions, Nominator } from '../../authz/nominate.ts'
import type { Principal } from '../../kernel/principal.ts'
import type { Database } from '../../store/sql.ts'
import type { Corpus } from '../corpus/corpus.ts'
import { createFiled } from './filed.ts'
import { lookUpVisible, type Narrowing } from './look-up.ts'
import { createMatches } from './matches.ts'
import type { Snapshots } from './snapshots.ts'
import { type Visible, visibleAs } from './visible.ts'

/** What a question may touch. It only nominates and counts: what is in it may still be refused. */
export interface Visibility {
  /** Throws where the filter is wrong, whatever the principal may read. */
  of(principal: Principal, options: NominateOptions & Narrowing): Promise<Sight>
}

export interface Sight {
  readonly visible: Visible
  /** False: documents that this principal may read may be missing. */
  readonly complete: boolean
}

export interface VisibilityDeps {
  readonly database: Database
  readonly snapshots: Snapshots
  readonly corpus: Corpus
  readonly nominator: Nominator
}

/**
 * From memory, where index and corpus are there; else by lists of ids, which the database is asked about. The same
 * statements are run for those who may read nothing and for everybody else: none without a filter.
 */
export function createVisibility(deps: VisibilityDeps): Visibility {
  const { database, snapshots, corpus, nominator } = deps
  const filed = createFiled(corpus)
  const matches = createMatches({ database, corpus })
  return {
    async of(principal, { grants, signal, collections, filter }) {
      const snapshot = snapshots.of(questionFor(principal, grants))
      if (snapshot === undefined) {
        const nomination = await nominator.nominate(principal, {
          ...(signal && { signal }),
          ...(grants && { grants }),
        })
        const narrowing = { ...(collections && { collections }), ...(filter && { filter }) }
        const visible = await lookUpVisible({ database, corpus }, nomination.documentIds, narrowing)
        return { visible, complete: nomination.complete }
      }
      const { documents } = snapshot
      const all = documents.chunks
      let { content } = snapshot
      if (collections !== undefined) content = filed.within(content, documents, collections)
      if (filter !== undefined) content = await matches.within(content, documents, filter)
      return { visible: visibleAs(content, all), complete: true }
    },
  }
}
