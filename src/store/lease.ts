import { setTimeout as delay } from 'node:timers/promises'
import type { Database, Sql } from './sql.ts'

/** Where leases are kept, and how long one lasts that nobody renews. */
export interface LeaseDeps {
  readonly database: Database
  /** Seconds after which the lease of a dead process is over; renewed at a third of that. */
  readonly seconds: number
  /** What is thrown once somebody else may have it. */
  readonly lost: () => Error
}

/**
 * The right to be the only one at some objects, among all processes that use the database. This process may
 * stand still for longer than it lasts, between any two statements: so whatever rests on it is written in
 * {@link Lease.transaction}, or by a fence of its own (decision 0032).
 */
export interface Lease {
  /** By which its rows are known. No lease has the name of another one, ended ones included. */
  readonly holder: string
  /** Renews it, and throws where it was lost. A cheap early end, no fence. */
  assertHeld(): Promise<void>
  /**
   * Runs `work` in a transaction that commits only while it is held; throws, with nothing written, where it
   * was lost.
   */
  transaction<T>(work: (sql: Sql) => Promise<T>): Promise<T>
  /** Gives it a new name. Throws where it was lost. */
  goOnAs(holder: string): Promise<void>
  /** Renews it no more: whoever wants the objects takes over when it is over. */
  stop(): void
  /** Gives it back, if it is still this one. */
  end(): Promise<void>
}

/** All of the objects under a name that none had before, or undefined: somebody has one of them. */
export async function takeLease(
  { database, seconds, lost }: LeaseDeps,
  objects: readonly string[],
  firstHolder: string,
): Promise<Lease | undefined> {
  let holder = firstHolder
  const end = async (): Promise<void> => {
    await database.query('delete from leases where holder = $1', [holder])
  }
  const assertAll = (rows: readonly object[]): void => {
    if (rows.length < objects.length) throw lost()
  }
  const renew = (): Promise<readonly object[]> =>
    database.query(
      'update leases set until = now() + make_interval(secs => $2) where holder = $1 returning 1',
      [holder, seconds],
    )
  const rows = await database.query(
    `insert into leases (object, holder, until, tuples_first)
     select object, $2, now() + make_interval(secs => $3), true from unnest($1::text[]) as wanted (object) order by object
     on conflict (object) do nothing returning 1`,
    [objects, holder, seconds],
  )
  if (rows.length < objects.length) {
    await end()
    return undefined
  }
  const renewal = setInterval(() => void renew().catch(() => undefined), (seconds * 1_000) / 3)
  const stop = (): void => clearInterval(renewal)
  return {
    get holder() {
      return holder
    },
    assertHeld: async () => assertAll(await renew()),
    transaction: (task) =>
      database.transaction(async (sql) => {
        assertAll(
          await sql.query('select 1 from leases where holder = $1 order by object for update', [holder]),
        )
        return task(sql)
      }),
    async goOnAs(nextHolder) {
      assertAll(
        await database.query('update leases set holder = $2 where holder = $1 returning 1', [
          holder,
          nextHolder,
        ]),
      )
      holder = nextHolder
    },
    stop,
    async end() {
      stop()
      await end()
    },
  }
}

// Whoever wants a lease waits behind whoever wants the table: no longer than this, then all of them go on.
const tableMsMax = 500
const [tableTries, tableAgainMs] = [100, 500]

/**
 * Runs `work` in a transaction beside which no {@link Lease.transaction} runs: those under way end first, and
 * those that come later see all that it did. For what changes rows of objects that it does not hold. Neither
 * can wait for the other in a circle: each asks for `leases` before it has anything else. Where one of
 * them stands still for some two minutes, it throws, and nothing was done.
 */
export async function betweenLeases<T>(
  database: Pick<Database, 'transaction'>,
  work: (sql: Sql) => Promise<T>,
): Promise<T> {
  for (let tries = 1; ; tries += 1)
    try {
      return await database.transaction(async (sql) => {
        await sql.query(`set local lock_timeout = ${tableMsMax}`)
        await sql.query('lock table leases in exclusive mode')
        await sql.query('set local lock_timeout to default')
        return work(sql)
      })
    } catch (error) {
      if (tries === tableTries || !isLockTimeout(error)) throw error
      await delay(tableAgainMs)
    }
}

const isLockTimeout = (error: unknown): boolean =>
  error instanceof Error && 'code' in error && error.code === '55P03'

/** What counts as over, and what comes before the end of each. */
export interface EndExpiredOptions {
  /** No other process is there: whatever is in the way is of one that died. */
  readonly isAlone?: boolean
  /**
   * Runs before the rows of a holder go: whoever dies meanwhile leaves the rows, by which the next one knows.
   */
  readonly beforeEnd?: (holder: string) => Promise<void>
}

/** Ends the leases over these objects that are over. */
export async function endExpired(
  sql: Sql,
  objects: readonly string[],
  { isAlone = false, beforeEnd }: EndExpiredOptions = {},
): Promise<void> {
  const expired = await sql.query<{ holder: string }>(
    'select distinct holder from leases where object = any($1) and (until < now() or $2)',
    [objects, isAlone],
  )
  for (const { holder } of expired) {
    await beforeEnd?.(holder)
    // Past rows that a transaction of the holder has locked: it may stand still in there for a minute, and
    // each request that wants any of them would keep a connection of the pool waiting, until nothing at all
    // is answered.
    await sql.query(
      `delete from leases where object in
         (select object from leases where holder = $1 and (until < now() or $2) for update skip locked)`,
      [holder, isAlone],
    )
  }
}
