import { isWithin } from '../../kernel/occasional.ts'
import type { Change, Fga, Tuple } from '../fga.ts'

/**
 * How far a log was read that may come from a server that lags: OpenFGA sends reads of its log to a secondary of its
 * database, whatever consistency is asked. Marks of this process's own go through the primary; once the log tells of one, it
 * has told of everything that was committed before that began to be written.
 */
export interface Watermarks extends AsyncDisposable {
  /** By our clock: when the newest mark began to be written that the log told of. */
  readonly seenAt: number | undefined
  /** What the log tells, in its order. */
  see(changes: readonly Change[]): void
  /** A read lacked what another had: only marks that begin to be written from now on count. */
  lost(): void
  /** Somebody asks: marks are written for a minute. */
  wake(): void
  /** Takes away those that processes left behind which are gone. */
  sweep(objects: readonly StoredMark[]): Promise<void>
}

/** A watermark as a read of OpenFGA gives it; `writtenAt` is in milliseconds. */
export interface StoredMark {
  readonly user: string
  readonly relation: string
  readonly object: string
  readonly writtenAt: number
}

/** `id` is this process's own; a mark is written every `everyMs`, 300 by default. */
export interface WatermarkDeps {
  readonly fga: Pick<Fga, 'write'>
  readonly now: () => number
  /** Of this process, and of no other that ever was. */
  readonly id: string
  /** Called when one is in: it can be read now. */
  readonly onWritten: () => void
  readonly onError: (error: unknown) => void
  /** Milliseconds between two. Default 300: when it is looked at, the newest must be younger than a second. */
  readonly everyMs?: number
}

// What stands in OpenFGA's log stays there: nothing is written while nobody asks.
const awakeMs = 60_000
// A process that lives and is asked has none that is older than a second; one that is not asked loses nothing with it.
const leftMs = 3_600_000

interface State {
  /** Numbers the marks of this process. */
  turn: number
  /** The one that is stored: it is written and then taken away, so that no more than one is, and the log grows by a row each time. */
  current: Tuple | undefined
  /** Of failed writes, which may be stored all the same: taken away with the next. */
  left: Tuple[]
  seenAt: number | undefined
  askedAt: number
  timer: NodeJS.Timeout | undefined
  writing: Promise<void> | undefined
  isClosed: boolean
  isFailing: boolean
}

/** Whether a tuple on this object is a watermark, of any process. */
export const isWatermark = (object: string): boolean => object.startsWith('watermark:')

/** Writes marks to OpenFGA, whose coming back in the log shows how far it was read. */
export function createWatermarks(dependencies: WatermarkDeps): Watermarks {
  const { fga, now, id, onWritten, onError, everyMs = 300 } = dependencies
  const object = `watermark:${id}` as const
  // When each began to be written, by what the log says of it, in their order. Never twice the same: what became of a
  // Write that failed nobody knows, and it would pass for the later one.
  const begunAt = new Map<string, number>()
  const state: State = {
    turn: 0,
    current: undefined,
    left: [],
    seenAt: undefined,
    askedAt: Number.NEGATIVE_INFINITY,
    timer: undefined,
    writing: undefined,
    isClosed: false,
    isFailing: false,
  }

  async function beat(): Promise<void> {
    const previousMark = state.current
    const mark: Tuple = previousMark ?? { user: `turn:${++state.turn}`, relation: 'at', object }
    begunAt.set(`${previousMark === undefined ? 'write' : 'delete'} ${mark.user}`, now())
    try {
      await fga.write(
        previousMark === undefined
          ? { writes: [mark], deletes: state.left }
          : { deletes: [mark, ...state.left] },
      )
      state.left = []
      state.current = previousMark === undefined ? mark : undefined
      state.isFailing = false
      onWritten()
    } catch (error) {
      state.left.push(mark)
      state.current = undefined
      if (!state.isFailing) onError(error)
      state.isFailing = true
    }
  }

  function goOn(): void {
    const isAwake = isWithin(awakeMs, now() - state.askedAt)
    if (state.isClosed || !isAwake || state.writing !== undefined || state.timer !== undefined) return
    state.writing = beat().finally(() => {
      state.writing = undefined
      state.timer = setTimeout(() => {
        state.timer = undefined
        goOn()
      }, everyMs).unref()
    })
  }

  return {
    get seenAt() {
      return state.seenAt
    },
    see(changes) {
      for (const { operation, tuple } of changes) {
        const key = `${operation} ${tuple.user}`
        if (tuple.object !== object || !begunAt.has(key)) continue
        for (const [mark, startedAt] of begunAt) {
          // Those before it were passed, or never came in.
          begunAt.delete(mark)
          state.seenAt = startedAt
          if (mark === key) break
        }
      }
    },
    lost() {
      state.seenAt = undefined
      begunAt.clear()
    },
    wake() {
      state.askedAt = now()
      goOn()
    },
    async sweep(stored) {
      const deletes = stored
        .filter((tuple) => tuple.object !== object && now() - tuple.writtenAt > leftMs)
        .map(({ user, relation, object: objectName }) => ({ user, relation, object: objectName }) as Tuple)
      if (deletes.length > 0) await fga.write({ deletes })
    },
    async [Symbol.asyncDispose]() {
      state.isClosed = true
      await state.writing
      clearTimeout(state.timer)
      const deletes = state.current === undefined ? state.left : [state.current, ...state.left]
      if (deletes.length > 0) await fga.write({ deletes }).catch(() => undefined)
    },
  }
}
