import pg from 'pg'
import { AppError } from '../kernel/errors.ts'
import { OperatorError } from '../kernel/operator-error.ts'
import { connectMsMax, connectOwn, reachable } from './client.ts'

// Any number that nothing else here locks.
const lockNumber = 7_364_841
// A backup that has the barrier gives it back long before; so this is a database that stands still.
const waitMsMax = 15_000
// Beside the service's own: a write that waits here must not take a connection from a question.
const poolSize = 16
// Far longer than the calls of one write take, each of which ends within seconds. A process that stands still
// does not keep backups away for good.
const idleMsMax = 600_000

/** Servers before 17 have no such setting. */
const withoutTransactionEnd = (isLocal: boolean): string =>
  `select set_config(name, '0', ${isLocal}) from pg_settings where name = 'transaction_timeout'`

/** Lets writes through beside each other, and none while a backup begins. */
export interface WriteBarrier extends AsyncDisposable {
  /**
   * Throws `storage_unavailable` where the write was not let through; then it was not begun. And
   * `authorization_unavailable` where the lock was lost meanwhile: it may be in, and a backup may hold a part
   * of it. As for any such write, the same again is the same.
   */
  pass<T>(write: () => Promise<T>): Promise<T>
}

/**
 * What every process passes before it writes to an OpenFGA that keeps its tuples apart: a backup that holds
 * the other side finds the database and OpenFGA at one instant. `lockMsMax`: milliseconds that a write waits
 * for a backup.
 */
export function openWriteBarrier(url: string, lockMsMax = waitMsMax): WriteBarrier {
  const pool = new pg.Pool({
    ...reachable,
    connectionString: url,
    max: poolSize,
    // The lock comes within its own time, or nobody is there.
    query_timeout: lockMsMax + connectMsMax,
    application_name: 'remit-barrier',
  })
  // The next write says so.
  pool.on('error', () => undefined)
  const closed = (error: unknown): never => {
    throw new AppError('storage_unavailable', { internal: 'the barrier of backups', cause: error })
  }
  return {
    async pass<T>(write: () => Promise<T>) {
      const client = await pool.connect().catch(closed)
      const ignore = () => undefined
      client.on('error', ignore)
      let broken: boolean | undefined
      let written: T
      try {
        await client
          // A role or a server may be set to end what is idle sooner: the lock would be gone amid the write.
          .query(
            `begin; set local lock_timeout = ${lockMsMax}; set local idle_in_transaction_session_timeout = ${idleMsMax};
             ${withoutTransactionEnd(true)}; select pg_advisory_xact_lock_shared(${lockNumber})`,
          )
          .catch((error: unknown) => {
            // What did not answer is not asked again: a rollback would wait as long.
            broken = true
            return closed(error)
          })
        written = await write()
      } finally {
        if (broken === undefined)
          await client.query('rollback').catch(() => {
            broken = true
          })
        client.removeListener('error', ignore)
        client.release(broken)
      }
      if (broken)
        throw new AppError('authorization_unavailable', {
          internal: 'the barrier of backups was lost during a write',
        })
      return written
    },
    [Symbol.asyncDispose]: () => pool.end(),
  }
}

/** One instant of a database, for as long as its connection is open. */
export interface Snapshot {
  /** What `pg_dump --snapshot` takes. */
  readonly id: string
  readonly takenAt: Date
  /** Reads what the snapshot holds. */
  query<Row extends object>(text: string): Promise<Row[]>
}

/** One instant of both. */
export interface Snapshots extends AsyncDisposable {
  readonly database: Snapshot
  readonly openfga: Snapshot | undefined
  /** Milliseconds from when the lock was asked for, which writes wait behind, until it was given back. */
  readonly pausedMs: number
}

export interface SnapshotOptions {
  readonly databaseUrl: string
  readonly openfgaUrl: string | undefined
  /** Milliseconds to wait for writes that are under way; those that come later wait behind. */
  readonly waitMs: number
  /** Milliseconds that the barrier may be held; the server ends it by itself then. */
  readonly holdMs: number
  /** Tests stand still here, with the barrier held. */
  readonly step?: () => Promise<void>
}

/**
 * Opens both snapshots while nobody writes to OpenFGA. Throws OperatorError where the barrier was not to be
 * had in time, or was lost before both were open: then they are of no one instant.
 */
