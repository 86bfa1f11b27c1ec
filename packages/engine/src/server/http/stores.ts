import type { JsonObject } from '../../core/condition-values.ts'
import { FgaError } from '../../core/errors.ts'
import { compileModel } from '../../core/model.ts'
import { isUlid } from '../../core/ulid.ts'
import type { StoreRow } from '../journal.ts'
import { createStoreState } from '../state.ts'
import { badToken, type Call, decodeToken, encodeToken, ok, type Reply, storeOf } from './call.ts'
import { bytes, match, pageSizeOf, textMember, tokenOf, ulidPattern } from './input.ts'

const namePattern = /^[a-zA-Z0-9\s\.\-\/^_&@]{3,64}$/
const modelBytesMax = 256 * 1024

const show = (row: StoreRow): JsonObject => ({
  id: row.id,
  name: row.name,
  created_at: row.createdAt,
  updated_at: row.updatedAt,
})

/** Answers `POST /stores`. */
export async function createStore(call: Call): Promise<Reply> {
  const name = match(textMember(call.body, 'name'), namePattern, 'CreateStoreRequest.Name')
  return call.exclusive(async () => {
    const createdAt = new Date(call.now()).toISOString()
    const row: StoreRow = { id: call.state.nextUlid(), name, createdAt: createdAt, updatedAt: createdAt }
    await call.journal?.createStore(row)
    call.state.stores.set(row.id, createStoreState(row, call.journal))
    return { status: 201, body: show(row) }
  })
}

/** Answers `GET /stores`. */
export function listStores(call: Call): Reply {
  const size = pageSizeOf(call.query.get('page_size'), 'ListStoresRequest')
  const afterId = decodeToken(tokenOf(call.query.get('continuation_token') ?? '', 'ListStoresRequest'))
  const name = call.query.get('name')
  const rows = [...call.state.stores.values()].map((store) => store.row)
  const page = rows
    .filter((row) => row.id > afterId && (name === null || name === '' || row.name === name))
    .slice(0, size + 1)
  const lastStore = page.length > size ? page[size - 1] : undefined
  return ok({
    stores: page.slice(0, size).map((row) => ({ ...show(row), deleted_at: null })),
    continuation_token: lastStore === undefined ? '' : encodeToken(lastStore.id),
  })
}

/** Answers `GET /stores/{id}`. */
export function getStore(call: Call): Reply {
  const store = storeOf(call)
  if (store === undefined) throw new FgaError('store_id_not_found', 'Store ID not found')
  return ok({ ...show(store.row), deleted_at: null })
}

/** 204 also for a store that is not there. */
export async function deleteStore(call: Call): Promise<Reply> {
  return call.exclusive(async () => {
    if (storeOf(call) !== undefined) await call.journal?.deleteStore(call.storeId)
    call.state.stores.delete(call.storeId)
    return { status: 204 }
  })
}

/** Answers `POST /stores/{id}/authorization-models`. */
export async function writeModel(call: Call): Promise<Reply> {
  return call.exclusive(async () => {
    const store = storeOf(call)
    if (store === undefined) throw new FgaError('store_id_not_found', 'Store ID not found')
    const size = bytes(JSON.stringify(call.body))
    const id = call.state.nextUlid()
    const model = compileModel(call.body, id)
    if (size > modelBytesMax * 4)
      throw new FgaError(
        'exceeded_entity_limit',
        `model exceeds size limit: ${size} bytes vs ${modelBytesMax * 4} bytes`,
      )
    await call.journal?.writeModel(call.storeId, { storeId: call.storeId, id, json: model.json })
    store.models.set(id, model)
    return { status: 201, body: { authorization_model_id: id } }
  })
}

/** Answers `GET /stores/{id}/authorization-models/{id}`. */
export function readModel(call: Call): Reply {
  match(call.id, ulidPattern, 'ReadAuthorizationModelRequest.Id')
  const model = storeOf(call)?.models.get(call.id)
  if (model === undefined)
    throw new FgaError('authorization_model_not_found', `Authorization Model '${call.id}' not found`)
  return ok({ authorization_model: model.json })
}

/** Newest first. */
export function readModels(call: Call): Reply {
  const size = pageSizeOf(call.query.get('page_size'), 'ReadAuthorizationModelsRequest')
  const token = decodeToken(
    tokenOf(call.query.get('continuation_token') ?? '', 'ReadAuthorizationModelsRequest'),
  )
  if (token !== '' && !isUlid(token)) throw badToken()
  const newest = [...(storeOf(call)?.models.values() ?? [])]
    .reverse()
    .filter((model) => token === '' || model.id < token)
  const lastModel = newest.length > size ? newest[size - 1] : undefined
  return ok({
    authorization_models: newest.slice(0, size).map((model) => model.json),
    continuation_token: lastModel === undefined ? '' : encodeToken(lastModel.id),
  })
}
