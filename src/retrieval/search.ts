import type { Guarded } from '../authz/gate.ts'
import type { Database } from '../store/sql.ts'
import type { AccessFilter } from './access-filter/visible.ts'
import type { Candidate } from './candidate.ts'
import type { Cells } from './chunk-index/ivf/ivf-index.ts'
import { createNearest } from './chunk-index/postgres/nearest.ts'
import type { OnPlan } from './chunk-index/postgres/plan.ts'
import { byWords } from './chunk-index/postgres/words.ts'
import type { Corpus } from './corpus/corpus.ts'
import type { Scope } from './ranking/weigh.ts'

export interface Search {
  /** Nearest by inner product of unit vectors, best first. `like`: with the work that a search of this would take. */
  vector(
    visible: AccessFilter,
    embedding: Float32Array,
    limit: number,
    like?: AccessFilter,
  ): Promise<Candidate[]>
  /** Best by BM25, best first. `like`: in as many statements whatever is visible. */
  keyword(visible: AccessFilter, query: string, limit: number, like?: AccessFilter): Promise<Candidate[]>
  /**
   * Documents that searching by vectors finds whatever is asked: all that are visible, where they have no more passages than
   * are looked for. None where it is not known what they are called.
   */
  foundAnyway(visible: AccessFilter, limit: number): readonly Guarded[]
}

export interface SearchOptions {
  /** Undefined: plan E is never picked. */
  readonly cells?: Pick<Cells, 'sets' | 'lookers'>
  /** Undefined: names of documents are asked for. */
  readonly corpus?: Pick<Corpus, 'lastKnown'>
  /** Told of each search by vectors: which plan, and what it took. */
  readonly onPlan?: OnPlan
  /** Whose passages tell how common a word is. Defaults to all of the deployment's. */
  readonly statistics?: Scope
}

/** Searches the chunks of the given documents only; every branch is filtered before its limit. */
export function createSearch(
  database: Database,
  { cells, corpus, onPlan, statistics = 'deployment' }: SearchOptions = {},
): Search {
  const nearest = createNearest({ database, cells, corpus, onPlan })
  return {
    // Over nothing, too: how long it takes must not tell that there is nothing.
    vector: (visible, embedding, limit, like) =>
      nearest({ visible, embedding, limit, ...(like && { like }) }),

    // For those who may read nothing, too: what is skipped for them would tell them from those who may read little.
    keyword: (visible, query, limit, like) =>
      byWords(database, visible, query, limit, { scope: statistics, rareFirst: like === undefined }),

    foundAnyway(visible, limit) {
      const documents = corpus?.lastKnown()
      if (documents === undefined || visible.chunks > limit) return []
      return [...visible.docNos].flatMap((docNo) => {
        const documentId = documents.idOf(docNo)
        return documentId === undefined ? [] : [{ documentId }]
      })
    },
  }
}
