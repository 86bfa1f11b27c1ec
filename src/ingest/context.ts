import type { RecordActor } from '../audit/record.ts'
import type { AllowList } from '../authz/allow-list/allow-list.ts'
import type { Fga } from '../authz/fga.ts'
import type { Queue } from '../jobs/queue.ts'
import type { Background } from '../kernel/background.ts'
import type { Clock } from '../kernel/clock.ts'
import type { Log } from '../kernel/log.ts'
import type { Principal } from '../kernel/principal.ts'
import type { ChunkPublisher } from '../retrieval/chunk-index/port.ts'
import type { Database, Sql } from '../store/sql.ts'
import type { Chunk } from './chunk.ts'
import type { CrashCounts } from './crash-counts.ts'
import type { Failures } from './failures.ts'
import type { Locks } from './locks.ts'
import type { ReadBudget } from './read-budget.ts'
import type { Effects } from './reconcile-tuples.ts'
import type { SharedLock } from './shared-lock.ts'

/** A document's text and its chunks. */
export interface Prepared {
  readonly text: string
  readonly chunks: readonly Chunk[]
}

/** The content that came in, before it is parsed. */
export interface Content {
  readonly mimeType: string
  readonly bytes: Uint8Array
  readonly title: string
  /** The service that sent it: what one sends does not keep what others send from being read. */
  readonly source: string
}

/**
 * Parses and chunks. Throws {@link ParseError} for what no other try can read, and the signal's reason once
 * it fires: then nothing of it is read any more.
 */
export type Prepare = (content: Content, signal?: AbortSignal) => Promise<Prepared>

/** Passages to vectors of length 1. */
export type EmbedPassages = (
  texts: readonly string[],
  options: { readonly signal: AbortSignal; readonly countTokens: (text: string) => number },
) => Promise<Float32Array[]>

/** Moments of a document's way in at which a crash is tried out. */
export type Step =
  | 'accepted'
  | 'narrowed'
  | 'prepared'
  | 'embedded'
  | 'staged'
  | 'hidden'
  | 'tuples'
  | 'published'
  | 'withdrawn'

/** Bounds of ingestion. */
export interface IngestLimits {
  /** Characters of an NDJSON line in bytes. Defaults to 20 MB. */
  readonly lineBytesMax: number
  /** Lines of one import. Defaults to 1,000,000. */
  readonly linesMax: number
}

/** What every part of ingestion works with. */
export interface IngestContext {
  readonly database: Database
  readonly fga: Fga
  /** Who may write which tuples under the model in force; throws where nobody may. */
  readonly allowList: () => AllowList
  /** What these usersets do by the model in force; throws where nobody knows. */
  readonly effectsOf: (usersets: readonly string[], sql?: Sql) => Promise<Effects>
  /** Looks anew, and throws where the database or OpenFGA is an older copy of itself. */
  readonly assertSound: () => Promise<void>
  readonly queue: Queue
  readonly documentLocks: Locks
  /** Left out: keyword mode, chunks have no vectors. */
  readonly embed: EmbedPassages | undefined
  readonly prepare: Prepare
  readonly clock: Clock
  /** A fresh opaque id, not guessable. */
  readonly newId: () => string
  readonly limits: IngestLimits
  readonly log: Log
  /**
   * Told how many objects a comparison with OpenFGA mended: each differed, and was not marked for a change of
   * ours that has not ended.
   */
  readonly onDrift: (objects: number) => void
  /** Told how many documents that waited came to an end: published, refused for their content, overtaken. */
  readonly onEnded: (documents: number) => void
  readonly failures: Failures
  readonly crashCounts: CrashCounts
  /** Of this process: one that ended is no witness of what others were at. */
  readonly sharedLock: SharedLock
  /** Of this process: what its batches may hold in memory together. */
  readonly readBudget: ReadBudget
  /**
   * Runs what writes or reads many rows or tuples, and waits for nobody's lock. More at a time would make
   * none faster, and take processors from who asks; a batch that a person waits for goes first. `patience`:
   * of a request, which is no background work itself.
   */
  readonly fewAtATime: <T>(work: () => Promise<T>, patience?: Background) => Promise<T>
  /**
   * Resolves once nobody waits for their turn to be answered, or after ten seconds: imports come after
   * questions, and come to their end all the same. For whoever holds no lock.
   */
  readonly whenCalm: (signal: AbortSignal) => Promise<void>
  /** Milliseconds between two signs of life of an import that comes in. */
  readonly beatMs: number
  /** Called after each step; a throw there is a crash. Tests only. */
  readonly step: (step: Step, documentId: string) => Promise<void>
  /**
   * Tells whoever holds the corpus in memory, after the commit, that these documents came or went. Never
   * rejects. Waited for before anybody hears of it: who was told that a document is there finds it.
   */
  readonly corpusChanged: (docNos: readonly number[]) => Promise<void>
  /** What finds the passages: it takes them in hidden, shows and hides them. */
  readonly index: ChunkPublisher
  /** Tells who waits for a job that something of it ended. */
  readonly jobChanged: (jobId: string) => void
}

/** A service that writes: its principal, from a verified token. */
export type Writer = Pick<Principal, 'subject' | 'actors' | 'client' | 'txn'> &
  Pick<RecordActor, 'over'> & {
    /**
     * Runs in every transaction that changes something for it, and throws where it may write no more. For
     * one that holds a lease: a process may stand still between any two statements.
     */
    readonly assertCurrent?: (sql: Sql) => Promise<void>
  }
