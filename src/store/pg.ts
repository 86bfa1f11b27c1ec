import { AsyncLocalStorage } from 'node:async_hooks'
import { connect as connectTo } from 'node:net'
import type { ConnectionOptions } from 'node:tls'
import pg, { type ClientBase, type Connection } from 'pg'
import pgvector from 'pgvector/pg'
import { createPrioritySemaphore } from '../kernel/background.ts'
import { AppError } from '../kernel/errors.ts'
import { step } from '../kernel/trace.ts'
import { intsParameter } from './binary.ts'
import { runPrepared } from './prepared.ts'
import {
  type Channel,
  channels,
  type Database,
  type Listener,
  type Sql,
  type SqlValue,
  type Statement,
} from './sql.ts'
import type { Watch } from './watch.ts'

/** The pool, and what watches over slow statements. */
export interface PgDatabaseOptions {
  readonly kind: Database['kind']
  readonly pool: pg.PoolConfig
  /**
   * Settings with which each connection begins, past what a pooler between may take as parameters of a start.
   */
  readonly settings?: Readonly<Record<string, string | number>>
  /**
   * Milliseconds after which the server ends a statement, where its transaction does not say otherwise. Where
   * it has not answered in full five seconds later, it is told to stop and the connection is broken: on Linux
   * a server that is gone without a word is noticed after a quarter of an hour else. A text has so long for
   * each of its statements. Default: none.
   */
  readonly statementMsMax?: number
  /** Runs after the pool has ended. */
  readonly onClose?: () => Promise<void>
  /** Gives what the statement gives, and looks after one that takes long. */
  readonly watch?: Watch
}

const int8 = 20

/**
 * Whatever the server, the database or the role has set. In UTC: a date without a zone would be another
 * instant. Told of warnings: {@link watchReplication} rests on one.
 */
const beginWith = (settings: Readonly<Record<string, string | number>>): string =>
  Object.entries({ timezone: 'UTC', client_min_messages: 'notice', ...settings })
    .map(([name, value]) => `set ${name} to '${value}'`)
    .join('; ')

/**
 * What leaves a statement one plan: an index for each table, in a loop, and HNSW only where its text orders
 * by distance. A generic plan is the same whatever the values. Compiling costs more than any of these
 * statements takes.
 */
const forcing = {
  enable_seqscan: 'off',
  enable_bitmapscan: 'off',
  enable_hashjoin: 'off',
  enable_mergejoin: 'off',
  enable_memoize: 'off',
  max_parallel_workers_per_gather: '0',
  jit: 'off',
  plan_cache_mode: 'force_generic_plan',
  'hnsw.iterative_scan': 'relaxed_order',
} as const
const setConfig = (isLocal: boolean): string =>
  `select ${Object.entries(forcing)
    .map(([name, value]) => `set_config('${name}', '${value}', ${isLocal})`)
    .join(', ')}`

/** Where a connection string leads, by `pg`'s own reading. The host may be the path of a socket. */
export function addressOf(connectionString: string): Address {
  const { host, port, database, ssl } = new pg.Client({ connectionString })
  // `pg`'s types know only whether it is there.
  const tls = ssl as boolean | ConnectionOptions
  return {
    host,
    port,
    database,
    isVerified: typeof tls === 'object' ? tls.rejectUnauthorized !== false : tls,
  }
}

interface Address {
  readonly host: string
  readonly port: number
  readonly database: string | undefined
  /** It goes by TLS, and the server has to show a certificate that is trusted. */
  readonly isVerified: boolean
}

