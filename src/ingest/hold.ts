import { type Fga, type Tuple, WriteRefused, type Writing } from '../authz/fga.ts'
import { AppError } from '../kernel/errors.ts'
import type { Lease } from '../store/lease.ts'
import type { Database, Sql } from '../store/sql.ts'
import { type Fences, turnOf, turnsMax } from './fences.ts'

/** What is held, and the one way to write while it is. */
export interface Hold {
  /**
   * Writes to OpenFGA while it is held, else not at all: no clock decides that, the Write itself does. Throws
   * {@link WriteRefused} where OpenFGA holds something already that was to be written: read and compute it
   * {@link retryRefusedWrite}.
   */
  write(change: Writing): Promise<void>
  /** The same for changes of different objects, in as few Writes as hold them: see `Fga.writeEach`. */
  writeEach(changes: readonly Writing[]): Promise<void>
  /** Whether nobody reads more than before or after while this is written: see `Fga.isOrderly`. */
  isOrderly(change: Writing): Promise<boolean>
  /** Runs `work` in a transaction of the database that commits only while it is held. */
  transaction<T>(work: (sql: Sql) => Promise<T>): Promise<T>
}

/** What a hold writes by. */
export interface HoldDeps {
  readonly fga: Pick<Fga, 'read' | 'write' | 'writeEach' | 'isOrderly'>
  /** Left out: no Write comes late. */
  readonly fences: Fences | undefined
  readonly newHoldId: () => string
}

/** Where no other process writes, and no Write comes late. */
export const plainHold = (database: Database, fga: HoldDeps['fga']): Hold => ({
  write: (change) => fga.write(change),
  writeEach: (changes) => fga.writeEach(changes),
  isOrderly: (change) => fga.isOrderly(change, { fenced: false }),
  transaction: (task) => database.transaction(task),
})

/** What the lease gives the right to. `end` gives it back. */
export function createHold(
  { fga, fences, newHoldId }: HoldDeps,
  lease: Lease,
): Hold & { end(): Promise<void> } {
  let turn = 0
  let isInDoubt = false

  /** A cheap early end, no fence: this process may stand still right after it. */
  async function assertHeld(): Promise<void> {
    if (isInDoubt) throw lost()
    await lease.assertHeld()
  }

  async function nextTurn(): Promise<Tuple> {
    await assertHeld()
    if (turn === turnsMax) await goOnAs(newHoldId())
    turn += 1
    return turnOf(lease.holder, turn)
  }

  /** What was written under the name before was answered for: nothing of it can come late. */
  async function goOnAs(nextId: string): Promise<void> {
    const previousId = lease.holder
    await lease.goOnAs(nextId)
    fences?.ended(previousId, turn)
    turn = 0
  }

  async function writeFenced(write: () => Promise<void>, fences: Fences): Promise<void> {
    try {
      await write()
    } catch (error) {
      if (error instanceof WriteRefused) throw (await fences.has(lease.holder, turn)) ? lost() : error
      // Of what has no answer nobody knows whether it is still to come: the last turn of a refusal by
      // ourselves, too.
      if (!(error instanceof Lost)) isInDoubt = true
      throw error
    }
  }

  return {
    async write(change) {
      if (isEmpty(change)) return
      if (fences !== undefined) return writeFenced(() => fga.write(change, nextTurn), fences)
      await assertHeld()
      await fga.write(change)
    },
    async writeEach(changes) {
      if (changes.every(isEmpty)) return
      if (fences !== undefined) return writeFenced(() => fga.writeEach(changes, nextTurn), fences)
      await assertHeld()
      await fga.writeEach(changes)
    },
    isOrderly: (change) => fga.isOrderly(change, { fenced: fences !== undefined }),
    transaction: (task) => lease.transaction(task),
    async end() {
      lease.stop()
      if (isInDoubt) {
        // Where that fails too the leases stay: whoever takes them over when they are over raises it first.
        const isRaised = await fences?.raise(lease.holder).then(
          () => true,
          () => false,
        )
        if (isRaised !== true) return
      } else fences?.ended(lease.holder, turn)
      await lease.end()
    },
  }
}

const isEmpty = ({ writes = [], deletes = [] }: Writing): boolean => writes.length + deletes.length === 0

/** Another may hold it now: nothing more is written. */
export class Lost extends AppError {}

/** What is thrown where a lease was lost. */
export const lost = (): Lost => new Lost('storage_unavailable', { internal: 'a lease was lost' })

const triesMax = 4

/** Does it again, from reading on, where OpenFGA refused it for what it holds meanwhile. */
export async function retryRefusedWrite<T>(task: () => Promise<T>): Promise<T> {
  for (let tries = 1; ; tries += 1) {
    try {
      return await task()
    } catch (error) {
      if (!(error instanceof WriteRefused)) throw error
      if (tries === triesMax)
        throw new AppError('authorization_unavailable', { internal: error.message, cause: error })
    }
  }
}
