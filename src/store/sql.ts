/**
 * A value that can be sent: arrays become Postgres arrays, an Int32Array an `int[]`, bytes a `bytea`, objects
 * JSON.
 */
export type SqlValue =
  | string
  | number
  | bigint
  | boolean
  | null
  | Date
  | Uint8Array
  | Int32Array
  | readonly SqlValue[]
  | object

/** The one way to the database. Both a pool and a transaction are a `Sql`. */
export interface Sql {
  /** Runs one statement with `$1` parameters and returns its rows. int8 and count(*) come as number. */
  query<Row extends object = Record<string, unknown>>(
    text: string,
    values?: readonly SqlValue[],
  ): Promise<Row[]>
}

/** How many rows a statement gives. */
export const countRows = async (sql: Sql, text: string, values?: readonly SqlValue[]): Promise<number> =>
  (await sql.query(text, values)).length

/**
 * For statements, by parameters that hold times: the end of what keeps somebody from acting, which lasts as
 * long by the database's clock as by this process's, where that one is behind (decision 0092).
 */
export const lastingEnd = (end: `$${number}`, own: `$${number}`): string =>
  `greatest(${end}::timestamptz, now() + (${end}::timestamptz - ${own}::timestamptz))`

/** Rows whose columns are named as the type says; what is null in them is undefined. */
export async function readRows<Row extends object>(
  sql: Sql,
  text: string,
  values?: readonly SqlValue[],
): Promise<Row[]> {
  const rows = await sql.query<Row>(text, values)
  for (const row of rows)
    for (const [name, value] of Object.entries(row)) if (value === null) Reflect.set(row, name, undefined)
  return rows
}

/** A statement that is prepared once a connection, under a name that no other text has. */
export interface Statement {
  readonly name: string
  readonly text: string
}

/** The database, embedded or native. */
export interface Database extends Sql, AsyncDisposable {
  readonly kind: 'pglite' | 'postgres'
  /** `halfvec` on native Postgres; `vector` on PGlite, where halfvec is up to 2.8 times slower. */
  readonly vectorType: 'vector' | 'halfvec'
  /**
   * Runs one statement whose plan its text decides, never the database's guess: loops over index scans, an
   * ordered HNSW scan that goes on until the limit is met (`relaxed_order`), no parallel workers. Prepared,
   * and one round trip on native Postgres, where such statements have connections of their own.
   */
  queryFixedPlan<Row extends object = Record<string, unknown>>(
    statement: Statement,
    values: readonly SqlValue[],
  ): Promise<Row[]>
  /**
   * Runs `work` in one transaction; its throw rolls back.
   * Inside `work` only the given `Sql` may be used: PGlite has one session, so a second one would wait
   * for ever. Using the database itself inside throws at once, on both kinds.
   */
  transaction<T>(work: (sql: Sql) => Promise<T>, options?: TransactionOptions): Promise<T>
  /**
   * Calls the listener with what was notified on the channel, `remit_revocation_feed` where left out. A
   * change that this process commits is told before its `query` or `transaction` resolves, on both kinds.
   * Those of other processes only happen to be told here, to connections that are open: whoever relies on
   * them opens an {@link Listener}.
   */
  onNotice(listener: (payload: string) => void, on?: Channel): void
  /** A connection of its own that listens. Undefined on PGlite, which has one session and one process. */
  readonly openListener:
    | ((listener: (payload: string) => void, on?: Channel) => Promise<Listener>)
    | undefined
  close(): Promise<void>
}

/** How long a transaction may take. */
export interface TransactionOptions {
  /**
   * Milliseconds after which the server ends each of its statements; Infinity for what takes as long as it
   * takes. Default: those of the database.
   */
  readonly msMax?: number
}

/** On which the database tells of changes: of who may act, and of what people are asked. */
export const channels = ['remit_revocation_feed', 'remit_approvals'] as const
/** One of {@link channels}. */
export type Channel = (typeof channels)[number]

/** Hears what any process notifies for as long as its questions are answered. A failed question closes it. */
export interface Listener extends Sql, AsyncDisposable {}
