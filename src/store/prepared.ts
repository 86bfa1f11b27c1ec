import type { ClientBase, Connection, Submittable } from 'pg'
import { intsParameter } from './binary.ts'
import type { SqlValue, Statement } from './sql.ts'

/**
 * Runs a statement that is prepared once a connection. As `pg` does, but that its columns are asked for once
 * as well, and nothing is copied on the way: `pg` takes as long for that as for the rest of an answer's
 * search.
 */
export async function runPrepared<Row extends object>(
  client: ClientBase,
  statement: Statement,
  values: readonly SqlValue[],
): Promise<Row[]> {
  const { promise, resolve, reject } = Promise.withResolvers<object[]>()
  client.query(
    new Prepared(client, statement, values, (rows, error) =>
      error === undefined ? resolve(rows) : reject(error),
    ),
  )
  try {
    // They are what the statement's text says they are.
    return (await promise) as Row[]
  } catch (error) {
    // Whoever reads of it looks for who asked, not for the socket.
    if (error instanceof Error) Error.captureStackTrace(error)
    throw error
  }
}

interface Column {
  readonly name: string
  readonly parse: (text: string) => unknown
}

/** By the name of the statement. Postgres refuses to run one whose columns have changed since. */
const columnsOf = new WeakMap<Connection, Map<string, readonly Column[]>>()

/** `pg` knows what is prepared on a connection by these names, and calls these handlers as answers come. */
class Prepared implements Submittable {
  readonly name: string
  readonly text: string
  readonly #client: ClientBase
  readonly #values: readonly SqlValue[]
  /**
   * `pg` puts another one here that ends its wait of `query_timeout` first, and tells it what was overdue.
   */
  callback: (error: unknown, rows?: object[]) => void
  readonly #rows: object[] = []
  #columns: readonly Column[] | undefined
  #failed: unknown
  #connection: Connection | undefined

  constructor(
    client: ClientBase,
    { name, text }: Statement,
    values: readonly SqlValue[],
    settle: (rows: object[], error: unknown) => void,
  ) {
    this.name = name
    this.text = text
    this.#client = client
    this.#values = values
    this.callback = (error, rows = []) => settle(rows, error ?? undefined)
  }

  /** Gives what it fails with before anything is sent. */
  submit(connection: Connection): Error | undefined {
    const { parsedStatements } = connection as Connection & {
      readonly parsedStatements: Readonly<Record<string, string>>
    }
    const parsed = parsedStatements[this.name]
    if (parsed !== undefined && parsed !== this.text)
      return new Error(`Another statement is prepared as ${this.name}.`)
    let values: (string | Buffer | null)[]
    try {
      values = this.#values.map(sent)
    } catch (error) {
      return error instanceof Error ? error : new Error('thrown value')
    }
    this.#connection = connection
    this.#columns = columnsOf.get(connection)?.get(this.name)
    // In one piece.
    connection.stream.cork()
    if (parsed === undefined) connection.parse({ name: this.name, text: this.text, types: [] }, true)
    connection.bind({ statement: this.name, values }, true)
    if (this.#columns === undefined) connection.describe({ type: 'P' }, true)
    connection.execute(null, true)
    connection.sync()
    connection.stream.uncork()
    return undefined
  }

  handleRowDescription({
    fields,
  }: {
    readonly fields: readonly { readonly name: string; readonly dataTypeID: number }[]
  }): void {
    const columns = fields.map(({ name, dataTypeID }) => ({
      name,
      parse: this.#client.getTypeParser(dataTypeID, 'text') as Column['parse'],
    }))
    this.#columns = columns
    if (this.#connection === undefined) return
    const knownColumns = columnsOf.get(this.#connection) ?? new Map<string, readonly Column[]>()
    columnsOf.set(this.#connection, knownColumns.set(this.name, columns))
  }

  handleDataRow({ fields }: { readonly fields: readonly (string | null)[] }): void {
    const row: Record<string, unknown> = {}
    try {
      let offset = 0
      for (const { name, parse } of this.#columns ?? []) {
        const text = fields[offset] ?? null
        row[name] = text === null ? null : parse(text)
        offset += 1
      }
      this.#rows.push(row)
    } catch (error) {
      this.#failed ??= error
    }
  }

  handleReadyForQuery(): void {
    this.callback(this.#failed, this.#rows)
  }

  handleError(error: unknown): void {
    this.callback(error)
  }

  handleCommandComplete(): void {
    // How many rows there were is known.
  }

  handleEmptyQuery(): void {
    // No text, no rows.
  }

  handlePortalSuspended(): void {
    // Only where a number of rows was asked for.
  }
}

/** A value as Postgres reads it: as text, or as bytes where it is bytes. */
function sent(value: SqlValue): string | Buffer | null {
  // What the types forbid is not sent as a word of JavaScript.
  if (value === null || value === undefined) return null
  if (typeof value !== 'object') return String(value)
  if (value instanceof Int32Array) return intsParameter(value)
  if (value instanceof Uint8Array)
    return Buffer.isBuffer(value) ? value : Buffer.from(value.buffer, value.byteOffset, value.byteLength)
  if (value instanceof Date) return value.toISOString()
  return Array.isArray(value) ? list(value) : JSON.stringify(value)
}

const list = (values: readonly SqlValue[]): string => `{${values.map(member).join(',')}}`

function member(value: SqlValue): string {
  if (value === null) return 'NULL'
  if (Array.isArray(value)) return list(value)
  return quoted(
    value instanceof Uint8Array ? `\\x${Buffer.from(value).toString('hex')}` : String(sent(value)),
  )
}

const quoted = (text: string): string =>
  special.test(text) ? `"${text.replaceAll('\\', '\\\\').replaceAll('"', '\\"')}"` : `"${text}"`

const special = /["\\]/