/** Wraps a `pg` pool as a {@link Database}. Every connection is in UTC and knows pgvector's types. */
export function createPgDatabase({
  kind,
  pool: poolConfig,
  settings = {},
  statementMsMax,
  onClose,
  watch = (operation) => operation,
}: PgDatabaseOptions): Database {
  const begin = beginWith({
    ...settings,
    ...(statementMsMax !== undefined && { statement_timeout: statementMsMax }),
  })
  const ask = <Row extends object>(...queryArguments: Parameters<typeof run>): Promise<Row[]> =>
    watch(run<Row>(...queryArguments))
  const listeners: { readonly on: Channel; readonly listener: (payload: string) => void }[] = []
  /** On every channel, where none is named. */
  const tell = (payload: string, channel?: string): void => {
    for (const { on, listener } of listeners) if (channel === undefined || channel === on) listener(payload)
  }
  const pool = openPool(poolConfig, statementMsMax, async (client) => {
    // What it was committing may be in.
    client.on('error', () => tell('lost'))
    await answered(client, () => pgvector.registerTypes(client))
    // A session is notified of its own commit before that is answered: whoever changed something has been
    // heard.
    client.on('notification', ({ channel, payload = '' }) => tell(payload, channel))
    await answered(client, () =>
      client.query([begin, ...channels.map((channel) => `listen ${channel}`)].join('; ')),
    )
  })
  // The pool itself serves in the order of coming, and one document that is taken in comes with dozens of
  // statements.
  const enter = kind === 'pglite' ? createPrioritySemaphore(1) : undefined
  /**
   * Lends a connection for as long as `work` takes; one that is not as good as new afterwards is not used
   * again.
   */
  async function lend<T>(operation: (client: pg.PoolClient) => Promise<T>, lender = pool): Promise<T> {
    const leave = await enter?.()
    try {
      const client = await connect(lender)
      let broken: Error | undefined
      try {
        return await operation(client)
      } catch (error) {
        // A text of several statements may have begun a transaction before it failed. And roll back first: a
        // client dropped inside a transaction leaves PGlite blocked for everybody.
        broken = await rollBack(client, watch)
        throw error
      } finally {
        client.release(broken)
      }
    } finally {
      leave?.()
    }
  }
  const forcedPool =
    kind === 'postgres'
      ? // As many as the other pool may.
        openPool(poolConfig, statementMsMax, async (client) => {
          // Loads pgvector: before it is loaded, a wrong value of its settings would pass.
          await answered(client, () => client.query(`select '[1]'::vector`))
          await answered(client, () => client.query(`${begin}; ${setConfig(false)}`))
        })
      : undefined
  const inTransaction = new AsyncLocalStorage<true>()
  let closing: Promise<void> | undefined

  function assertOutside(): void {
    if (inTransaction.getStore())
      throw new Error('Inside a transaction only its own Sql may be used: PGlite has one session.')
  }

  const query: Sql['query'] = async (text, values) => {
    assertOutside()
    // Not `pool.query`: that drops the connection after every error, a mistyped statement included.
    return lend((client) => ask(client, text, values))
  }

  const queryFixedPlan: Database['queryFixedPlan'] = async (statement, values) => {
    // One session: settings that live as long as a transaction. Its round trips stay in this machine.
    if (forcedPool === undefined) {
      return transaction(async (sql) => {
        await sql.query(setConfig(true))
        return sql.query(statement.text, values)
      })
    }
    assertOutside()
    return lend((client) => ask(client, statement, values), forcedPool)
  }

  const transaction: Database['transaction'] = async (operation, { msMax } = {}) => {
    if (inTransaction.getStore()) throw new Error('A transaction may not open another one.')
    return lend(async (client) => {
      using _ends = msMax === undefined ? undefined : endAfter(client, msMax)
      await ask(client, msMax === undefined ? 'begin' : `begin; ${statementTimeout(msMax)}`)
      const result = await inTransaction.run(true, () =>
        operation({ query: (text, values) => ask(client, text, values) }),
      )
      await ask(client, 'commit')
      return result
    })
  }

  const close = (): Promise<void> => {
    closing ??= (async () => {
      await Promise.all([pool.end(), forcedPool?.end()])
      await onClose?.()
    })()
    return closing
  }

  return {
    kind,
    vectorType: kind === 'pglite' ? 'vector' : 'halfvec',
    query,
    queryFixedPlan,
    transaction,
    onNotice: (listener, on = 'remit_revocation_feed') => {
      listeners.push({ on, listener })
    },
    openListener:
      kind === 'postgres'
        ? (listener, on = 'remit_revocation_feed') => openListener(poolConfig, begin, listener, on)
        : undefined,
    close,
    [Symbol.asyncDispose]: close,
  }
}

/** Connections that `ready` makes ready, and that it can ask with an end. */
function openPool(
  config: pg.PoolConfig,
  statementMsMax: number | undefined,
  ready: (client: ClientBase) => Promise<void>,
): pg.Pool {
  const pool = new pg.Pool({
    ...config,
    // oxlint-disable-next-line typescript/no-misused-promises -- the pool waits, whatever its types say
    onConnect: async (client: ClientBase) => {
      // A connection that breaks while it is lent tells its query and then also the process, which it would
      // end.
      client.on('error', () => undefined)
      watchReplication(client)
      client.setTypeParser(int8, Number)
      if (statementMsMax !== undefined) silentMsMax.set(client, statementMsMax)
      await ready(client)
    },
  })
  // An idle connection that breaks must not end the process; the next query reports it.
  pool.on('error', () => undefined)
  return pool
}

