import { Readable } from 'node:stream'
import {
  type ChangeRow,
  createEngine,
  type Engine,
  type Journal,
  type ModelRow,
  type StoreRow,
  type TupleKey,
  type TupleRow,
} from '@remit/engine'
import { AppError } from '../kernel/errors.ts'
import type { Log } from '../kernel/log.ts'
import { reasonOf } from '../kernel/reason.ts'
import type { Exclusive } from '../store/exclusive.ts'
import type { Database, Sql } from '../store/sql.ts'
import type { AxiosAdapter } from './fga-api.ts'

/** Base address of the engine inside the process; nothing listens there. */
export const embeddedUrl = 'http://engine.invalid'

/** The engine in this process, reached as if it were OpenFGA over HTTP. */
export interface EmbeddedEngine {
  /** Lets the SDK reach the engine without a network. */
  readonly adapter: AxiosAdapter
}

/**
 * The embedded OpenFGA-compatible engine: in memory, written through to our database. One process only: its
 * memory would not see another's writes, so native Postgres needs `exclusive`, and each memory has a number
 * there that its writes ask for: `exclusive` may be lost between a look at it and the write. No listener,
 * hence no key to keep.
 */
export async function openEmbedded(
  database: Database,
  now: () => number,
  log: Log,
  exclusive?: Exclusive,
): Promise<EmbeddedEngine> {
  let engine: Promise<Engine> | undefined

  /** Takes the number before anything is read: whatever others write under theirs is in, or refused. */
  async function openEngine(forget: () => void): Promise<Engine> {
    const journal = createJournal(database, exclusive && (await takeHold(database)))
    const write: Journal['write'] = async (storeId, batch) => {
      try {
        await journal.write(storeId, batch)
      } catch (error) {
        // Lost at commit: stored or not, nobody knows. The memory is made anew from what the database holds.
        if (error instanceof AppError) forget()
        throw error
      }
    }
    return createEngine({
      journal: { ...journal, write },
      now,
      onError: (error) => log('engine_failed', { reason: reasonOf(error) }),
    })
  }
  const current = async (): Promise<Engine> => {
    // Lost and won back: another process may have written meanwhile.
    if ((await exclusive?.hold())?.renewed === true) engine = undefined
    if (engine !== undefined) return engine
    const opening: Promise<Engine> = openEngine(() => {
      if (engine === opening) engine = undefined
    })
    engine = opening
    // The next one tries again.
    opening.catch(() => {
      if (engine === opening) engine = undefined
    })
    return opening
  }
  await (await current()).ready()
  return { adapter: adapterFor(current) }
}

/** An engine that keeps nothing: for trials of a model, beside whatever the service uses. */
export function openInMemory(): EmbeddedEngine {
  const engine = createEngine()
  return { adapter: adapterFor(async () => engine) }
}

function adapterFor(current: () => Promise<Engine>): AxiosAdapter {
  return async (config) => {
    const url = new URL(config.url ?? '', embeddedUrl)
    for (const [name, value] of Object.entries((config.params ?? {}) as Record<string, string>)) {
      if (value !== undefined) url.searchParams.set(name, String(value))
    }
    const method = (config.method ?? 'get').toUpperCase()
    const body = typeof config.data === 'string' ? config.data : undefined
    const engine = await current()
    const response = await engine.fetch(
      new Request(url, {
        method,
        headers: { 'content-type': 'application/json' },
        ...(body !== undefined && { body }),
      }),
    )
    const streams = config.responseType === 'stream'
    const dataDir = streams
      ? Readable.from([new Uint8Array(await response.arrayBuffer())])
      : parse(await response.text())
    const answer = {
      data: dataDir,
      status: response.status,
      statusText: response.statusText,
      headers: Object.fromEntries(response.headers),
      config,
    }
    if (response.ok) return answer
    // The shape that axios itself rejects with, from which the SDK makes its own errors.
    throw Object.assign(new Error(`Request failed with status code ${response.status}`), {
      isAxiosError: true,
      config,
      response: answer,
    })
  }
}

const parse = (text: string): unknown => (text === '' ? {} : JSON.parse(text))

// As many as the engine itself keeps in memory; older ones are read when asked for.
const changesKept = 10_000

/** A row as the database has it: what has no condition has null there. */
type Nullable<Row> = Omit<Row, 'condition'> & { readonly condition: TupleKey['condition'] | null }

/** Takes the right to write from whoever had it, and gives the number under which it is held. */
async function takeHold(sql: Sql): Promise<number> {
  const [row] = await sql.query<{ number: number }>(
    `insert into engine_hold (number) values (1)
     on conflict (single) do update set number = engine_hold.number + 1 returning number`,
  )
  return row?.number ?? 0
}

/**
 * Keeps the embedded engine's stores, models, tuples and change log in our database. `hold`: nothing is
 * written once somebody else took it; left out where nobody else can.
 */
