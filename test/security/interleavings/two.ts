import { readFile } from 'node:fs/promises'
import { type AllowList, compileAllowList } from '../../../src/authz/allow-list/allow-list.ts'
import { type Fga, type Tuple, tupleId } from '../../../src/authz/fga.ts'
import type { FgaApi } from '../../../src/authz/fga-api.ts'
import { deployModel } from '../../../src/authz/model/deploy.ts'
import { createFga, createFgaApi } from '../../../src/authz/openfga.ts'
import type { FgaObject } from '../../../src/kernel/ids.ts'
import { openPostgres } from '../../../src/store/postgres.ts'
import type { Database, Sql } from '../../../src/store/sql.ts'
import { type MovableClock, movableClock } from '../../delegation/world.ts'
import { openTestDatabase } from '../../support/database.ts'
import { overDatabase, overOpenfga, type Pair, type Side } from '../../support/interleavings.ts'
import { native } from '../../support/native.ts'

/** What one process has of the two, each call a step. */
export interface Process {
  readonly database: Database
  readonly fga: Fga
  /** The same in each run, and never the same in two. */
  readonly newId: () => string
}

/** One Postgres and one OpenFGA with three processes: the two workers, and `C`, which nothing stops. */
export interface Two extends AsyncDisposable, Pick<Pair, 'database' | 'applications'> {
  readonly clock: MovableClock
  readonly allowList: AllowList
  readonly processes: Readonly<Record<Side | 'C', Process>>
  /** From which {@link Process.newId} begins anew. */
  mark: string
  /** A race that is planted in both workers. */
  plant: Plant
  /** Tuples on an object, as stored. */
  tuples(object: string): Promise<string[]>
  /** Remembers these rows, and the tuples on these objects; gives what puts all of them back. */
  remember(rows: Rows, objects: readonly FgaObject[]): Promise<() => Promise<void>>
}

/** By table a column, or an expression, and its value. */
export type Rows = Readonly<Record<string, readonly [column: string, value: string | number]>>

/** A race that is planted in the workers: at a port, in what is sent. */
export interface Plant {
  readonly sql?: (sql: Sql) => Sql
  readonly fga?: (fga: Fga) => Fga
}
/** A plant of other texts in the place of some statements. */
export const sends = (edit: (text: string) => string): Plant => ({
  sql: (sql) => ({ query: (text, values) => sql.query(edit(text), values) }),
})

export async function openTwo(): Promise<Two> {
  await using stack = new AsyncDisposableStack()
  const database = stack.use(await openTestDatabase('postgres'))
  const clock = movableClock()
  if (native.openfga === undefined) throw new Error('This needs OPENFGA_TEST_URL.')
  const { url, token } = native.openfga
  const api = createFgaApi({ apiUrl: url, apiToken: token, timeoutMs: 10_000 })
  const deployed = await deployModel({
    api,
    database,
    dsl: await readFile(new URL('../../../model.fga', import.meta.url), 'utf8'),
    allowList: await readFile(new URL('../../../model.allow-list.yaml', import.meta.url), 'utf8'),
    redeploy: false,
    newTxn: () => 't_test',
    now: () => clock.now(),
  })
  // Numbers that are given here are no small ones, by which two runs are told to be the same.
  await database.query(
    `select setval(format('%I.%I', schemaname, sequencename)::regclass, 100000) from pg_sequences
     where schemaname = 'public'`,
  )
  const own = await urlOf(database)
  const fgaOf = (one: FgaApi) => createFga(one, deployed.storeId, () => deployed.model.id)
  const fga = fgaOf(api)
  const open = async () => stack.use(await openPostgres({ url: own, poolSize: 4 }))
  const opened = { A: await open(), B: await open() }
  const plantedFga = (one: Fga): Fga =>
    new Proxy(one, { get: (_, member) => Reflect.get(two.plant.fga?.(one) ?? one, member) as unknown })
  const ids = { A: 0, B: 0, C: 0 }
  const newIdOf = (side: Side | 'C') => () => {
    ids[side] += 1
    return `${two.mark}${side}${ids[side]}`
  }
  const processOf = (side: Side): Process => ({
    database: plantedIn(overDatabase(opened[side]), () => two.plant),
    fga: plantedFga(fgaOf(overOpenfga(api))),
    newId: newIdOf(side),
  })
  const owned = stack.move()
  let mark = ''
  const two: Two = {
    database,
    applications: { A: await applicationOf(opened.A), B: await applicationOf(opened.B) },
    clock,
    allowList: compileAllowList(deployed.model),
    processes: { A: processOf('A'), B: processOf('B'), C: { database, fga, newId: newIdOf('C') } },
    plant: {},
    get mark() {
      return mark
    },
    set mark(next) {
      mark = next
      ids.A = ids.B = ids.C = 0
    },
    async tuples(object) {
      const found: string[] = []
      for await (const { user, relation } of fga.read({ object })) found.push(`${user} ${relation}`)
      return found.sort()
    },
    remember: (rows, objects) => remember(database, fga, rows, objects),
    [Symbol.asyncDispose]: () => owned.disposeAsync(),
  }
  return two
}

