import type { JsonObject } from '../../core/condition-values.ts'
import { FgaError } from '../../core/errors.ts'
import { match, textMember } from '../../core/json-members.ts'
import { compileModel } from '../../core/model.ts'
import type { StoreRow } from '../journal.ts'
import { createStoreState } from '../state.ts'
import {
  type Call,
  decodeToken,
  decodeUlid,
  existingStore,
  noSuchModel,
  ok,
  pageOf,
  type Reply,
  storeOf,
} from './call.ts'
import { bytes, pageSizeOf, tokenOf, ulidPattern } from './input.ts'

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
  const afterId = decodeToken(tokenOf(call.query.get('continuation_token'), 'ListStoresRequest'))
  const name = call.query.get('name') ?? ''
  const rows = [...call.state.stores.values()]
    .map((store) => store.row)
    .filter((row) => row.id > afterId && (name === '' || row.name === name))
  const { page, continuation_token } = pageOf(rows, size, (row) => row.id)
  return ok({ stores: page.map((row) => ({ ...show(row), deleted_at: null })), continuation_token })
}

/** Answers `GET /stores/{id}`. */
export const getStore = (call: Call): Reply => ok({ ...show(existingStore(call).row), deleted_at: null })

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
    const store = existingStore(call)
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
  if (model === undefined) throw noSuchModel(call.id)
  return ok({ authorization_model: model.json })
}

/** Newest first. */
export function readModels(call: Call): Reply {
  const size = pageSizeOf(call.query.get('page_size'), 'ReadAuthorizationModelsRequest')
  const token = decodeUlid(tokenOf(call.query.get('continuation_token'), 'ReadAuthorizationModelsRequest'))
  const newest = [...(storeOf(call)?.models.values() ?? [])]
    .reverse()
    .filter((model) => token === '' || model.id < token)
  const { page, continuation_token } = pageOf(newest, size, (model) => model.id)
  return ok({ authorization_models: page.map((model) => model.json), continuation_token })
}
