import type { JsonObject } from '../../core/condition-values.ts'
import { FgaError, invalidRequest } from '../../core/errors.ts'
import { listObjects as objectsOf } from '../../core/list-objects.ts'
import { listUsers as usersOf } from '../../core/list-users.ts'
import type { Model, Relation } from '../../core/model.ts'
import { splitUser } from '../../core/names.ts'
import type { TupleKey } from '../../core/tuples.ts'
import { checkTuple, checkUser } from '../../core/validity.ts'
import { type Call, modelOf, ok, type Reply } from './call.ts'
import {
  bytes,
  contextualOf,
  keysOf,
  listMember,
  match,
  modelIdOf,
  objectMember,
  relationPattern,
  textMember,
  typePattern,
} from './input.ts'

/** The server's limits: results are cut silently, which is why a list never decides. */
const resultsMax = 1000
const listMs = 3000

/** At most 1000 objects, or what was found in 3 s. */
export function listObjects(call: Call): Reply {
  const objects: string[] = []
  const deadline = call.now() + listMs
  for (const object of openList(call, 'ListObjectsRequest')) {
    objects.push(object)
    if (objects.length >= resultsMax || call.now() > deadline) break
  }
  return ok({ objects })
}

/** One JSON line per object, without the limit on their number. */
export function streamedListObjects(call: Call): Reply {
  const objects = openList(call, 'StreamedListObjectsRequest')
  const encoder = new TextEncoder()
  const line = (value: JsonObject): Uint8Array => encoder.encode(`${JSON.stringify(value)}\n`)
  const body = new ReadableStream<Uint8Array>({
    pull(controller) {
      try {
        const nextObject = objects.next()
        if (nextObject.done === true) controller.close()
        else controller.enqueue(line({ result: { object: nextObject.value } }))
      } catch (error) {
        controller.enqueue(
          line({
            error: {
              code: 3,
              message: error instanceof Error ? error.message : 'Internal Server Error',
              details: [],
            },
          }),
        )
        controller.close()
      }
    },
  })
  return { status: 200, body }
}

function openList(call: Call, message: string): Generator<string> {
  const { body } = call
  const type = match(textMember(body, 'type'), typePattern, `${message}.Type`)
  const relation = match(textMember(body, 'relation'), relationPattern, `${message}.Relation`)
  const user = textMember(body, 'user')
  if (user === '' || bytes(user) > 512)
    throw invalidRequest(`invalid ${message}.User: value length must be between 1 and 512 bytes, inclusive`)
  const contextualTuples = contextualOf(body)
  const context = objectMember(body, 'context') ?? {}
  const { model, store } = modelOf(call, modelIdOf(body, message))
  assertTuples(model, contextualTuples)
  const found = relationOf(model, type, relation)
  const misfit = checkUser(model, user)
  if (misfit !== undefined) throw invalidRequest(`invalid 'user' value: ${misfit.reason}`)
  return objectsOf(model, store.tuples, found, { user, contextualTuples, context })
}

/** At most 1000 users. */
export function listUsers(call: Call): Reply {
  const { body } = call
  const object = objectMember(body, 'object')
  const relation = match(textMember(body, 'relation'), relationPattern, 'ListUsersRequest.Relation')
  const filters = listMember(body, 'user_filters')
  const filterJson = filters[0]
  if (object === undefined) throw invalidRequest('invalid ListUsersRequest.Object: value is required')
  if (filters.length !== 1 || filterJson === undefined)
    throw invalidRequest('invalid ListUsersRequest.UserFilters: value must contain exactly 1 item(s)')
  const type = match(textMember(object, 'type'), typePattern, 'Object.Type')
  const id = match(textMember(object, 'id'), /[^#:\s]$/, 'Object.Id', '[^#:\\s]+$')
  const filter = filterOf(filterJson)
  const contextualTuples = keysOf(listMember(body, 'contextual_tuples'), 'ListUsersRequest.ContextualTuples')
  const context = objectMember(body, 'context') ?? {}
  const { model, store } = modelOf(call, modelIdOf(body, 'ListUsersRequest'))
  assertTuples(model, contextualTuples)
  if (!model.types.has(filter.type)) throw new FgaError('type_not_found', `type '${filter.type}' not found`)
  if (filter.relation !== '') relationOf(model, filter.type, filter.relation)
  const found = usersOf(model, store.tuples, relationOf(model, type, relation), {
    object: `${type}:${id}`,
    filter,
    contextualTuples,
    context,
    depthMax: call.depthMax,
  })
  return ok({ users: found.slice(0, resultsMax).map(showUser) })
}

function filterOf(json: JsonObject): { type: string; relation: string } {
  const relation = textMember(json, 'relation')
  if (relation !== '') match(relation, relationPattern, 'UserTypeFilter.Relation')
  return { type: match(textMember(json, 'type'), typePattern, 'UserTypeFilter.Type'), relation }
}

function showUser(user: string): JsonObject {
  const { type, id, relation } = splitUser(user)
  if (relation !== '') return { userset: { type, id, relation } }
  return id === '*' ? { wildcard: { type } } : { object: { type, id } }
}

function relationOf(model: Model, type: string, name: string): Relation {
  const relations = model.types.get(type)
  if (relations === undefined) throw new FgaError('type_not_found', `type '${type}' not found`)
  const relation = relations.get(name)
  if (relation === undefined) throw new FgaError('relation_not_found', `relation '${type}#${name}' not found`)
  return relation
}

function assertTuples(model: Model, keys: readonly TupleKey[]): void {
  for (const key of keys) {
    const misfit = checkTuple(model, key)
    if (misfit === undefined) continue
    const message = `Invalid tuple '${key.object}#${key.relation}@${key.user}'. Reason: ${misfit.reason}`
    throw new FgaError(misfit.kind === 'condition' ? 'validation_error' : 'invalid_tuple', message)
  }
}
