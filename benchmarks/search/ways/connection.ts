import pg from 'pg'
import type { Place } from '../servers.ts'

/**
 * A connection of its own with settings of its own, as a service keeps one for each plan; statements are
 * prepared once.
 */
export interface Connection extends AsyncDisposable {
  query<Row extends object>(
    name: string,
    text: string,
    values: readonly (string | number | Uint8Array | readonly (string | number)[])[],
  ): Promise<Row[]>
}

export type Settings = Readonly<Record<string, string | number>>

export async function connect({ url, database }: Place, settings: Settings): Promise<Connection> {
  const set = Object.entries(settings)
  if (url === undefined) {
    // One session for all: what is not its default goes with each statement.
    const differing = set.filter(([name, value]) => name !== 'hnsw.ef_search' || value !== 40)
    return {
      query: (_, text, values) =>
        differing.length === 0
          ? database.query(text, values)
          : database.transaction(async (sql) => {
              for (const [name, value] of differing)
                await sql.query('select set_config($1, $2, true)', [name, String(value)])
              return sql.query(text, values)
            }),
      [Symbol.asyncDispose]: async () => undefined,
    }
  }
  const client = new pg.Client({
    connectionString: url,
    options: set.map(([name, value]) => `-c ${name}=${value}`).join(' '),
  })
  // Its query tells, where one runs; without one the process would end.
  client.on('error', () => undefined)
  await client.connect()
  try {
    await hold(client, set)
  } catch (error) {
    await client.end()
    throw error
  }
  return {
    async query<Row extends object>(name: string, text: string, values: readonly unknown[]) {
      const { rows } = await client.query<Row>({ name, text, values: [...values] })
      return rows
    },
    [Symbol.asyncDispose]: () => client.end(),
  }
}

/**
 * A setting of an extension is taken as it comes until the extension is there, and dropped then if it is
 * wrong.
 */
async function hold(client: pg.Client, set: readonly (readonly [string, string | number])[]): Promise<void> {
  await client.query(`select '[1]'::vector`)
  for (const [name, value] of set) {
    const { rows } = await client.query<{ now: string }>('select current_setting($1) as now', [name])
    if (rows[0]?.now !== String(value)) throw new Error(`${name} is ${rows[0]?.now}, not ${value}.`)
  }
}
