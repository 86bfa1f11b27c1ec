import { type Change, type ChangePosition, type Fga, PositionRefused, type StoredTuple } from '../fga.ts'
import { lastOfEach } from './replica.ts'
import type { Mark } from './storage.ts'

export interface FollowDeps {
  readonly fga: Pick<Fga, 'readChanges'>
  readonly now: () => number
  readonly signal: AbortSignal
  /** Told of changes in the order in which they are to be applied. */
  readonly onChanges: (changes: readonly Change[]) => void
}

/** Reads OpenFGA's change log. Its calls must not overlap. */
export interface Follower {
  readonly mark: Mark | undefined
  /** When the last page began to be read after which nothing came. */
  readonly tailReadAt: number | undefined
  /** Goes on from here; `isOld`: what came late since it was stored has still to be looked for. */
  start(mark: Mark, options: { readonly isOld: boolean }): void
  setReconciled(at: number): void
  /** Reads on to the end of the log, and again what may have come late. */
  readOn(): Promise<void>
  /** Reads what came after another mark, and late ones before it, to the end. Gives the tuples concerned. */
  readFrom(mark: Mark): Promise<readonly StoredTuple[]>
  reset(): void
}

// A change is stamped before it is committed: one with an earlier stamp may appear after a later one was read. What
// is this far behind the last one seen is read again, the nearer part soon, the rest as long as a request may last.
const near = { spanMs: 5_000, everyMs: 1_000, whileMs: 10_000 }
const far = { spanMs: 60_000, everyMs: 30_000, whileMs: 90_000 }
// How far a clock of OpenFGA may be behind ours.
const skewMs = 3_600_000

export function createFollower({ fga, now, signal, onChanges }: FollowDeps): Follower {
  let mark: Mark | undefined
  let tailReadAt: number | undefined
  let newsAt = Number.NEGATIVE_INFINITY
  let nearAt = Number.NEGATIVE_INFINITY
  let farAt = Number.NEGATIVE_INFINITY

  function reach(position: ChangePosition, changes: readonly Change[]): void {
    if (mark === undefined || changes.length === 0) return
    const times = changes.map(({ tuple }) => tuple.writtenAt)
    mark = { ...mark, position, lastChangeAt: Math.max(mark.lastChangeAt ?? 0, ...times) }
    newsAt = now()
  }

  /** In order and page by page: each state on the way was one of OpenFGA's. */
  async function readTail(from: Mark): Promise<void> {
    let { position } = from
    for (;;) {
      const beganAt = now()
      const page = await fga.readChanges(position, { signal })
      onChanges(page.changes)
      reach(page.position, page.changes)
      position = page.position
      if (!page.isEnd) continue
      tailReadAt = beganAt
      return
    }
  }

  /** To the end and only then applied, each tuple's last change: what is held already must not go back and forth. */
  async function readAgain(position: ChangePosition): Promise<Change[]> {
    const found: Change[] = []
    let at = position
    for (;;) {
      const page = await fga.readChanges(at, { signal })
      found.push(...page.changes)
      at = page.position
      if (page.isEnd) break
    }
    const last = lastOfEach(found)
    onChanges(last)
    if (at.after !== undefined && mark !== undefined && at.after !== mark.position.after) reach(at, found)
    return last
  }

  function dueSpan(time: number): typeof near | undefined {
    if (time - newsAt > far.whileMs) return undefined
    if (time - farAt >= far.everyMs) return far
    return time - newsAt > near.whileMs || time - nearAt < near.everyMs ? undefined : near
  }

  return {
    get mark() {
      return mark
    },
    get tailReadAt() {
      return tailReadAt
    },
    start(from, { isOld }) {
      mark = from
      newsAt = isOld ? now() : Number.NEGATIVE_INFINITY
      farAt = isOld ? Number.NEGATIVE_INFINITY : now()
    },
    setReconciled(at) {
      if (mark !== undefined) mark = { ...mark, reconciledAt: at }
    },
    async readOn() {
      if (mark === undefined) throw new Error('nothing to go on from')
      await readTail(mark)
      const { lastChangeAt } = mark
      const time = now()
      const due = lastChangeAt === undefined ? undefined : dueSpan(time)
      if (lastChangeAt === undefined || due === undefined) return
      await readAgain({ startTime: lastChangeAt - due.spanMs })
      // Only now: one that failed is still due.
      nearAt = time
      if (due === far) farAt = time
    },
    async readFrom(other) {
      const after = await readAgain(other.position)
      const late =
        other.lastChangeAt === undefined
          ? []
          : await readAgain({ startTime: other.lastChangeAt - far.spanMs })
      return lastOfEach([...after, ...late]).map(({ tuple }) => tuple)
    },
    reset() {
      mark = undefined
      tailReadAt = undefined
    },
  }
}

/** A place of the log before now, for whoever reads all tuples next: what changes meanwhile comes after it. */
export async function placeBeforeNow(
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
