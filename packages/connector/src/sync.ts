import type { Writer } from '@remit/client'
import { compareStored, type Stored } from './compare.ts'
import { itemNow } from './failure.ts'
import { Journal } from './journal.ts'
import { type Change, CursorExpired, type Source } from './source.ts'
import type { SyncState } from './state.ts'
import { type DirectoryReport, DirectorySync } from './sync-directory.ts'
import { type FailedItem, ItemSync } from './sync-items.ts'

/** Options of one sync. */
export interface SyncOptions {
  readonly signal?: AbortSignal
  /** How many tuples of the directory, or changes of items, are dealt with. */
  readonly onProgress?: (step: 'directory' | 'items', doneCount: number) => void
  /**
   * Waited for once memberships, folders and zones are as the source has them, or what rests on them is
   * hidden: at the first time before the items, later after them. Not called where the items were not read to
   * their end.
   */
  readonly onDirectory?: () => Promise<unknown> | undefined
  /** Left out: what the state knows to be written is taken for written. */
  readonly stored?: Stored
}

/** What one sync did. */
export interface SyncReport {
  /**
   * Items that are in Remit as the source has them, those that were before included if the source told them.
   */
  readonly imported: number
  /** Items that did not change, and whose access did: an account became somebody, or is nobody any more. */
  readonly reapplied: number
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
 * Brings into Remit what changed in a source since the last time, first what of the directory takes access
 * away, then what was left unsettled, the changes, and what of the directory gives access. At the first time
 * all of the directory comes first. A page is acknowledged once all of it is in or named; a process that is
 * killed loses nothing, and the next sync goes on from there. One sync of a state at a time, which is not
 * checked.
 *
 * @throws SourceUnavailable, RemitError where one side as a whole does not answer or lets nobody in; the
 * signal's reason. What was done by then counts.
 */
export async function syncOnce(
  source: Source,
  writer: Writer,
  state: SyncState,
  { signal, onProgress, onDirectory = () => undefined, stored }: SyncOptions = {},
): Promise<SyncReport> {
  const journal = await Journal.open(state)
  const told = await source.directory?.(signal)
  if (told !== undefined && stored !== undefined) await compareStored(journal, told, stored)
  const progress = (step: 'directory' | 'items') => (doneCount: number) => onProgress?.(step, doneCount)
  const directory =
    told &&
    new DirectorySync(told, {
      writer,
      journal,
      stored: stored?.on,
      signal,
      onProgress: progress('directory'),
    })
  const itemSync = new ItemSync({
    source,
    writer,
    journal,
    directory,
    signal,
    onProgress: progress('items'),
  })
  const isComplete = await syncAround(source, { directory, itemSync, journal, signal, onDirectory })
  const { imported, reapplied, withdrawn, failed } = itemSync
  return {
    imported,
    reapplied,
    withdrawn,
    failed,
    isComplete,
    ...(directory !== undefined && { directory: directory.report }),
  }
}

interface Parts extends Required<Pick<SyncOptions, 'onDirectory'>> {
  readonly directory: DirectorySync | undefined
  readonly itemSync: ItemSync
  readonly journal: Journal
  readonly signal: AbortSignal | undefined
}

/**
 * What takes access away, the items, and then what gives it. Where nothing is there yet nothing can be given.
 */
async function syncAround(source: Source, parts: Parts): Promise<boolean> {
  const { directory, itemSync, journal, signal, onDirectory } = parts
  const isFirst = journal.memory.known.size === 0
  await forgetOlder(journal)
  await directory?.narrow()
  // Nothing is there that could be read.
  if (isFirst) await directory?.finish(async () => undefined)
  if (isFirst || directory === undefined) await onDirectory()
  await itemSync.reapply()
  const isComplete = await syncItems(source, parts)
  if (directory === undefined || isFirst || !isComplete) return isComplete
  await directory.finish(() => itemSync.hideLate())
  await itemSync.reapply()
  await onDirectory()
  const left = [...itemSync.postponed].filter((id) => journal.memory.unsettled.has(id))
  await retry(source, itemSync, left, signal)
  return isComplete
}

/** A state of an earlier version does not say who may read what it knows: everything is read again. */
async function forgetOlder(journal: Journal): Promise<void> {
  const { cursor, known: knownIds, unsettled, accesses } = journal.memory
  if (cursor !== undefined && [...knownIds].some((id) => !unsettled.has(id) && !accesses.has(id)))
    await journal.write({ cursor: null })
}

async function syncItems(source: Source, { itemSync, journal, signal }: Parts): Promise<boolean> {
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
      changes.push(await itemNow(source, id, signal))
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
