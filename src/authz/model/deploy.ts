import type { OpenFgaApi } from '@openfga/sdk'
import { AppError } from '../../kernel/errors.ts'
import type { Sql } from '../../store/sql.ts'
import { digestOf, readDsl } from './dsl.ts'

export interface DeployedModel {
  readonly storeId: string
  readonly modelId: string
  /** False: the file is not the model in force. Said at start and on the operators' /readyz; changes nothing. */
  readonly matchesFile: boolean
}

interface Pin {
  readonly store_id: string
  readonly model_id: string
  readonly digest: string
}

export interface DeployOptions {
  readonly api: OpenFgaApi
  readonly sql: Sql
  /** Text of `model.fga`. */
  readonly dsl: string
  /** Store to use. Left out: the one made at the first start. */
  readonly storeId?: string
  /** Deploys a differing file again. Only the demo does. */
  readonly redeploy: boolean
}

/**
 * Deploys the model at the first start and pins its id by a row; later starts use the pinned one whatever
 * the file says, so that a stray file never changes who may read what.
 */
export async function deployModel({
  api,
  sql,
  dsl,
  storeId,
  redeploy,
}: DeployOptions): Promise<DeployedModel> {
  const digest = digestOf(dsl)
  const pinned = await readPin(sql)
  if (pinned !== undefined && storeId !== undefined && pinned.store_id !== storeId) {
    throw new Error(`OPENFGA_STORE_ID is ${storeId}, but this database belongs to store ${pinned.store_id}.`)
  }
  if (pinned !== undefined && (pinned.digest === digest || !redeploy)) {
    await assertPresent(api, pinned)
    return { storeId: pinned.store_id, modelId: pinned.model_id, matchesFile: pinned.digest === digest }
  }
  // Read before anything is made: a file that is no model leaves no empty store behind.
  const model = readDsl(dsl)
  const store = pinned?.store_id ?? storeId ?? (await api.createStore({ name: 'remit' })).id
  const { authorization_model_id } = await api.writeAuthorizationModel(store, model)
  const pin: Pin = { store_id: store, model_id: authorization_model_id, digest }
  await sql.query(
    `insert into settings (key, value) values ('authorization_model', $1)
     on conflict (key) do update set value = excluded.value`,
    [pin],
  )
  return { storeId: store, modelId: authorization_model_id, matchesFile: true }
}

async function readPin(sql: Sql): Promise<Pin | undefined> {
  const [row] = await sql.query<{ value: Pin }>(
    `select value from settings where key = 'authorization_model'`,
  )
  return row?.value
}

// A server that lost its store answers reads with nothing and 200; better not to start on it.
async function assertPresent(api: OpenFgaApi, { store_id, model_id }: Pin): Promise<void> {
  try {
    // Both: the server goes on serving the models of a deleted store.
    await api.getStore(store_id)
    await api.readAuthorizationModel(store_id, model_id)
  } catch (error) {
    throw new AppError('authorization_unavailable', {
      internal: `OpenFGA does not answer for store ${store_id}, model ${model_id}`,
      cause: error,
    })
  }
}