/** Of each connection that has an end: milliseconds. */
const silentMsMax = new WeakMap<ClientBase, number>()

/** Another end of its statements, until this is disposed of. Infinity: none. */
function endAfter(client: ClientBase, msMax: number): Disposable {
  const before = silentMsMax.get(client)
  const put = (ms: number | undefined): void => {
    if (ms === undefined || ms === Infinity) silentMsMax.delete(client)
    else silentMsMax.set(client, ms)
  }
  put(msMax)
  return { [Symbol.dispose]: () => put(before) }
}

const statementTimeout = (msMax: number): string =>
  `set local statement_timeout = ${msMax === Infinity ? 0 : Math.ceil(msMax)}`

// What the server ends itself it says within this.
const goodbyeMs = 5_000

/** Breaks a connection on which no answer comes. What it was committing may be in. */
async function answered<T>(client: ClientBase, operation: () => Promise<T>, statementCount = 1): Promise<T> {
  const msMax = silentMsMax.get(client)
  if (msMax === undefined) return operation()
  const { stream } = (client as ClientBase & { readonly connection: Connection }).connection
  const giveUp = (): void => {
    callOff(client as ClientBase & Session)
    stream.destroy(new Error('Connection terminated: the server does not answer'))
  }
  // One after the other: a process that stood still finds the first over, and then reads what had come.
  let timer = setTimeout(() => {
    timer = setTimeout(giveUp, goodbyeMs)
  }, statementCount * msMax)
  try {
    return await operation()
  } finally {
    clearTimeout(timer)
  }
}

interface Session {
  readonly host: string
  readonly port: number
  readonly processID: number | null
  readonly secretKey: number | null
}

/**
 * Tells the server to stop, if it is there: no end of a statement reaches a commit that waits for a standby,
 * and its session would stay for as long, with its locks. By a CancelRequest, which needs no session of its
 * own (https://www.postgresql.org/docs/18/protocol-flow.html#PROTOCOL-FLOW-CANCELING-REQUESTS).
 */
function callOff({ host, port, processID, secretKey }: Session): void {
  if (processID === null || secretKey === null) return
  const request = Buffer.alloc(16)
  for (const [index, word] of [request.length, 80_877_102, processID, secretKey].entries())
    request.writeInt32BE(word, 4 * index)
  const socket = host.startsWith('/') ? connectTo(`${host}/.s.PGSQL.${port}`) : connectTo(port, host)
  socket.setTimeout(goodbyeMs, () => socket.destroy()).on('error', () => undefined)
  socket.end(request)
}

const earMsMax = 2_000

/**
 * Listens beside the pool, whose connections come and go. Every question has an end: half-open is not
 * hearing.
 */
async function openListener(
  config: pg.PoolConfig,
  begin: string,
  listener: (payload: string) => void,
  on: Channel,
): Promise<Listener> {
  const client = new pg.Client({ ...config, query_timeout: earMsMax, connectionTimeoutMillis: earMsMax })
  // Not waited for: the other side of a half-open connection never says goodbye.
  const close = async (): Promise<void> => void client.end().catch(() => undefined)
  // The next question tells.
  client.on('error', () => undefined)
  watchReplication(client)
  client.on('notification', ({ payload = '' }) => listener(payload))
  client.setTypeParser(int8, Number)
  const query: Sql['query'] = async (text, values) => {
    try {
      return await run(client, text, values)
    } catch (error) {
      // Else a commit that waits for a standby keeps its session when nobody waits any more.
      callOff(client as pg.Client & Session)
      void close()
      throw error
    }
  }
  try {
    await client.connect()
  } catch (error) {
    void close()
    throw asUnavailable(error) ?? error
  }
  // On the server too, where it may not hear that nobody waits any more.
  await query(`${begin}; set statement_timeout to ${earMsMax}; listen ${on}`)
  return { query, [Symbol.asyncDispose]: close }
}

async function connect(pool: pg.Pool): Promise<pg.PoolClient> {
  try {
    return await pool.connect()
  } catch (error) {
    throw asUnavailable(error) ?? error
  }
}

