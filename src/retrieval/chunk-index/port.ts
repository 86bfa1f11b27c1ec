import type { ChunkId } from '../../kernel/ids.ts'
import type { Sql } from '../../store/sql.ts'
import type { AccessFilter } from '../access-filter/visible.ts'

/**
 * What finds chunks. Postgres is one (`postgres/`); another search engine is another. It gets lexemes and
 * vectors, and never a text, a title, a name or a permission: the filter says which documents count, not why.
 * It only nominates: the gate decides about each document that it names, and text is read from Postgres.
 *
 * test/contract/chunk-index.ts says in tests what an implementation promises.
 */
export interface ChunkSearch {
  /**
   * The nearest chunks by inner product, best first, ties by chunk id: `limit` of them, or all that there are
   * in the filter. An approximate one may rank a few wrongly, and gives no fewer for it. Rejects rather than
   * give a part. Does NOT check that the vector has length 1.
   */
  nearest(
    vector: Float32Array,
    filter: AccessFilter,
    limit: number,
    options?: SearchOptions,
  ): Promise<readonly FoundChunk[]>
  /**
   * The best chunks by BM25 with these weights, best first, ties by chunk id: `limit` of those in the filter
   * that have one of the lexemes, or all. The same order whatever is stored outside of the filter.
   */
  words(
    query: WordQuery,
    filter: AccessFilter,
    limit: number,
    options?: SearchOptions,
  ): Promise<readonly FoundChunk[]>
}

/**
 * What takes chunks in and out. Visible last in, hidden first out: {@link stage} → tuples → {@link show};
 * {@link hide} → tuples. What is in force is decided by Postgres' commit alone.
 */
export interface ChunkPublisher {
  /**
   * Takes the chunks of publications of different documents in, where no search finds them. Resolves when
   * every copy of the index would find them. Again, it replaces what was staged before; of a publication that
   * was shown it changes nothing.
   */
  stage(publications: readonly StagedPublication[]): Promise<void>
  /**
   * Puts each staged publication in the place of whatever its document had, with the caller's transaction.
   * Resolves with how many chunks each has, in their order. Throws {@link NotFound}, which the transaction
   * must not survive, where one is not staged, or not found on every copy yet. What is shown already stays.
   * The publications are of different documents.
   */
  show(sql: Sql, publications: readonly Publication[]): Promise<readonly number[]>
  /**
   * Takes what the documents have out of every search, with the caller's transaction. The index may forget it
   * later.
   */
  hide(sql: Sql, docNos: readonly number[]): Promise<void>
  /**
   * Drops a staged publication that will not be shown, with the caller's transaction. Leaves one that is
   * shown.
   */
  forget(sql: Sql, publication: Publication): Promise<void>
  /**
   * Numbers of what the index holds, shown or staged, ascending, above `after`: for whoever compares it with
   * Postgres.
   */
  listed(after: number, limit: number): Promise<readonly number[]>
  /** Whether a chunk that is shown of the document has no vector. */
  lacksVector(sql: Sql, docNo: number): Promise<boolean>
}

/** The chunk index as a whole. */
export interface ChunkIndex extends ChunkSearch, ChunkPublisher {}

/** A revision of a document that is brought into force once. */
export interface Publication {
  /** From a sequence: never given again, to no document and to no revision that comes back. */
  readonly number: number
  readonly docNo: number
  readonly revision: number
}

/** A publication with all of its chunks. */
export interface StagedPublication extends Publication {
  readonly chunks: readonly IndexedChunk[]
}

/** What an index knows of a chunk. */
export interface IndexedChunk {
  /** A digest: tells nothing of the document. */
  readonly chunkId: string
  /** Place in its document, from 0. */
  readonly ordinal: number
  /** Of length 1. Undefined where there is no model: only words find the chunk. */
  readonly vector: Float32Array | undefined
  readonly lexemes: readonly LexemeCount[]
}

