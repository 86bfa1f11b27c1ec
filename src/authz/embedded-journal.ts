import type { ChangeRow, Journal, ModelRow, StoreRow, TupleKey, TupleRow } from '@remit/engine'
import { AppError } from '../kernel/errors.ts'
import type { Database, Sql } from '../store/sql.ts'

// As many as the engine itself keeps in memory; older ones are read when asked for.
const changesKept = 10_000

interface KeyColumns {
  readonly store_id: string
  readonly ulid: string
  readonly object: string
  readonly relation: string
  readonly subject: string
  readonly condition: TupleKey['condition'] | null
}

/** Takes the right to write from whoever had it, and gives the number under which it is held. */
export async function takeHold(sql: Sql): Promise<number> {
  const [row] = await sql.query<{ number: number }>(
    `insert into engine_hold (number) values (1)
     on conflict (single) do update set number = engine_hold.number + 1 returning number`,
  )
  return row?.number ?? 0
}

/**
 * Keeps the embedded engine's stores, models, tuples and change log in our database. `hold`: nothing is written once
 * somebody else took it; left out where nobody else can.
 */
export function createJournal(database: Database, hold?: number): Journal {
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
      const stores = await database.query<{
        id: string
        name: string
        created_at: string
        updated_at: string
      }>('select id, name, created_at, updated_at from engine_stores')
      const models = await database.query<{ store_id: string; id: string; json: ModelRow['json'] }>(
        'select store_id, id, json from engine_models',
      )
      const tuples = await database.query<KeyColumns>(
        'select store_id, ulid, object, relation, subject, condition from engine_tuples',
      )
      const changes = await database.query<KeyColumns & Pick<ChangeRow, 'operation'>>(
        `select store_id, ulid, operation, object, relation, subject, condition
         from engine_changes order by ulid desc limit $1`,
        [changesKept],
      )
      return {
        stores: stores.map(
          ({ id, name, created_at, updated_at }): StoreRow => ({
            id,
            name,
            createdAt: created_at,
            updatedAt: updated_at,
          }),
        ),
        models: models.map(({ store_id, id, json }): ModelRow => ({ storeId: store_id, id, json })),
        tuples: tuples.map((row): TupleRow => ({ storeId: row.store_id, ulid: row.ulid, ...keyOf(row) })),
        changes: changes.map(toChange),
      }
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
      const rows = await database.query<KeyColumns & Pick<ChangeRow, 'operation'>>(
        `select store_id, ulid, operation, object, relation, subject, condition
         from engine_changes
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

const keyOf = ({ object, relation, subject, condition }: KeyColumns): TupleKey => ({
  user: subject,
  relation,
  object,
  ...(condition && { condition }),
})

const toChange = (row: KeyColumns & Pick<ChangeRow, 'operation'>): ChangeRow => ({
  storeId: row.store_id,
  ulid: row.ulid,
  operation: row.operation,
  key: keyOf(row),
})
