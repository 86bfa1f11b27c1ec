import { setImmediate as giveWay } from 'node:timers/promises'
import {
  type Change,
  type ChangePosition,
  type Fga,
  PositionRefused,
  type StoredTuple,
  tupleId,
} from '../fga.ts'
import type { Mark } from './storage.ts'
import { createTailRescan, farRescan, type Stretch, stretchOf } from './tail-rescan.ts'
import type { Watermarks } from './watermarks.ts'

/** `now` is in milliseconds; `onChanges` gets each slice of changes, in the log's order. */
export interface LogReaderDeps {
  readonly fga: Pick<Fga, 'readChanges'>
  readonly now: () => number
  readonly signal: AbortSignal
  /** Told of changes in the order in which they are to be applied. */
  readonly onChanges: (changes: readonly Change[]) => void
  /** Where the log may be read from a server that lags: then its end is only as far as these tell. */
  readonly watermarks?: Pick<Watermarks, 'seenAt' | 'see' | 'lost'>
  /** Whether an answer waits for a look at the log: what else is to be looked at waits. Default: never. */
  readonly isAwaited?: () => boolean
}

/** The log lacks changes that were read of it: OpenFGA is an older copy of itself. */
export class LogWentBack extends Error {
  constructor() {
    super('OpenFGA lacks changes that it told of')
    this.name = 'LogWentBack'
  }
}

/** Reads OpenFGA's change log. Its calls must not overlap, and throw `LogWentBack` where it is that of an older copy. */
export interface LogReader {
  readonly mark: Mark | undefined
  /** All that OpenFGA held at this time is in. */
  readonly tailReadAt: number | undefined
  /** When the last page began to be read after which nothing came. */
  readonly endReadAt: number | undefined
  /** How often so far there was more to look for than there was time: each time all tuples are due to be compared. */
  readonly unseen: number
  /** Goes on from here; `isOld`: what came late since it was stored has still to be looked for. */
  start(mark: Mark, options: { readonly isOld: boolean }): void
  setReconciled(at: number): void
  /** Reads on to the end of the log. */
  readOn(): Promise<void>
  /** Looks for what came late, for a moment: what is not looked at now is at the next call. */
  rescanTail(): Promise<void>
  /**
   * Reads on to the end of the log and, within a second of the last change, once more what was read last, which may just have
   * got company: then all is told of that was committed when this was called, but for what came behind a hundred changes that
   * were stamped later, or more than a second after one. One page, where nothing came.
   */
  settle(): Promise<void>
  /** Reads what came after another mark, and late ones before it, to the end. Gives the tuples concerned. */
  readFrom(mark: Mark): Promise<readonly StoredTuple[]>
  reset(): void
}

// How far a clock of OpenFGA may be behind ours.
const skewMs = 3_600_000
// So many at once keep a question waiting for a millisecond or two.
const sliceSize = 200

