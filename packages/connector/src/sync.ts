import type { Writer } from '@remit/client'
import { Journal } from './journal.ts'
import { type Change, CursorExpired, type Source } from './source.ts'
import type { SyncState } from './state.ts'
import { type DirectoryReport, syncDirectory } from './sync-directory.ts'
import { type FailedItem, ItemSync } from './sync-items.ts'

/** Options of one sync. */
export interface SyncOptions {
  readonly signal?: AbortSignal
  /** How many tuples of the directory, or changes of items, are dealt with. */
  readonly onProgress?: (step: 'directory' | 'items', doneCount: number) => void
}

/** What one sync did. */
export interface SyncReport {
  /**
   * Items that are in Remit as the source has them, those that were before included if the source told them.
   */
  readonly imported: number
  readonly withdrawn: number
  /**
   * Items that nobody reads until they can be brought, each with its reason. They are tried again at the next
   * sync.
   */
  readonly failed: readonly FailedItem[]
  /** Left out: the source has none. */
  readonly directory?: DirectoryReport
  /** False: the source ended without its end mark. What it did not tell was not withdrawn. */
  readonly isComplete: boolean
}

/**
 * Brings into Remit what changed in a source since the last time, first the directory, then what was left
 * unsettled, then the changes. A page is acknowledged once all of it is in or named; a process that is killed
 * loses nothing, and the next sync goes on from there. One sync of a state at a time, which is not checked.
 *
 * @throws SourceUnavailable, RemitError where one side as a whole does not answer or lets nobody in; the
 * signal's reason. What was done by then counts.
 */
export async function syncOnce(
  source: Source,
  writer: Writer,
  state: SyncState,
  { signal, onProgress }: SyncOptions = {},
): Promise<SyncReport> {
  const journal = await Journal.open(state)
  const directory = await source.directory?.(signal)
  const directoryReport =
    directory &&
    (await syncDirectory(directory, {
      writer,
      journal,
      signal,
      onProgress: (doneCount) => onProgress?.('directory', doneCount),
    }))
  const itemSync = new ItemSync({
    source,
    writer,
    journal,
    signal,
    onProgress: (doneCount) => onProgress?.('items', doneCount),
  })
  const isComplete = await syncItems(source, itemSync, journal, signal)
  const { imported, withdrawn, failed } = itemSync
  return {
    imported,
    withdrawn,
    failed,
    isComplete,
    ...(directoryReport !== undefined && { directory: directoryReport }),
  }
}

async function syncItems(
  source: Source,
  itemSync: ItemSync,
  journal: Journal,
  signal: AbortSignal | undefined,
): Promise<boolean> {
  await retry(source, itemSync, [...journal.memory.unsettled], signal)
  try {
    return await syncChanges(source, itemSync, journal, signal)
  } catch (error) {
    if (!(error instanceof CursorExpired) || journal.memory.cursor === undefined) throw error
    await journal.write({ cursor: null })
    return await syncChanges(source, itemSync, journal, signal)
  }
}

const retriesAtOnce = 100

/** Brings each as it is now. */
async function retry(
  source: Source,
  itemSync: ItemSync,
  unsettled: readonly string[],
  signal: AbortSignal | undefined,
): Promise<void> {
  for (let offset = 0; offset < unsettled.length; offset += retriesAtOnce) {
    const changes: Change[] = []
    // One after the other: a source that counts requests is asked no faster than by a crawl.
    for (const id of unsettled.slice(offset, offset + retriesAtOnce))
      changes.push(await source.item(id, signal))
    await itemSync.bring(changes)
  }
}

/** Whether the source said that it was all. */
async function syncChanges(
  source: Source,
  itemSync: ItemSync,
  journal: Journal,
  signal: AbortSignal | undefined,
): Promise<boolean> {
  const { cursor, known: knownIds } = journal.memory
  const isCrawl = cursor === undefined
  // What of these is not told is gone. A crawl that is cut short begins anew, since it forgets what it has
  // told.
  const untold = new Set(isCrawl ? knownIds : [])
  const mayResume = untold.size === 0
  for await (const page of source.changes(cursor, signal)) {
    signal?.throwIfAborted()
    for (const { id } of page.changes) if (id !== undefined) untold.delete(id)
    await itemSync.bring(page.changes)
    if (page.isLast) for (const id of untold) await itemSync.withdraw(id)
    if (page.isLast || mayResume) await journal.write({ cursor: page.cursor })
    if (page.isLast) return true
  }
  return false
}
