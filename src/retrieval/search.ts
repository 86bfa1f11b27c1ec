import type { Guarded } from '../authz/gate.ts'
import { assertNotAborted } from '../kernel/assert-not-aborted.ts'
import { AppError } from '../kernel/errors.ts'
import { publicationOf } from '../store/in-force.ts'
import type { Sql } from '../store/sql.ts'
import type { AccessFilter } from './access-filter/visible.ts'
import type { Candidate } from './candidate.ts'
import type { ChunkSearch, FoundChunk, SearchOptions } from './chunk-index/port.ts'
import type { Corpus } from './corpus/corpus.ts'
import type { Documents } from './corpus/documents.ts'
import type { Scope } from './ranking/weigh.ts'
import { weighWords } from './ranking/weigh.ts'

/** The two searches, by vectors and by words. */
export interface Search {
  /**
   * Nearest by inner product of unit vectors, best first. `like`: with the work that a search of this would
   * take.
   */
  vector(
    filter: AccessFilter,
    embedding: Float32Array,
    limit: number,
    options?: SearchOptions,
  ): Promise<Candidate[]>
  /** Best by BM25, best first. `like`: in as many statements whatever is in the filter. */
  keyword(filter: AccessFilter, query: string, limit: number, options?: SearchOptions): Promise<Candidate[]>
  /**
   * Documents that searching by vectors finds whatever the question is: all of the filter's, where they have
   * no more chunks than are looked for. None where memory does not know what they are called.
   */
  foundAnyway(filter: AccessFilter, limit: number): readonly Guarded[]
}

/** The chunk index, and the statistics that weigh words. */
export interface SearchDeps {
  /** Has the statistics of words, and the names of documents that memory does not know yet. */
  readonly sql: Sql
  readonly index: ChunkSearch
  /** Knows names of documents. Left out: the database is asked for all. */
  readonly corpus?: Pick<Corpus, 'lastKnown'>
  /** Whose passages tell how common a word is. Defaults to all of the deployment's. */
  readonly statistics?: Scope
}

/**
 * Searches the chunks of the given documents only; every branch is filtered before its limit. Throws
 * `search_unavailable` where the index names a document outside of the filter: nothing that it says then is
 * believed.
 */
export function createSearch({ sql, index, corpus, statistics = 'deployment' }: SearchDeps): Search {
  const candidates = (found: readonly FoundChunk[], filter: AccessFilter): Promise<Candidate[]> => {
    for (const { docNo } of found) if (!filter.has(docNo)) throw strayed()
    return withDocumentIds(sql, corpus?.lastKnown(), found)
  }

  return {
    vector: async (filter, embedding, limit, options) =>
      candidates(await index.nearest(embedding, filter, limit, options), filter),

    // For those who may read nothing, too: what is skipped for them would tell them from those who may read
    // little.
    async keyword(filter, question, limit, options) {
      const query = await weighWords(sql, question, statistics)
      assertNotAborted(options?.signal)
      return candidates(await index.words(query, filter, limit, options), filter)
    },

    foundAnyway(filter, limit) {
      const documents = corpus?.lastKnown()
      if (documents === undefined || filter.chunks > limit) return []
      return [...filter.docNos].flatMap((docNo) => {
        const document = documents.foundAs(docNo)
        return document === undefined ? [] : [document]
      })
    },
  }
}

const strayed = (): AppError =>
  new AppError('search_unavailable', {
    internal: 'the chunk index found what the filter does not let through',
  })

/**
 * What was found, under the names of its documents and with what they had in force: from memory, and from the
 * database those that are newer. Memory may be behind: text is read only of a chunk that belongs to the
 * document under whose name it was cleared, and to the publication (read.ts). A document that is gone has no
 * name, and nothing of it is left.
 */
export async function withDocumentIds(
  sql: Sql,
  documents: Pick<Documents, 'foundAs'> | undefined,
  found: readonly FoundChunk[],
): Promise<Candidate[]> {
  const known = found.map(({ docNo }) => documents?.foundAs(docNo))
  const missing = found.flatMap(({ docNo }, nth) => (known[nth] === undefined ? [docNo] : []))
  const newer = missing.length === 0 ? undefined : await readNames(sql, missing)
  return found.flatMap(({ chunkId, docNo, ordinal, score }, nth) => {
    const document = known[nth] ?? newer?.get(docNo)
    if (document === undefined) return []
    const { documentId, publication, isNew } = document
    return [{ chunkId, documentId, publication, isNew, ordinal, score }]
  })
}

async function readNames(
  sql: Sql,
  docNos: readonly number[],
): Promise<ReadonlyMap<number, Required<Guarded>>> {
  const rows = await sql.query<{ doc_no: number; id: string; publication: number }>(
    `select doc_no, id, ${publicationOf('documents')} as publication from documents where doc_no = any($1::int[])`,
    [Int32Array.from(docNos)],
  )
  return new Map(
    rows.map(({ doc_no, id, publication }) => [doc_no, { documentId: id, publication, isNew: true }]),
  )
}
