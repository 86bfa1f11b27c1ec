import { createMemo, check as decide, type Memo } from '../../core/check.ts'
import type { JsonObject } from '../../core/condition-values.ts'
import { findForbidden } from '../../core/context.ts'
import { ConditionError, FgaError, invalidRequest } from '../../core/errors.ts'
import {
  listMember,
  match,
  member,
  objectMember,
  relationPattern,
  textMember,
  typePattern,
} from '../../core/json-members.ts'
import { listObjects as objectsOf } from '../../core/list-objects.ts'
import { listUsers as usersOf } from '../../core/list-users.ts'
import type { Model, Relation } from '../../core/model.ts'
import { splitUser, typeOf } from '../../core/names.ts'
import { keyOf, type Tuple, type TupleKey, tuplesOn } from '../../core/tuples.ts'
import { checkKey, checkTuple, checkUser } from '../../core/validity.ts'
import type { StoreState } from '../state.ts'
import { type Call, decodeUlid, modelOf, ok, pageOf, type Reply, showKey, storeOf, timeOf } from './call.ts'
import {
  bytes,
  checkKeyOf,
  contextualOf,
  keysOf,
  modelIdOf,
  nameOf,
  objectPattern,
  pageSizeOf,
  tokenOf,
} from './input.ts'

const checksMax = 50

const questionOf = (json: JsonObject, message: string) => ({
  ...checkKeyOf(json, message),
  contextualTuples: contextualOf(json),
  context: objectMember(json, 'context') ?? {},
})

/** Answers `POST /stores/{id}/check`. */
export function check(call: Call): Reply {
  const question = questionOf(call.body, 'CheckRequest')
  const { model, store } = modelOf(call, modelIdOf(call.body, 'CheckRequest'))
  return ok({ allowed: answer(model, store, question), resolution: '' })
}

/** One memo for the whole batch: groups and folders that several items lead to are looked at once. */
export function batchCheck(call: Call): Reply {
  const checks = listMember(call.body, 'checks')
  if (checks.length === 0)
    throw invalidRequest('invalid BatchCheckRequest.Checks: value must contain at least 1 item(s)')
  const questions = checks.map((check) => ({
    id: match(textMember(check, 'correlation_id'), /^[\w\d-]{1,36}$/, 'BatchCheckItem.CorrelationId'),
    question: questionOf(check, 'BatchCheckItem'),
  }))
  const { model, store } = modelOf(call, modelIdOf(call.body, 'BatchCheckRequest'))
  if (checks.length > checksMax)
    throw invalidRequest(`batchCheck received ${checks.length} checks, the maximum allowed is ${checksMax}`)
  const seenIds = new Set<string>()
  for (const { id } of questions) {
    if (seenIds.has(id)) throw invalidRequest(`received duplicate correlation id: ${id}`)
    seenIds.add(id)
  }
  const memo = createMemo()
  const result = questions.map(({ id, question }) => [id, single(() => answer(model, store, question, memo))])
  return ok({ result: Object.fromEntries(result) })
}

function single(ask: () => boolean): JsonObject {
  try {
    return { allowed: ask() }
  } catch (error) {
    if (error instanceof ConditionError)
      return { error: { input_error: 'validation_error', message: error.message } }
    if (error instanceof FgaError) return { error: { input_error: error.code, message: error.message } }
    throw error
  }
}

function answer(
  model: Model,
  store: StoreState,
  question: ReturnType<typeof questionOf>,
  memo?: Memo,
): boolean {
  const misfit = checkKey(model, question)
  if (misfit !== undefined) throw invalidRequest(`invalid relation: ${misfit.reason}`)
  const forbidden = findForbidden(question.context)
  if (forbidden !== undefined) throw invalidRequest(`invalid context: ${forbidden}`)
  for (const key of question.contextualTuples) {
    const reason = checkTuple(model, key)?.reason
    if (reason !== undefined)
      throw new FgaError(
        'invalid_tuple',
        `Invalid tuple. Reason: invalid tuple: Invalid tuple '${nameOf(key)}'. Reason: ${reason}`,
      )
  }
  return decide(model, store.tuples, question, memo)
}

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
        const message = error instanceof Error ? error.message : 'Internal Server Error'
        controller.enqueue(line({ error: { code: 3, message, details: [] } }))
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
    const code = misfit.kind === 'condition' ? 'validation_error' : 'invalid_tuple'
    throw new FgaError(code, `Invalid tuple '${nameOf(key)}'. Reason: ${misfit.reason}`)
  }
}

const userPattern = /^[^\s]{1,511}:[^\s]{1,511}$/

/** Read: stored tuples as they are, without evaluation. */
export function read(call: Call): Reply {
  const filter = readFilter(call.body)
  const size = pageSizeOf(member(call.body, 'page_size'), 'ReadRequest')
  const token = decodeUlid(tokenOf(textMember(call.body, 'continuation_token'), 'ReadRequest'))
  const store = storeOf(call)
  const tuples: Tuple[] = []
  for (const tuple of store === undefined ? [] : select(store, filter, token)) {
    if (tuples.push(tuple) > size) break
  }
  const { page, continuation_token } = pageOf(tuples, size, (tuple) => tuple.ulid)
  return ok({
    tuples: page.map((tuple) => ({ key: showKey(keyOf(tuple)), timestamp: timeOf(tuple.ulid) })),
    continuation_token,
  })
}

/** Empty members leave it open. */
function readFilter(body: JsonObject): TupleKey {
  const json = objectMember(body, 'tuple_key')
  if (json === undefined) return { user: '', relation: '', object: '' }
  const filter = {
    user: textMember(json, 'user'),
    relation: textMember(json, 'relation'),
    object: textMember(json, 'object'),
  }
  if (filter.user !== '') match(filter.user, userPattern, 'ReadRequestTupleKey.User')
  if (filter.relation !== '') match(filter.relation, relationPattern, 'ReadRequestTupleKey.Relation')
  if (filter.object !== '') match(filter.object, objectPattern, 'ReadRequestTupleKey.Object')
  const id = filter.object.slice(filter.object.indexOf(':') + 1)
  if (typeOf(filter.object) === '' || (id === '' && filter.user === '')) {
    throw invalidRequest(
      "the 'tuple_key' field was provided but the object type field is required and both the object id and user cannot be empty",
    )
  }
  return filter
}

/** Goes through the fewest tuples that the filter allows: one object's, one subject's, or all. */
function select(store: StoreState, filter: TupleKey, afterUlid: string): Iterable<Tuple> {
  if (filter.object === '') return store.tuples.after(afterUlid)
  const user = splitUser(filter.user)
  const isWhole = !filter.object.endsWith(':')
  const object = store.tuples.node(filter.object)
  const near = isWhole
    ? [...(object === undefined ? [] : tuplesOn(object))]
    : [...(store.tuples.node(user.object)?.in ?? [])]
  return near
    .filter(
      (tuple) =>
        tuple.ulid > afterUlid &&
        (isWhole || `${tuple.object.type}:` === filter.object) &&
        (filter.relation === '' || tuple.relation === filter.relation) &&
        (filter.user === '' || (tuple.user.name === user.object && tuple.userRelation === user.relation)),
    )
    .sort((a, b) => (a.ulid < b.ulid ? -1 : 1))
}
