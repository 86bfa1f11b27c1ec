import { setTimeout as sleep } from 'node:timers/promises'
import { AppError } from '../kernel/errors.ts'
import type { Database } from '../store/sql.ts'

export interface Locks {
  /**
   * Runs `work` as the only writer of these objects, in this process and, on native Postgres, in all. All or
   * nothing, so two callers never wait for each other. Throws `storage_unavailable` after 30 s of waiting.
   */
  hold<T>(objects: readonly string[], work: () => Promise<T>): Promise<T>
}

export interface LocksDeps {
  readonly database: Database
  readonly newId: () => string
}

// Seconds after which a dead process's lease is over; renewed at a third of that.
const leaseSeconds = 30
const waitMsMax = 30_000
const pauseMs = 25

/**
 * Locks that live outside any transaction, since work under them calls OpenFGA, whose embedded engine needs the
 * database's one session. PGlite has one process: there the memory of this process is enough.
 */
export function createLocks({ database, newId }: LocksDeps): Locks {
  const held = new Set<string>()
  const waiting: (() => void)[] = []

  async function hold<T>(objects: readonly string[], work: () => Promise<T>): Promise<T> {
    while (objects.some((object) => held.has(object))) await new Promise<void>((wake) => waiting.push(wake))
    for (const object of objects) held.add(object)
    try {
      return database.kind === 'pglite' ? await work() : await withLeases(database, newId(), objects, work)
    } finally {
      for (const object of objects) held.delete(object)
      for (const wake of waiting.splice(0)) wake()
    }
  }
  return { hold }
}

async function withLeases<T>(
  database: Database,
  holder: string,
  objects: readonly string[],
  work: () => Promise<T>,
): Promise<T> {
  await acquire(database, holder, objects)
  let lost: unknown
  const renewal = setInterval(
    () => {
      void extend(database, holder).catch((error: unknown) => {
        lost = error
      })
    },
    (leaseSeconds * 1_000) / 3,
  )
  try {
    const result = await work()
    if (lost !== undefined)
      throw new AppError('storage_unavailable', { internal: 'a lease was lost', cause: lost })
    return result
  } finally {
    clearInterval(renewal)
    await database.query('delete from leases where holder = $1', [holder])
  }
}

async function acquire(database: Database, holder: string, objects: readonly string[]): Promise<void> {
  const end = performance.now() + waitMsMax
  for (;;) {
    const rows = await database.query(
      `insert into leases (object, holder, until)
       select object, $2, now() + make_interval(secs => $3) from unnest($1::text[]) as wanted (object) order by object
       on conflict (object) do update set holder = excluded.holder, until = excluded.until
         where leases.until < now()
       returning 1`,
      [objects, holder, leaseSeconds],
    )
    if (rows.length === objects.length) return
    await database.query('delete from leases where holder = $1', [holder])
    if (performance.now() > end)
      throw new AppError('storage_unavailable', { internal: 'an object stayed locked' })
    await sleep(pauseMs)
  }
}

const extend = (database: Database, holder: string): Promise<unknown> =>
  database.query('update leases set until = now() + make_interval(secs => $2) where holder = $1', [
    holder,
    leaseSeconds,
  ])