function createJournal(database: Database, hold?: number): Journal {
  /** In one transaction, during which nobody can take the hold. */
  function write(change: (sql: Sql) => Promise<unknown>): Promise<void> {
    return database.transaction(async (sql) => {
      const isHeld =
        hold === undefined ||
        (await sql.query('select from engine_hold where number = $1 for share', [hold])).length > 0
      if (!isHeld)
        throw new AppError('authorization_unavailable', { internal: 'another process has the engine' })
      await change(sql)
    })
  }

  return {
    async load() {
      const stores = await database.query<StoreRow>(
        'select id, name, created_at as "createdAt", updated_at as "updatedAt" from engine_stores',
      )
      const models = await database.query<ModelRow>(
        'select store_id as "storeId", id, json from engine_models',
      )
      const tuples = await database.query<Nullable<TupleRow>>(
        `select store_id as "storeId", ulid, object, relation, subject as "user", condition from engine_tuples`,
      )
      const changes = await database.query<FlatChange>(
        `select ${changeColumns} from engine_changes order by ulid desc limit $1`,
        [changesKept],
      )
      return { stores, models, tuples: tuples.map(withCondition), changes: changes.map(toChange) }
    },

    async createStore({ id, name, createdAt, updatedAt }) {
      await write((sql) =>
        sql.query('insert into engine_stores (id, name, created_at, updated_at) values ($1, $2, $3, $4)', [
          id,
          name,
          createdAt,
          updatedAt,
        ]),
      )
    },

    async deleteStore(id) {
      await write((sql) => sql.query('delete from engine_stores where id = $1', [id]))
    },

    async writeModel(storeId, { id, json }) {
      await write((sql) =>
        sql.query('insert into engine_models (store_id, id, json) values ($1, $2, $3)', [storeId, id, json]),
      )
    },

    async write(storeId, { deletes, writes, changes }) {
      await write(async (sql) => {
        await deleteTuples(sql, storeId, deletes)
        await insertTuples(sql, storeId, writes)
        await insertChanges(sql, storeId, changes)
      })
    },

    async readChanges(storeId, { after: afterPosition, type, limit }) {
      const rows = await database.query<FlatChange>(
        `select ${changeColumns} from engine_changes
         where store_id = $1 and ulid > $2 and ($3::text is null or starts_with(object, $3 || ':'))
         order by ulid limit $4`,
        [storeId, afterPosition, type ?? null, limit],
      )
      return rows.map(toChange)
    },
  }
}

async function deleteTuples(sql: Sql, storeId: string, keys: readonly TupleKey[]): Promise<void> {
  if (keys.length === 0) return
  await sql.query(
    `delete from engine_tuples t using unnest($2::text[], $3::text[], $4::text[]) as k (object, relation, subject)
     where t.store_id = $1 and t.object = k.object and t.relation = k.relation and t.subject = k.subject`,
    [storeId, ...columnsOf(keys)],
  )
}

async function insertTuples(sql: Sql, storeId: string, rows: readonly TupleRow[]): Promise<void> {
  if (rows.length === 0) return
  await sql.query(
    `insert into engine_tuples (store_id, object, relation, subject, condition, ulid)
     select $1, object, relation, subject, condition::jsonb, ulid
     from unnest($2::text[], $3::text[], $4::text[], $5::text[], $6::text[])
       as t (object, relation, subject, condition, ulid)`,
    [storeId, ...columnsOf(rows), rows.map(conditionOf), rows.map(({ ulid }) => ulid)],
  )
}

async function insertChanges(sql: Sql, storeId: string, changes: readonly ChangeRow[]): Promise<void> {
  if (changes.length === 0) return
  const keys = changes.map(({ key }) => key)
  await sql.query(
    `insert into engine_changes (store_id, object, relation, subject, condition, ulid, operation)
     select $1, object, relation, subject, condition::jsonb, ulid, operation
     from unnest($2::text[], $3::text[], $4::text[], $5::text[], $6::text[], $7::text[])
       as t (object, relation, subject, condition, ulid, operation)`,
    [
      storeId,
      ...columnsOf(keys),
      keys.map(conditionOf),
      changes.map(({ ulid }) => ulid),
      changes.map(({ operation }) => operation),
    ],
  )
}

const columnsOf = (keys: readonly TupleKey[]): [string[], string[], string[]] => [
  keys.map(({ object }) => object),
  keys.map(({ relation }) => relation),
  keys.map(({ user }) => user),
]

const conditionOf = ({ condition }: TupleKey): string | null =>
  condition === undefined ? null : JSON.stringify(condition)

const changeColumns = 'store_id as "storeId", ulid, operation, object, relation, subject as "user", condition'

type FlatChange = Nullable<TupleRow & Pick<ChangeRow, 'operation'>>

const withCondition = <Row extends object>({
  condition,
  ...row
}: Row & { readonly condition: TupleKey['condition'] | null }) => ({
  ...row,
  ...(condition && { condition }),
})

const toChange = ({ storeId, ulid, operation, ...key }: FlatChange): ChangeRow => ({
  storeId,
  ulid,
  operation,
  key: withCondition(key),
})