/** Reads OpenFGA's change log on from a mark, and the tail again for late commits. */
export function createLogReader(dependencies: LogReaderDeps): LogReader {
  const { fga, now, signal, onChanges, watermarks, isAwaited = () => false } = dependencies
  const past = createTailRescan({ fga, now, signal, onUnseen, isAwaited })
  let mark: Mark | undefined
  let tailReadAt: number | undefined
  let endReadAt: number | undefined
  let unseen = 0
  // What may have come late while nobody looked is before this.
  let lateBefore: number | undefined

  function onUnseen(): void {
    unseen += 1
    setReconciled(0)
  }

  function setReconciled(timeMs: number): void {
    if (mark !== undefined) mark = { ...mark, reconciledAt: timeMs }
  }

  function advance({ to: endPosition, lastAt }: Stretch): void {
    if (mark === undefined) return
    const lastChangeAt = Math.max(mark.lastChangeAt ?? 0, lastAt)
    mark = { ...mark, position: endPosition, lastChangeAt }
    past.heard(lastChangeAt)
  }

  /** In order and page by page: each state on the way was one of OpenFGA's. */
  async function readTail(startMark: Mark): Promise<void> {
    let { position } = startMark
    for (;;) {
      const beganAt = now()
      const page = await fga.readChanges(position, { signal })
      watermarks?.see(page.changes)
      onChanges(page.changes)
      if (page.changes.length > 0) {
        const stretch = stretchOf(position, page, beganAt)
        past.add(stretch)
        advance(stretch)
      }
      position = page.position
      if (!page.isEnd) continue
      return reachEnd(beganAt)
    }
  }

  function reachEnd(timeMs: number): void {
    endReadAt = timeMs
    tailReadAt = watermarks === undefined ? timeMs : watermarks.seenAt
  }

  /**
   * To the end and only then applied, each tuple's last change: what is held already must not go back and forth. undefined: what
   * answered lags, and nothing of it was taken.
   */
  async function readAgain(position: ChangePosition): Promise<readonly StoredTuple[] | undefined> {
    const lastByKey = new Map<string, Change>()
    const read: Stretch[] = []
    for (let readPosition = position, isEnd = false; !isEnd; ) {
      const beganAt = now()
      const page = await fga.readChanges(readPosition, { signal })
      for (const change of page.changes) {
        const id = tupleId(change.tuple)
        lastByKey.delete(id)
        lastByKey.set(id, change)
      }
      if (page.changes.length > 0) read.push(stretchOf(readPosition, page, beganAt))
      readPosition = page.position
      isEnd = page.isEnd
    }
    // What is in the log stays there: what was read is older than what is held.
    const count = read.reduce((sum, stretch) => sum + stretch.count, 0)
    const lastAt = read.reduce((latest, stretch) => Math.max(latest, stretch.lastAt), 0)
    if (count < past.countFrom(position) || (lateBefore !== undefined && lastAt < lateBefore)) {
      if (watermarks === undefined) throw new LogWentBack()
      // Or a server answered that lags.
      watermarks.lost()
      tailReadAt = undefined
      return undefined
    }
    const changes = [...lastByKey.values()]
    watermarks?.see(changes)
    for (let offset = 0; offset < changes.length; offset += sliceSize) {
      if (offset > 0) await giveWay()
      onChanges(changes.slice(offset, offset + sliceSize))
    }
    // Only now: what failed before this is still due.
    past.replace(position, read)
    const lastStretch = read.at(-1)
    if (lastStretch !== undefined && lastStretch.to.after !== mark?.position.after) advance(lastStretch)
    return changes.map(({ tuple }) => tuple)
  }

  return {
    get mark() {
      return mark
    },
    get tailReadAt() {
      return tailReadAt
    },
    get endReadAt() {
      return endReadAt
    },
    get unseen() {
      return unseen
    },
    start(startMark, { isOld }) {
      mark = startMark
      lateBefore = isOld ? startMark.lastChangeAt : undefined
      past.clear()
      // Whoever stored it may have stopped a moment ago: what it had just read may still get company.
      if (lateBefore !== undefined) past.heard(lateBefore)
    },
    setReconciled,
    async readOn() {
      if (mark === undefined) throw new Error('nothing to go on from')
      await readTail(mark)
      if (lateBefore === undefined) return
      // From before where it began: the mark has moved on meanwhile, by as long as nothing ran.
      const changed = await readAgain({ startTime: lateBefore - farRescan.spanMs })
      if (changed !== undefined) lateBefore = undefined
    },
    async rescanTail() {
      const lateChanges = await past.rescan()
      if (lateChanges !== undefined) await readAgain(lateChanges)
    },
    async settle() {
      if (mark === undefined) throw new Error('nothing to go on from')
      const beganAt = now()
      if (await past.isStill()) return reachEnd(beganAt)
      const [lateChanges] = await Promise.all([past.rescanNewest(), readTail(mark)])
      if (lateChanges !== undefined) await readAgain(lateChanges)
    },
    async readFrom(otherMark) {
      const changed = await readAgain(
        otherMark.lastChangeAt === undefined
          ? otherMark.position
          : { startTime: otherMark.lastChangeAt - farRescan.spanMs },
      )
      if (changed === undefined) throw new Error('the log was read from a server that lags')
      return changed
    },
    reset() {
      mark = undefined
      tailReadAt = undefined
      endReadAt = undefined
      watermarks?.lost()
      past.clear()
    },
  }
}

/** A place of the log before now, for whoever reads all tuples next: what changes meanwhile comes after it. */
export async function positionBeforeNow(
  fga: Pick<Fga, 'readChanges'>,
  now: number,
  signal: AbortSignal,
): Promise<ChangePosition> {
  const position = { startTime: now - skewMs }
  try {
    await fga.readChanges(position, { signal })
    return position
  } catch (error) {
    // By OpenFGA's clock that is in the future: read the log from its beginning instead.
    if (error instanceof PositionRefused) return {}
    throw error
  }
}