/** The database as a worker has it, with what is planted at that moment. */
export function plantedIn(real: Database, plant: () => Plant): Database {
  const over = (sql: Sql): Sql => plant().sql?.(sql) ?? sql
  return {
    ...real,
    query: (text, values) => over(real).query(text, values),
    transaction: (work, options) => real.transaction((sql) => work(over(sql)), options),
  }
}

/** Where a database of the tests is. */
export async function urlOf(database: Sql): Promise<string> {
  const [{ name } = { name: '' }] = await database.query<{ name: string }>(
    'select current_database() as name',
  )
  return Object.assign(new URL(native.databaseUrl ?? ''), { pathname: `/${name}` }).href
}

/** By which Postgres knows the connections of a pool. */
export async function applicationOf(sql: Sql): Promise<string> {
  const [row] = await sql.query<{ name: string }>(`select current_setting('application_name') as name`)
  return row?.name ?? ''
}

/** Rows as they are committed, in an order of their own. */
export async function rowsOf(sql: Sql, rows: Rows): Promise<Readonly<Record<string, unknown>>> {
  const wanted = Object.entries(rows)
  const parts = wanted.map(
    ([table, [column]], nth) =>
      `(select coalesce(jsonb_agg(to_jsonb(t) order by t::text), '[]') from ${table} t where ${column} = $${nth + 1}) as ${table}`,
  )
  const [row] = await sql.query<Record<string, unknown>>(
    `select ${parts.join(', ')}`,
    wanted.map(([, [, value]]) => value),
  )
  return row ?? {}
}

let remembered = 0

async function remember(
  database: Database,
  fga: Fga,
  rows: Rows,
  objects: readonly FgaObject[],
): Promise<() => Promise<void>> {
  remembered += 1
  const restoring: string[] = []
  for (const [table, [column, value]] of Object.entries(rows)) {
    const kept = `remembered_${remembered}_${table}`
    await database.query(`create table ${kept} as select * from ${table} where ${column} = ${literal(value)}`)
    const columns = await database.query<{ name: string }>(
      `select quote_ident(attname) as name from pg_attribute
       where attrelid = $1::regclass and attnum > 0 and not attisdropped and attgenerated = ''`,
      [table],
    )
    const names = columns.map(({ name }) => name).join(', ')
    restoring.push(
      `delete from ${table} where ${column} = ${literal(value)}`,
      `insert into ${table} (${names}) overriding system value select ${names} from ${kept}`,
    )
  }
  const stored = async (): Promise<Map<string, Tuple>> => {
    const found = new Map<string, Tuple>()
    for (const object of objects)
      for await (const { user, relation, condition } of fga.read({ object }))
        found.set(tupleId({ user, relation, object }), {
          user,
          relation,
          object,
          ...(condition && { condition }),
        })
    return found
  }
  const before = await stored()
  // Past triggers and references: what is put back has been there.
  const restore = ['begin', 'set local session_replication_role = replica', ...restoring, 'commit'].join('; ')
  return async () => {
    await database.query(restore)
    const now = await stored()
    const writes = [...before].flatMap(([id, tuple]) => (now.has(id) ? [] : [tuple]))
    const deletes = [...now].flatMap(([id, { user, relation, object }]) =>
      before.has(id) ? [] : [{ user, relation, object }],
    )
    if (writes.length + deletes.length > 0) await fga.write({ writes, deletes })
  }
}

const literal = (value: string | number): string =>
  typeof value === 'number' ? String(value) : `'${value.replaceAll("'", "''")}'`
