import type { ChunkId } from '../../kernel/ids.ts'
import type { AccessFilter } from '../access-filter/visible.ts'

/**
 * What finds chunks. Postgres is one (`postgres/`); another search engine is another. It gets lexemes and vectors, and
 * never a text, a title, a name or a permission: the filter says which documents count, not why. It only nominates:
 * the gate decides about each document that it names, and text is read from Postgres.
 *
 * test/contract/chunk-index.ts says in tests what an implementation promises.
 */
export interface ChunkSearch {
  /**
   * The nearest chunks by inner product, best first, ties by chunk id: `limit` of them, or all that there are in the
   * filter. An approximate one may rank a few wrongly, and gives no fewer for it. Rejects rather than give a part.
   * Does NOT check that the vector has length 1.
   */
  nearest(
    vector: Float32Array,
    filter: AccessFilter,
    limit: number,
    options?: SearchOptions,
  ): Promise<readonly FoundChunk[]>
  /**
   * The best chunks by BM25 with these weights, best first, ties by chunk id: `limit` of those in the filter that have
   * one of the lexemes, or all. The same order whatever is stored outside of the filter.
   */
  words(
    query: WordQuery,
    filter: AccessFilter,
    limit: number,
    options?: SearchOptions,
  ): Promise<readonly FoundChunk[]>
}

/** How one search is done, not what it finds. */
export interface SearchOptions {
  /**
   * Search as if it were for this filter: by the same strategy, in as many statements. What is in the filter itself then
   * tells nothing by how it is searched. Fewer chunks may be found than there are. Default: the filter itself.
   */
  readonly like?: AccessFilter
}

/** A chunk by its ids. The document is one of the filter's. */
export interface FoundChunk {
  readonly chunkId: ChunkId
  readonly docNo: number
  /** Place of the chunk in its document, from 0. */
  readonly ordinal: number
  /** Higher is better; comparable within one list only. */
  readonly score: number
}

/**
 * The lexemes of a question, rarest first, and how a chunk's score is made of them. One that stands `n` times in a chunk
 * of `words` words adds `weight × repetitionMax × n / (n + base + perWord × words)`.
 */
export interface WordQuery {
  readonly lexemes: readonly WeightedLexeme[]
  /** The most that a weight is multiplied by, however often its lexeme stands in a chunk. */
  readonly repetitionMax: number
  readonly base: number
  /** How length dampens repetition where a chunk lies in none of the {@link corpora}. */
  readonly perWord: number
  /**
   * Corpora whose words are counted apart, by the collection that a document is filed in; one with an empty name stands
   * for every document.
   */
  readonly corpora: readonly WordCorpus[]
}

/** A corpus as the snapshot that the weights come from knew it. */
export interface WordCorpus {
  readonly collection: string
  /** Chunks in it, roughly. */
  readonly chunks: number
  /** As {@link WordQuery.perWord}, in this corpus. */
  readonly perWord: number
}

/** A lexeme with weights that Remit made of a snapshot. An index never weighs by its own counts: those tell what is hidden. */
export interface WeightedLexeme {
  readonly lexeme: string
  /** In a chunk that lies in none of the corpora, then in each of {@link WordQuery.corpora}. Above 0. */
  readonly weights: readonly number[]
  /** The most that the lexeme can add to a score. */
  readonly scoreMax: number
  /** Chunks that have it, roughly: says what is cheap to look up, never how to rank. */
  readonly frequency: number
}