/** How often a lexeme stands in a chunk, with its title and headings. */
export interface LexemeCount {
  readonly lexeme: string
  readonly count: number
  /** How many of them stand in title and headings. They rank alike: docs/decisions/0005-ranking.md. */
  readonly inTitle: number
}

/** A publication cannot be shown: not every copy of the index would find it. Another try may. */
export class NotFound extends Error {
  /** `publication`: its number. */
  constructor(publication: number) {
    super(`The chunk index would not find publication ${publication}.`)
    this.name = 'NotFound'
  }
}

/** Vectors apart from their publication: where a model comes late, or another takes its place. */
export interface ChunkVectors {
  /**
   * Empties the index of vectors, live or staged, and makes it one of this many numbers each, in the caller's
   * transaction. Takes long where there are many.
   */
  shape(sql: Sql, dimensions: number): Promise<void>
  /** Makes what {@link shape} dropped and searching needs, in the caller's transaction. May take long. */
  finish(sql: Sql): Promise<void>
  /** Numbers in a vector. */
  dimensions(sql: Sql): Promise<number>
  /** Chunks that are shown and that only their words can find. */
  countMissing(sql: Sql): Promise<number>
  /** Ids of such chunks, ascending, above `after`. */
  missing(sql: Sql, after: string, limit: number): Promise<readonly string[]>
  /** Documents and revisions that are staged with a chunk that has no vector. */
  stagedWithout(sql: Sql): Promise<readonly Pick<Publication, 'docNo' | 'revision'>[]>
  /** Gives these chunks their vectors. One that is gone is passed over. */
  put(sql: Sql, chunks: readonly { readonly chunkId: string; readonly vector: Float32Array }[]): Promise<void>
}

/** Counts words for the weights that Remit makes: see {@link WeightedLexeme}. */
export interface WordSampler {
  /**
   * What stands in the next chunks that are shown, by their ids: `limit` of those above `after`, or all that
   * there are. Of one collection's documents, or of all where it is null.
   */
  sample(after: string, limit: number, collection: string | null): Promise<WordSample>
}

/** Some chunks, and how common words are in them. */
export interface WordSample {
  /** In the order of their ids. */
  readonly chunkIds: readonly string[]
  /** In all of them together. */
  readonly words: number
  /** By lexeme, how many of the chunks have it. */
  readonly chunksByLexeme: ReadonlyMap<string, number>
}

/** How one search is done, not what it finds. */
export interface SearchOptions {
  /**
   * Search as if it were for this filter: by the same strategy, in as many statements. What is in the filter
   * itself then tells nothing by how it is searched. Fewer chunks may be found than there are. Default: the
   * filter itself.
   */
  readonly like?: AccessFilter | undefined
  /** Ends a search that waits for another service: it rejects with `deadline_exceeded`. */
  readonly signal?: AbortSignal | undefined
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
 * The lexemes of a question, rarest first, and how a chunk's score is made of them. One that stands `n` times
 * in a chunk of `words` words adds `weight × repetitionMax × n / (n + base + perWord × words)`.
 */
export interface WordQuery {
  readonly lexemes: readonly WeightedLexeme[]
  /** The most that a weight is multiplied by, however often its lexeme stands in a chunk. */
  readonly repetitionMax: number
  readonly base: number
  /** How length dampens repetition where a chunk lies in none of the {@link corpora}. */
  readonly perWord: number
  /**
   * Corpora whose words are counted apart, by the collection that a document is filed in; one with an empty
   * name stands for every document.
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

/**
 * A lexeme with weights that Remit made of a snapshot. An index never weighs by its own counts: those tell
 * what is hidden.
 */
export interface WeightedLexeme {
  readonly lexeme: string
  /** In a chunk that lies in none of the corpora, then in each of {@link WordQuery.corpora}. Above 0. */
  readonly weights: readonly number[]
  /** The most that the lexeme can add to a score. */
  readonly scoreMax: number
  /** Chunks that have it, roughly: says what is cheap to look up, never how to rank. */
  readonly frequency: number
}
