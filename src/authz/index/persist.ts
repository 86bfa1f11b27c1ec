import { type StoredTuple, tupleId } from '../fga.ts'
import type { Effect } from './replica.ts'
import type { Mark, Storage, Stored } from './storage.ts'

/** Keeps the stored rows behind the memory, in bulk and in the background. */
export interface Persistence {
  /** The rows as they were loaded at this version are what the memory began with. */
  loaded(version: number): void
  note(effects: readonly Effect[]): void
  /** Stores what was noted, with the mark that it reaches. Rejects when the database fails: nothing is lost by it. */
  save(snapshot: Snapshot): Promise<void>
}

/** What the memory holds at the moment of a save. */
export interface Snapshot {
  mark(): Mark
  /** All tuples, for the first filling. */
  all(): Iterable<StoredTuple>
  /** The tuple of this key now; undefined where there is none. */
  get(tuple: StoredTuple): StoredTuple | undefined
  /** Keys of all that changed since a mark, after bringing the memory to at least where they end. */
  changedSince(mark: Mark): Promise<readonly StoredTuple[]>
}

// What a page takes to send keeps a question waiting: 1 ms for so many, 10 to 25 for five times as many.
const rowsMax = 1_000

/** `anew`: what is stored is of no use and is replaced as soon as can be. */
export function createPersistence(storage: Storage, { anew = false } = {}): Persistence {
  let mustFill = anew
  let dirty = new Map<string, StoredTuple>()
  // undefined: somebody else writes, or nobody has begun.
  let version: number | undefined
  let stored: Mark | undefined

  function note(tuples: Iterable<StoredTuple>): void {
    for (const tuple of tuples) dirty.set(tupleId(tuple), tuple)
  }

  /** Rows first, the mark with the last of them: a crash between leaves rows that are newer than the mark. */
  async function write(tuples: Iterable<StoredTuple>, snapshot: Snapshot, mark: Mark): Promise<void> {
    for (const [page, isLast] of pagesOf(tuples)) {
      if (version === undefined) return
      const pageEntries = page.map((tuple) => [tuple, snapshot.get(tuple)] as const)
      version = await storage.save({
        version,
        puts: pageEntries.flatMap(([, now]) => now ?? []),
        removes: pageEntries.filter(([, now]) => now === undefined).map(([tuple]) => tuple),
        ...(isLast && { mark }),
      })
    }
    if (version !== undefined) stored = mark
  }

  async function writeDirty(snapshot: Snapshot): Promise<void> {
    const mark = snapshot.mark()
    if (dirty.size === 0 && stored === mark) return
    const dirtyNow = dirty
    dirty = new Map()
    try {
      await write(dirtyNow.values(), snapshot, mark)
    } catch (error) {
      dirty = new Map([...dirtyNow, ...dirty])
      throw error
    }
  }

  /** Whoever wrote is gone, or nobody ever did. */
  async function takeOver(snapshot: Snapshot, found: Partial<Stored> | undefined): Promise<void> {
    if (!mustFill && found?.mark !== undefined && found.version !== undefined) {
      note(await snapshot.changedSince(found.mark))
      version = found.version
      return
    }
    version = await storage.begin()
    mustFill = false
    dirty.clear()
    const mark = snapshot.mark()
    await write(snapshot.all(), snapshot, mark)
  }

  return {
    loaded(position) {
      version = position
    },
    note: (effects) => note(effects.map(({ tuple }) => tuple)),
    async save(snapshot) {
      if (version !== undefined) await writeDirty(snapshot)
      if (version !== undefined) return
      const found = await storage.peek()
      // Another process writes: it sees the same log, and what it stores serves us as well.
      if (!mustFill && found !== undefined && !found.isQuiet) {
        dirty.clear()
        return
      }
      await takeOver(snapshot, found)
      await writeDirty(snapshot)
    },
  }
}

/** At least one, which may be empty; made as they are asked for. */
function* pagesOf(tuples: Iterable<StoredTuple>): Generator<readonly [page: StoredTuple[], isLast: boolean]> {
  let page: StoredTuple[] = []
  for (const tuple of tuples) {
    if (page.length === rowsMax) {
      yield [page, false]
      page = []
    }
    page.push(tuple)
  }
  yield [page, true]
}
