import type { Writer } from '@remit/client'
import { compareStored, type Stored } from './compare.ts'
import { itemsNow } from './failure.ts'
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
  /** Milliseconds of any clock that does not go back. Default: this process's. */
  readonly now?: () => number
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
 * away, then what was left unsettled, the changes, and what of the directory gives access. What takes away
 * and gives at once comes with that; the items that it touches are hidden meanwhile where it takes longer
 * than ten seconds, or everything is read. At the first time all of the directory comes first. A page is
 * acknowledged once all of it is in or named; a process that is killed loses nothing, and the next sync goes
 * on from there. One sync of a state at a time, which is not checked.
 *
 * @throws SourceUnavailable, RemitError where one side as a whole does not answer or lets nobody in; the
 * signal's reason. What was done by then counts.
 */
export async function syncOnce(
  source: Source,
  writer: Writer,
  state: SyncState,
  {
    signal,
    onProgress,
    onDirectory = () => undefined,
    stored,
    now = () => performance.now(),
  }: SyncOptions = {},
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
    now,
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
  await itemSync.meanwhile(itemSync.reapply())
  // A reading of everything takes long, or was cut before; it loads what is hidden anyway.
  if (!isFirst && journal.memory.cursor === undefined) await itemSync.hideLate()
  const isComplete = await itemsOrHidden(source, parts, isFirst)
  if (directory === undefined || isFirst || !isComplete) return isComplete
  await directory.finish(() => itemSync.hideLate())
  await itemSync.reapply()
  await onDirectory()
  const left = [...itemSync.postponed].filter((id) => journal.memory.unsettled.has(id))
  await retry(source, itemSync, left, signal)
  return isComplete
}

/** What the directory was to take away after the items does not wait for a reading that comes to its end. */
async function itemsOrHidden(source: Source, parts: Parts, isFirst: boolean): Promise<boolean> {
  try {
    const isComplete = await syncItems(source, parts)
    if (!isComplete && !isFirst) await parts.itemSync.hideLate()
    return isComplete
  } catch (error) {
    if (!isFirst) await parts.itemSync.hideLate().catch(() => undefined)
    throw error
  }
}

/** A state of an earlier version does not say who may read what it knows: everything is read again. */
async function forgetOlder(journal: Journal): Promise<void> {
  const { cursor, known: knownIds, unsettled, accesses } = journal.memory
  if (cursor !== undefined && [...knownIds].some((id) => !unsettled.has(id) && !accesses.has(id)))
    await journal.write({ cursor: null, crawlCursor: null })
}

// Of what was left unsettled. More waits: the source may tell it by itself, and has what takes access away.
const retriedFirstMax = 100

async function syncItems(source: Source, parts: Parts): Promise<boolean> {
  const { itemSync, signal } = parts
  if (itemSync.untried.size <= retriedFirstMax) await retry(source, itemSync, [...itemSync.untried], signal)
  const isComplete = await syncChangesAnew(source, parts)
  await retry(source, itemSync, [...itemSync.untried], signal)
  return isComplete
}

async function syncChangesAnew(source: Source, parts: Parts): Promise<boolean> {
  const { journal, itemSync } = parts
  try {
    return await syncChanges(source, parts)
  } catch (error) {
    const { cursor, crawlCursor } = journal.memory
    if (!(error instanceof CursorExpired) || (cursor ?? crawlCursor) === undefined) throw error
    await journal.write({ cursor: null, crawlCursor: null })
    await itemSync.hideLate()
    return await syncChanges(source, parts)
  }
}

/** Brings each as it is now. */
async function retry(
  source: Source,
  itemSync: ItemSync,
  unsettled: readonly string[],
  signal: AbortSignal | undefined,
): Promise<void> {
  let changes: Change[] = []
  for await (const change of itemSync.each(itemsNow(source, unsettled, signal))) {
    changes.push(change)
    if (changes.length < retriesAtOnce) continue
    await itemSync.bring(changes)
    changes = []
  }
  await itemSync.bring(changes)
}

// Few: what is not in when the process is killed is asked for again.
const retriesAtOnce = 25

/**
 * Whether the source said that it was all. A reading of everything goes on where one before was killed: what
 * it told by then counts. One that ends without the end mark begins anew: its last page may be the one that
 * was cut.
 */
async function syncChanges(source: Source, { itemSync, journal, signal }: Parts): Promise<boolean> {
  const { cursor, crawlCursor } = journal.memory
  const isCrawl = cursor === undefined
  for await (const page of itemSync.each(source.changes(cursor ?? crawlCursor, signal))) {
    signal?.throwIfAborted()
    const changes = page.changes.flatMap((change) => covered(change, journal.memory.known))
    await itemSync.bring(changes)
    await itemSync.hideOverdue()
    // What is told as gone is not there: if it comes back, it has to be told again.
    const told = changes.flatMap(({ kind, id }) => (kind === 'deleted' ? [] : (id ?? [])))
    if (page.isLast) {
      if (isCrawl) await withdrawUntold(itemSync, journal, told)
      await journal.write({ cursor: page.cursor, ...(isCrawl && { crawlCursor: null }) })
      return true
    }
    // With the cursor: a page that is told again may lack what it told before.
    await journal.write(isCrawl ? { crawlCursor: page.cursor, told } : { cursor: page.cursor })
  }
  if (isCrawl) await journal.write({ crawlCursor: null })
  return false
}

/** Of a part that could not be listed: each item of it that is known, or the part where none is. */
function covered(change: Change, known: ReadonlySet<string>): readonly Change[] {
  if (change.kind !== 'broken' || change.covers === undefined) return [change]
  const ids = [...known].filter(change.covers)
  const { problem } = change
  return ids.length === 0 ? [change] : ids.map((id) => ({ kind: 'broken', id, name: id, problem }))
}

/** What a reading of everything did not tell, on its last page either, is gone. */
async function withdrawUntold(
  itemSync: ItemSync,
  { memory }: Journal,
  lastIds: readonly string[],
): Promise<void> {
  const told = new Set([...memory.told, ...lastIds])
  for (const id of [...memory.known].filter((known) => !told.has(known))) await itemSync.withdraw(id)
}
