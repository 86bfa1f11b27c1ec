import { readRows, type Sql } from '../../store/sql.ts'
import type { Candidate } from './with-marks.ts'

/** The row that says which model is in force, in which store. */
export interface Pin {
  readonly store_id: string
  readonly model_id: string
  /** See `digestOfVersion`. */
  readonly digest: string
}

/** A model that is or was in force. */
export interface ModelVersion extends Candidate {
  /** OpenFGA's id. */
  readonly id: string
  /** Undefined: put in force by a start. */
  readonly plan: string | undefined
  /** Those who confirmed the plan. */
  readonly activatedBy: readonly string[]
  readonly activatedAt: Date
}

/**
 * `lock`: nobody else changes it before the end of the transaction; with `share` others may hold it so as
 * well.
 */
export async function readPin(
  sql: Sql,
  { lock: lockMode }: { readonly lock?: 'update' | 'share' } = {},
): Promise<Pin | undefined> {
  const [row] = await sql.query<{ value: Pin }>(
    `select value from settings where key = 'authorization_model' ${lockMode === undefined ? '' : `for ${lockMode}`}`,
  )
  return row?.value
}

/**
 * Puts a model in force: the row, and the model itself for going back to it. Give it a transaction.
 * `isFirst`: only where there is no row yet; false: there was one, and nothing is written.
 */
export async function writePin(
  sql: Sql,
  storeId: string,
  version: ModelVersion,
  { isFirst = false } = {},
): Promise<boolean> {
  const rows = await sql.query(
    `insert into settings (key, value) values ('authorization_model', $1)
     on conflict (key) do ${isFirst ? 'nothing' : 'update set value = excluded.value'} returning key`,
    [{ store_id: storeId, model_id: version.id, digest: version.digest } satisfies Pin],
  )
  if (rows.length === 0) return false
  await keepVersion(sql, version)
  return true
}

/** Stores a version of the model. */
export async function keepVersion(sql: Sql, version: ModelVersion): Promise<void> {
  const { id, digest, dsl, json, allowList, plan, activatedBy, activatedAt } = version
  await sql.query(
    `insert into models (id, digest, dsl, json, allow_list, plan, activated_by, activated_at)
     values ($1, $2, $3, $4, $5, $6, $7, $8) on conflict (id) do nothing`,
    [id, digest, dsl ?? null, json, allowList ?? null, plan ?? null, activatedBy, activatedAt],
  )
}

// An older version that activates a plan keeps no list beside the model: the plan has it.
const columns = `id, digest, dsl, json, plan, activated_by as "activatedBy", activated_at as "activatedAt",
  coalesce(allow_list, (select p.allow_list from model_plans p where p.id = models.plan)) as "allowList"`

/** The stored version with this model id, if there is one. */
export async function readVersion(sql: Sql, id: string): Promise<ModelVersion | undefined> {
  return (await readRows<ModelVersion>(sql, `select ${columns} from models where id = $1`, [id]))[0]
}

/** The newest first, at most 100. */
export const listVersions = (sql: Sql): Promise<readonly ModelVersion[]> =>
  readRows(sql, `select ${columns} from models order by activated_at desc, id desc limit 100`)

/** Types of all models that are or were in force: tuples of each may be stored. */
export async function typesEver(sql: Sql): Promise<readonly string[]> {
  const rows = await sql.query<{ type: string }>(
    `select distinct definition->>'type' as type
     from models, jsonb_array_elements(json->'type_definitions') as definition order by 1`,
  )
  return rows.map(({ type }) => type)
}

/** Of the list that came into force last. Undefined: none ever did. */
export async function lastAllowList(sql: Sql): Promise<string | undefined> {
  const [row] = await sql.query<{ allowList: string }>(
    `select "allowList" from (select ${columns} from models) as versions where "allowList" is not null
     order by "activatedAt" desc, id desc limit 1`,
  )
  return row?.allowList
}