export async function openSnapshots(options: SnapshotOptions): Promise<Snapshots> {
  const { databaseUrl, openfgaUrl, waitMs, holdMs, step } = options
  await using stack = new AsyncDisposableStack()
  const open = async (name: string, url: string): Promise<pg.Client> => {
    // What the server ends itself it says within a connection's time.
    const answerMsMax = Math.max(waitMs, holdMs) + connectMsMax
    const own = await connectOwn({ url, answerMsMax, name: 'remit-backup' }).catch((error: unknown) => {
      throw new OperatorError(
        `${name} does not answer: ${error instanceof Error ? error.message : 'no reason'}`,
        error,
      )
    })
    return stack.use(own).client
  }
  // All of them first: none is waited for with the barrier held.
  const barrier = await open('DATABASE_URL', databaseUrl)
  const database = await open('DATABASE_URL', databaseUrl)
  const openfga = openfgaUrl === undefined ? undefined : await open('OPENFGA_DATASTORE_URI', openfgaUrl)
  if (openfga) await assertPrimary(openfga)
  const asked = performance.now()
  const pid = await holdBarrier(barrier, { waitMs, holdMs }).catch((error: unknown) => {
    throw new OperatorError(
      `Writes did not pause within ${waitMs / 1_000} s, so nothing was backed up. Try again.`,
      error,
    )
  })
  const snapshots = {
    // First: models are written past the barrier, to OpenFGA before the database pins them. So OpenFGA's has
    // every model that the database's names.
    database: await snapshotOf(database, holdMs),
    openfga: openfga && (await snapshotOf(openfga, holdMs)),
  }
  await assertHeld(database, pid)
  await step?.()
  await barrier.query('commit').catch((error: unknown) => {
    throw new OperatorError(
      `The pause of writes was over after ${holdMs / 1_000} s, before both databases were opened. Nothing was backed up. Try again.`,
      error,
    )
  })
  const pausedMs = Math.round(performance.now() - asked)
  const owned = stack.move()
  return { ...snapshots, pausedMs, [Symbol.asyncDispose]: () => owned.disposeAsync() }
}

/** What a standby holds is older, and says not by how much. */
async function assertPrimary(openfga: pg.Client): Promise<void> {
  const { rows } = await openfga.query<{ isStandby: boolean }>('select pg_is_in_recovery() as "isStandby"')
  if (rows[0]?.isStandby !== false)
    throw new OperatorError(
      'OPENFGA_DATASTORE_URI names a standby, which may lag behind. Name the primary: nothing was backed up.',
    )
}

/** Waits for the lock, in a transaction that ends by itself. Gives what the server knows its session by. */
async function holdBarrier(
  barrier: pg.Client,
  { waitMs, holdMs }: { readonly waitMs: number; readonly holdMs: number },
): Promise<number | undefined> {
  await barrier.query(
    `begin; set local lock_timeout = ${waitMs}; set local idle_in_transaction_session_timeout = ${holdMs}`,
  )
  const { rows } = await barrier.query<{ pid: number }>(
    `select pg_advisory_xact_lock(${lockNumber}), pg_backend_pid() as pid`,
  )
  return rows[0]?.pid
}

/** Two connections to one address may lead to two servers while a primary changes. A lock holds on one. */
async function assertHeld(database: pg.Client, pid: number | undefined): Promise<void> {
  const { rowCount } = await database.query(
    `select from pg_locks where locktype = 'advisory' and (classid::int8 << 32) + objid::int8 = ${lockNumber}
       and mode = 'ExclusiveLock' and granted and pid = $1`,
    [pid],
  )
  if (rowCount !== 1)
    throw new OperatorError(
      'The pause of writes was over, or on another server, before both databases were opened. Nothing was backed up. Try again.',
    )
}

async function snapshotOf(client: pg.Client, openMs: number): Promise<Snapshot> {
  await client.query(withoutTransactionEnd(false))
  await client.query(
    `set statement_timeout = ${openMs}; set idle_in_transaction_session_timeout = 0; set timezone to 'UTC';
     begin isolation level repeatable read read only`,
  )
  const { rows } = await client.query<{ id: string; takenAt: Date }>(
    'select pg_export_snapshot() as id, clock_timestamp() as "takenAt"',
  )
  const [row] = rows
  if (row === undefined) throw new Error('No snapshot was exported.')
  return {
    ...row,
    query: async <Row extends object>(text: string) => (await client.query<Row>(text)).rows,
  }
}

/** Tables, views and the like that no extension brought, of every schema. */
export async function userTables(url: string): Promise<string[]> {
  return once(url, async (client) => {
    const { rows } = await client.query<{ name: string }>(
      `select format('%I.%I', nspname, relname) as name from pg_class c join pg_namespace n on n.oid = relnamespace
       where nspname not in ('pg_catalog', 'information_schema') and nspname !~ '^pg_(toast|temp)'
         and relkind in ('r', 'p', 'v', 'm', 'S', 'f')
         and not exists (select from pg_depend d where d.objid = c.oid and d.deptype = 'e')
       order by 1`,
    )
    return rows.map(({ name }) => name)
  })
}

/** Some statements by a connection of its own. */
export async function runStatements(url: string, text: string): Promise<Record<string, unknown>[]> {
  return once(url, async (client) => (await client.query(text)).rows as Record<string, unknown>[])
}

async function once<T>(url: string, work: (client: pg.Client) => Promise<T>): Promise<T> {
  await using own = await connectOwn({ url })
  return await work(own.client)
}
