import { setTimeout as sleep } from 'node:timers/promises'
import { assertNotAborted } from '../kernel/assert-not-aborted.ts'
import { type Background, currentBackground, inBackground, isInBackground } from '../kernel/background.ts'
import { AppError } from '../kernel/errors.ts'
import { withTimeout } from '../kernel/with-timeout.ts'
import { endExpired, type Lease, takeLease } from '../store/lease.ts'
import type { Database } from '../store/sql.ts'
import { createFences, type Fences, holdId } from './fences.ts'
import { createHold, type Hold, type HoldDeps, lost, plainHold } from './hold.ts'

/** Keeps other writers from objects while their tuples change. */
export interface Locks {
  /**
   * Runs `work` as the only writer of these objects, in this process and, on native Postgres, in all. All or
   * nothing, so two callers never wait for each other; where `work` takes more, they may until one gives up.
   * What was held may be lost on the way, when this process stood still: so `work` writes by its {@link Hold}
   * alone. Throws `storage_unavailable` after 30 s of waiting (`waitMsMax`), or when it was lost. Throws
   * `deadline_exceeded` where `signal` fired before `work` began: nothing was done. What `work` does
   * patiently, it does with this patience: it is over once somebody waits for one of the objects.
   */
  hold<T>(
    objects: readonly string[],
    work: (hold: Hold, patience: Background) => Promise<T>,
    signal?: AbortSignal,
    waitMsMax?: number,
  ): Promise<T>
}

/** What leases over documents need. */
export interface LocksDeps extends Pick<HoldDeps, 'fga'> {
  readonly database: Database
  readonly newId: () => string
  readonly now: () => number
  /** Seconds after which a dead process's lease is over; renewed at a third of that. */
  readonly leaseSeconds: number
  /** Whether OpenFGA keeps its tuples apart from this process and its database: then a Write may be late. */
  readonly isApart: boolean
}

const patienceMs = 30_000
const pauseMs = 25

/**
 * Locks that live outside any transaction, since work under them calls OpenFGA, whose embedded engine needs
 * the database's one session. Where that engine runs over PGlite the memory of this process is enough.
 */
export function createLocks(dependencies: LocksDeps): Locks {
  const { database, fga, isApart } = dependencies
  // With whoever holds it patiently.
  const backgroundByObject = new Map<string, Background>()
  const waiting: (() => void)[] = []
  const fences = isApart ? createFences(dependencies) : undefined

  async function inTurn<T>(
    objects: readonly string[],
    task: (hold: Hold) => Promise<T>,
    signal: AbortSignal | undefined,
    deadline: number,
  ): Promise<T> {
    assertNotAborted(signal)
    if (objects.length === 0 || (database.kind === 'pglite' && !isApart))
      return task(plainHold(database, fga))
    const lease = await acquire(dependencies, fences, objects, signal, deadline)
    const hold = createHold({ fga, fences, newHoldId: () => newHoldId(dependencies) }, lease)
    try {
      // Whoever was told meanwhile that it is over may have done the opposite since, and been told that it is
      // done.
      assertNotAborted(signal)
      return await task(hold)
    } finally {
      await hold.end()
    }
  }

  return {
    async hold(objects, task, signal, waitMsMax = patienceMs) {
      const deadline = performance.now() + waitMsMax
      while (objects.some((object) => backgroundByObject.has(object))) {
        // On PGlite a holder whose statements stand behind all questions would hold a removal up past its
        // deadline.
        if (!isInBackground()) for (const object of objects) hurry(backgroundByObject.get(object))
        const remainingMs = deadline - performance.now()
        if (remainingMs <= 0) throw stayedLocked()
        await withTimeout(remainingMs, new Promise<void>((wake) => waiting.push(wake)), undefined)
      }
      const run = async () => {
        // What is hurried is this hold alone, not the whole job.
        const patience = currentBackground() ?? { isOver: false }
        for (const object of objects) backgroundByObject.set(object, patience)
        return inTurn(objects, (hold) => task(hold, patience), signal, deadline)
      }
      try {
        return await (isInBackground() ? inBackground(run) : run())
      } finally {
        for (const object of objects) backgroundByObject.delete(object)
        for (const wake of waiting.splice(0)) wake()
      }
    },
  }
}

function hurry(patience: Background | undefined): void {
  if (patience !== undefined) patience.isOver = true
}

/** Somebody else held an object for longer than was waited. */
export class StayedLocked extends AppError {}

const stayedLocked = (): StayedLocked =>
  new StayedLocked('storage_unavailable', { internal: 'an object stayed locked' })

const newHoldId = ({ newId, now }: Pick<LocksDeps, 'newId' | 'now'>): string => holdId(now(), newId())

async function acquire(
  dependencies: LocksDeps,
  fences: Fences | undefined,
  objects: readonly string[],
  signal: AbortSignal | undefined,
  deadline: number,
): Promise<Lease> {
  const { database, leaseSeconds } = dependencies
  for (;;) {
    const id = newHoldId(dependencies)
    const lease = await takeLease({ database, seconds: leaseSeconds, lost }, objects, id)
    if (lease !== undefined) return lease
    await endExpired(database, objects, {
      isAlone: database.kind === 'pglite',
      // First whatever its holder may still be about to write, then the rows.
      beforeEnd: async (holder) => fences?.raise(holder),
    })
    assertNotAborted(signal)
    if (performance.now() > deadline) throw stayedLocked()
    await sleep(pauseMs)
  }
}
