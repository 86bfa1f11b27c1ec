import { ownElapsed } from '../../kernel/elapsed.ts'
import { createFollower } from '../../kernel/follower.ts'
import type { Log } from '../../kernel/log.ts'
import { reasonOf } from '../../kernel/reason.ts'
import type { Database } from '../../store/sql.ts'
import { type DocumentRow, type Documents, DocumentTable } from './documents.ts'
import { type CorpusMark, documentsTable, follows, readChanged, readPages, readThese } from './read.ts'

/**
 * The corpus in memory: which documents are live, where they are filed and how many chunks they have. It only
 * nominates and counts: one that is missing is not found for as long as it is, one too many finds nothing in
 * the database.
 */
export interface Corpus extends AsyncDisposable {
  /** undefined while it is not read yet, or nothing was heard for `staleAfterMs`: ask the database. */
  current(): Documents | undefined
  /** The same however old, for what does not mind: undefined only before all was read once. */
  lastKnown(): Documents | undefined
  /**
   * Called after each change with the numbers of the documents concerned, also while all are read. Must not
   * throw.
   */
  onChange(listener: CorpusListener): void
  /**
   * Called when this is not the database any more that was read, or its server began anew: it may lack what
   * was seen, and give the numbers of those transactions again. What is kept by snapshots of it is to be
   * dropped. Must not throw.
   */
  onReplaced(listener: () => void): void
  /**
   * This process committed something about these. Resolves when it is in; where it cannot be read now, it is
   * later.
   */
  changed(docNos: readonly number[]): Promise<void>
  /** Reads now what any process committed before this call. Rejects when it cannot be had. */
  refresh(): Promise<void>
}

/** Called with the numbers of documents that came, went or moved. Must not throw. */
export type CorpusListener = (docNos: readonly number[], documents: Documents) => void

/** The database, and a log for a database that went back. */
export interface CorpusDeps {
  readonly database: Database
  readonly log: Log
  /** Milliseconds between two looks at what other processes did. Default 500. */
  readonly pollMs?: number
  /** Default 2 s. */
  readonly staleAfterMs?: number
  /** Milliseconds between two times at which everything is read again. Default an hour. */
  readonly reloadMs?: number
  /**
   * For how many milliseconds what came into force counts as new: as long as OpenFGA's caches may lag.
   * Default an hour, the longest.
   */
  readonly newForMs?: number
  /** For ages, in milliseconds. Default: this process's (kernel/elapsed.ts). */
  readonly elapsed?: () => number
}

const pageSize = 10_000

/** Reads the corpus in the background, and follows it. */
export function createCorpus(dependencies: CorpusDeps): Corpus {
  const { database, log, pollMs = 500, staleAfterMs = 2_000, reloadMs = 3_600_000 } = dependencies
  const { elapsed = ownElapsed, newForMs = 3_600_000 } = dependencies
  // What is new for OpenFGA's caches gets old late: nothing of theirs does where our clock is set forward.
  const table = new DocumentTable({ newForMs, elapsed: () => performance.now() })
  const listeners: CorpusListener[] = []
  const replacedListeners: (() => void)[] = []
  let lastSeen: CorpusMark | undefined
  let loadedAt = Number.NEGATIVE_INFINITY

  function tell(docNos: readonly number[]): void {
    if (docNos.length > 0) for (const listener of listeners) listener(docNos, table)
  }

  const take = (rows: readonly DocumentRow[]): void =>
    tell(rows.filter((row) => table.put(row)).map(({ docNo }) => docNo))

  async function load(): Promise<void> {
    const found = new Set<number>()
    const now = await readPages<DocumentRow>(database, documentsTable, pageSize, (rows) => {
      for (const { docNo } of rows) found.add(docNo)
      take(rows)
    })
    tell(table.keepOnly(found))
    table.allRead()
    const seenBefore = lastSeen
    lastSeen = now
    if (seenBefore === undefined || follows(now, seenBefore)) return
    log(now.end < seenBefore.end ? 'corpus_went_back' : 'corpus_server_changed')
    for (const listener of replacedListeners) listener()
  }

  async function read(): Promise<void> {
    const beganAt = elapsed()
    if (lastSeen === undefined || beganAt - loadedAt > reloadMs) {
      await load()
      loadedAt = beganAt
    } else {
      const { rows, seen: now } = await readChanged<DocumentRow>(database, documentsTable, lastSeen)
      if (follows(now, lastSeen)) {
        take(rows)
        lastSeen = now
      } else await load()
    }
  }

  const follower = createFollower({
    read,
    pollMs,
    elapsed,
    onFailed(error, failures) {
      if (failures === 1) log('corpus_unheard', { reason: reasonOf(error) })
    },
    onRecovered: () => log('corpus_heard'),
  })
  follower.start(0)
  return {
    current: () => (lastSeen !== undefined && follower.isFresh(staleAfterMs) ? table : undefined),
    lastKnown: () => (lastSeen === undefined ? undefined : table),
    onChange(listener) {
      listeners.push(listener)
    },
    onReplaced(listener) {
      replacedListeners.push(listener)
    },
    async changed(docNos) {
      try {
        await follower.run(async () => take(await readThese(database, docNos)))
      } catch (error) {
        // Committed all the same: the next look finds it.
        log('corpus_behind', { reason: reasonOf(error) })
      }
    },
    refresh: follower.refresh,
    [Symbol.asyncDispose]: () => follower[Symbol.asyncDispose](),
  }
}
