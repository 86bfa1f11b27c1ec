import { questionFor } from '../../authz/gate.ts'
import type { NominateOptions, Nominator } from '../../authz/nominate.ts'
import type { Principal } from '../../kernel/principal.ts'
import type { Database } from '../../store/sql.ts'
import type { Corpus } from '../corpus/corpus.ts'
import type { Documents } from '../corpus/documents.ts'
import { lookUpVisible, type Narrowing, withinFilter } from './look-up.ts'
import type { Snapshots } from './snapshots.ts'
import { type Content, contentOf, type Visible, visibleAs } from './visible.ts'

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
 * statements are run for those who may read nothing and for everybody else: one pair with a filter, none without.
 */
export function createVisibility(deps: VisibilityDeps): Visibility {
  const { database, snapshots, corpus, nominator } = deps
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
      const filed = collections === undefined ? snapshot.content : within(snapshot, collections)
      const content = filter === undefined ? filed : await withinFilter(database, filed, documents, filter)
      return { visible: visibleAs(content, all), complete: true }
    },
  }
}

function within(
  { content, documents }: { readonly content: Content; readonly documents: Documents },
  collections: readonly string[],
): Content {
  const docNos = content.docNos().filter(documents.filedIn(collections))
  let chunks = 0
  for (const docNo of docNos) chunks += documents.chunksOf(docNo)
  return contentOf(docNos, chunks)
}