/** Undefined once the connection is as good as new, else what keeps it from that. */
async function rollBack(client: pg.PoolClient, watch: Watch): Promise<Error | undefined> {
  try {
    await watch(run(client, 'rollback'))
    return undefined
  } catch (error) {
    return error instanceof Error ? error : new Error('thrown value')
  }
}

function run<Row extends object>(
  client: pg.ClientBase,
  statement: string | Statement,
  values?: readonly SqlValue[],
): Promise<Row[]> {
  const text = typeof statement === 'string' ? statement : statement.text
  const [operation = ''] = text.trimStart().split(/\s/, 1)
  const attributes = { 'db.system.name': 'postgresql', 'db.operation.name': operation.toUpperCase() }
  return step(`sql ${operation}`, { kind: 'client', attributes }, () => send<Row>(client, statement, values))
}

async function send<Row extends object>(
  client: pg.ClientBase,
  statement: string | Statement,
  values?: readonly SqlValue[],
): Promise<Row[]> {
  try {
    const rows = await answered(
      client,
      () => sendAlone<Row>(client, statement, values),
      typeof statement === 'string' ? statement.split(';').length : 1,
    )
    if (unreplicated.has(client))
      throw new AppError('storage_unavailable', {
        internal: 'what was committed may be on this server alone',
      })
    return rows
  } catch (error) {
    throw asUnavailable(error) ?? withoutValue(error)
  } finally {
    unreplicated.delete(client)
  }
}

async function sendAlone<Row extends object>(
  client: pg.ClientBase,
  statement: string | Statement,
  values?: readonly SqlValue[],
): Promise<Row[]> {
  if (typeof statement !== 'string') return runPrepared<Row>(client, statement, values ?? [])
  const result = await (values === undefined
    ? client.query(statement)
    : client.query({ text: statement, values: values.map(toSent) }))
  // Several statements in one text answer with an array of results: the queue relies on all their rows.
  const results = Array.isArray(result) ? (result as pg.QueryResult[]) : [result]
  return results.flatMap(({ rows }) => (rows ?? []) as Row[])
}

// `pg` would send its bytes as they lie, and writes a list of numbers out one by one, each in quotes.
const toSent = (value: SqlValue): SqlValue => (value instanceof Int32Array ? intsParameter(value) : value)

/** Connections on which something was committed that no standby has acknowledged. */
const unreplicated = new WeakSet<pg.ClientBase>()

/**
 * Postgres gives up waiting for a synchronous standby when a statement's time is over or somebody cancels it,
 * and answers that it has committed, with a warning: the next primary may not have it. The warning's text is
 * in the server's language; its routine is not.
 */
function watchReplication(client: pg.ClientBase): void {
  client.on('notice', ({ routine }) => {
    if (routine === 'SyncRepWaitForLSN') unreplicated.add(client)
  })
}

// SQLSTATE classes 08 (connection), 53 (resources), 57P (shutdown), a standby where a primary was (25006),
// and Node's own socket errors.
const unavailableCodes = /^(08|53|57P|57014|25006|25P03|25P04|ECONN|EPIPE|ENOENT|ETIMEDOUT|EHOSTUNREACH)/
const unavailableMessages =
  /connection terminated|timeout exceeded when trying to connect|query read timeout|not queryable|cannot use a pool after/i

/** A database that is gone or overloaded is a 503, never a 500 and never an empty answer. */
function asUnavailable(error: unknown): AppError | undefined {
  if (!(error instanceof Error)) return undefined
  const code = 'code' in error && typeof error.code === 'string' ? error.code : ''
  // Whatever the operating system refuses a connection for: its codes are many, EMFILE one of them.
  const isOfSystem = 'syscall' in error
  if (!isOfSystem && !unavailableCodes.test(code) && !unavailableMessages.test(error.message))
    return undefined
  return new AppError('storage_unavailable', { internal: error.message, cause: error })
}

/**
 * Postgres quotes the value that it could not read (SQLSTATE class 22, and a tsquery's syntax), and the
 * message of an unexpected error is logged: a question or a text would be too. The code and Postgres' own
 * routine say enough.
 */
function withoutValue(error: unknown): unknown {
  if (!(error instanceof pg.DatabaseError)) return error
  const { code = '', routine = '', message } = error
  const quotes = message.includes('"') && (code.startsWith('22') || message.includes('in tsquery'))
  if (!quotes) return error
  return Object.assign(new Error(`Postgres could not read a value (${code} ${routine})`), { code })
}
