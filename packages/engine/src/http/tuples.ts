import type { JsonObject } from '../condition-values.ts'
import { FgaError, invalidRequest } from '../errors.ts'
import type { ChangeRow, TupleRow } from '../journal.ts'
import { isUser, splitUser, typeOf } from '../names.ts'
import type { StoreState } from '../state.ts'
import { keyOf, type Tuple, type TupleKey } from '../tuples.ts'
import { isUlid, ulidFloor, ulidTime } from '../ulid.ts'
import { checkTuple } from '../validity.ts'
import { badToken, type Call, decodeToken, encodeToken, modelOf, ok, type Reply, storeOf } from './call.ts'
import {
  bytes,
  deleteKeyOf,
  listMember,
  match,
  member,
  modelIdOf,
  objectMember,
  objectPattern,
  pageSizeOf,
  relationPattern,
  textMember,
  tokenOf,
  tupleKeyOf,
} from './input.ts'

const contextBytesMax = 32 * 1024
const batchMax = 100

interface WriteInput {
  readonly writes: readonly TupleKey[]
  readonly deletes: readonly TupleKey[]
  readonly ignoreDuplicates: boolean
  readonly ignoreMissing: boolean
}

/** Write: deletes first, all or nothing. */
export async function write(call: Call): Promise<Reply> {
  const input = parseWrite(call.body)
  const modelId = modelIdOf(call.body, 'WriteRequest')
  return call.exclusive(async () => {
    const { model, store } = modelOf(call, modelId)
    const { writes, deletes } = input
    if (writes.length + deletes.length === 0)
      throw new FgaError(
        'invalid_write_input',
        'Invalid input. Make sure you provide at least one write, or at least one delete',
      )
    for (const key of writes) validateWrite(key, checkTuple(model, key)?.reason)
    for (const key of deletes) if (!isUser(key.user)) throw invalidTuple(key, "the 'user' field is malformed")
    refuseDuplicates([...deletes, ...writes])
    await apply(call, store, settle(store, input))
    return ok({})
  })
}

function parseWrite(body: JsonObject): WriteInput {
  const writes = objectMember(body, 'writes')
  const deletes = objectMember(body, 'deletes')
  const parsed = {
    writes:
      writes === undefined
        ? []
        : required(listMember(writes, 'tuple_keys'), 'WriteRequestWrites').map(tupleKeyOf),
    deletes:
      deletes === undefined
        ? []
        : required(listMember(deletes, 'tuple_keys'), 'WriteRequestDeletes').map(deleteKeyOf),
  }
  return {
    ...parsed,
    ignoreDuplicates: isIgnore(textMember(writes ?? {}, 'on_duplicate'), 'on_duplicate'),
    ignoreMissing: isIgnore(textMember(deletes ?? {}, 'on_missing'), 'on_missing'),
  }
}

function required(list: readonly JsonObject[], message: string): readonly JsonObject[] {
  if (list.length === 0)
    throw invalidRequest(`invalid ${message}.TupleKeys: value must contain at least 1 item(s)`)
  return list
}

function isIgnore(option: string, name: string): boolean {
  if (option !== '' && option !== 'error' && option !== 'ignore')
    throw invalidRequest(`invalid ${name} option: ${option}`)
  return option === 'ignore'
}

const nameOf = (key: TupleKey): string => `${key.object}#${key.relation}@${key.user}`

const invalidTuple = (key: TupleKey, reason: string): FgaError =>
  invalidRequest(`Invalid tuple '${nameOf(key)}'. Reason: ${reason}`)

function validateWrite(key: TupleKey, reason: string | undefined): void {
  if (reason !== undefined) throw invalidTuple(key, reason)
  if (key.user === `${key.object}#${key.relation}`)
    throw invalidTuple(key, 'cannot write a tuple that is implicit')
  const size = key.condition === undefined ? 0 : bytes(JSON.stringify(key.condition.context))
  if (size > contextBytesMax)
    throw invalidTuple(
      key,
      `condition context size limit exceeded: ${size} bytes exceeds ${contextBytesMax} bytes`,
    )
}

/** Keys are compared without conditions, over deletes and writes together. */
function refuseDuplicates(keys: readonly TupleKey[]): void {
  const seen = new Set<string>()
  for (const key of keys) {
    if (seen.has(nameOf(key))) {
      throw new FgaError(
        'cannot_allow_duplicate_tuples_in_one_request',
        `duplicate tuple in write: user: '${key.user}', relation: '${key.relation}', object: '${key.object}'`,
      )
    }
    seen.add(nameOf(key))
  }
  if (seen.size > batchMax)
    throw new FgaError(
      'exceeded_entity_limit',
      `The number of write operations exceeds the allowed limit of ${batchMax}`,
    )
}

/** What is left to do once duplicates and missing ones are sorted out. */
function settle(
  store: StoreState,
  input: WriteInput,
): { deletes: readonly TupleKey[]; writes: readonly TupleKey[] } {
  const deletes = input.deletes.filter((key) => {
    if (store.tuples.get(key) !== undefined) return true
    if (input.ignoreMissing) return false
    throw conflict('delete a tuple which does not exist', key)
  })
  const writes = input.writes.filter((key) => {
    const before = store.tuples.get(key)
    if (before === undefined) return true
    if (!input.ignoreDuplicates) throw conflict('write a tuple which already exists', key)
    if (sameCondition(before.condition, key.condition)) return false
    throw new FgaError(
      'Aborted',
      `transactional write failed due to conflict: attempted to write a tuple which already exists with a different condition: user: '${key.user}', relation: '${key.relation}', object: '${key.object}'`,
    )
  })
  return { deletes, writes }
}

const conflict = (what: string, key: TupleKey): FgaError =>
  new FgaError(
    'write_failed_due_to_invalid_input',
    `cannot ${what}: user: '${key.user}', relation: '${key.relation}', object: '${key.object}': tuple to be written already existed or the tuple to be deleted did not exist`,
  )

const sameCondition = (a: TupleKey['condition'], b: TupleKey['condition']): boolean =>
  a?.name === b?.name && canonical(a?.context ?? {}) === canonical(b?.context ?? {})

const canonical = (value: unknown): string =>
  JSON.stringify(value, (_, item: unknown) =>
    typeof item === 'object' && item !== null && !Array.isArray(item)
      ? Object.fromEntries(Object.entries(item).sort(([a], [b]) => (a < b ? -1 : 1)))
      : item,
  )

async function apply(
  call: Call,
  store: StoreState,
  input: { deletes: readonly TupleKey[]; writes: readonly TupleKey[] },
): Promise<void> {
  const { storeId } = call
  const removed = input.deletes.map(
    ({ user, relation, object }): ChangeRow => ({
      storeId,
      ulid: call.state.nextUlid(),
      operation: 'delete',
      key: { user, relation, object },
    }),
  )
  const rows = input.writes.map((key): TupleRow => ({ ...key, storeId, ulid: call.state.nextUlid() }))
  const added = rows.map(
    ({ user, relation, object, condition, ulid }): ChangeRow => ({
      storeId,
      ulid,
      operation: 'write',
      key: { user, relation, object, condition },
    }),
  )
  const changes = [...removed, ...added]
  if (changes.length === 0) return
  await call.journal?.write(storeId, { deletes: removed.map((change) => change.key), writes: rows, changes })
  for (const { key } of removed) store.tuples.remove(key)
  for (const { key, ulid } of added) store.tuples.add(key, ulid)
  store.changes.append(changes)
}

const showKey = (key: TupleKey): JsonObject => ({
  user: key.user,
  relation: key.relation,
  object: key.object,
  condition:
    key.condition === undefined ? null : { name: key.condition.name, context: key.condition.context },
})

const timeOf = (ulid: string): string => new Date(ulidTime(ulid)).toISOString()

const userPattern = /^[^\s]{1,511}:[^\s]{1,511}$/

/** Read: stored tuples as they are, without evaluation. */
export function read(call: Call): Reply {
  const filter = readFilter(call.body)
  const size = pageSizeOf(member(call.body, 'page_size'), 'ReadRequest')
  const token = decodeToken(tokenOf(textMember(call.body, 'continuation_token'), 'ReadRequest'))
  if (token !== '' && !isUlid(token)) throw badToken()
  const store = storeOf(call)
  const page: Tuple[] = []
  for (const tuple of store === undefined ? [] : select(store, filter, token)) {
    if (page.push(tuple) > size) break
  }
  const last = page.length > size ? page[size - 1] : undefined
  return ok({
    tuples: page
      .slice(0, size)
      .map((tuple) => ({ key: showKey(keyOf(tuple)), timestamp: timeOf(tuple.ulid) })),
    continuation_token: last === undefined ? '' : encodeToken(last.ulid),
  })
}

interface ReadFilter {
  readonly user: string
  readonly relation: string
  readonly object: string
}

function readFilter(body: JsonObject): ReadFilter {
  const json = objectMember(body, 'tuple_key')
  const filter = {
    user: textMember(json ?? {}, 'user'),
    relation: textMember(json ?? {}, 'relation'),
    object: textMember(json ?? {}, 'object'),
  }
  if (json === undefined) return filter
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
function select(store: StoreState, filter: ReadFilter, after: string): readonly Tuple[] | Iterable<Tuple> {
  if (filter.object === '') return store.tuples.after(after)
  const user = splitUser(filter.user)
  const isWhole = !filter.object.endsWith(':')
  const object = store.tuples.node(filter.object)
  const near = isWhole
    ? [...(object?.out.values() ?? [])].flatMap((bucket) => [...bucket.concrete, ...bucket.usersets])
    : [...(store.tuples.node(user.object)?.in ?? [])]
  return near
    .filter(
      (tuple) =>
        tuple.ulid > after &&
        (isWhole || `${tuple.object.type}:` === filter.object) &&
        (filter.relation === '' || tuple.relation === filter.relation) &&
        (filter.user === '' || (tuple.user.name === user.object && tuple.userRelation === user.relation)),
    )
    .sort((a, b) => (a.ulid < b.ulid ? -1 : 1))
}

/** ReadChanges: at the tail, the same token again and an empty list. */
export async function readChanges(call: Call): Promise<Reply> {
  const size = pageSizeOf(call.query.get('page_size'), 'ReadChangesRequest')
  const type = call.query.get('type') ?? ''
  if (type !== '') match(type, /^[^:#\s]{1,254}$/, 'ReadChangesRequest.Type')
  const token = tokenOf(call.query.get('continuation_token') ?? '', 'ReadChangesRequest')
  const after = token === '' ? startOf(call) : fromToken(token, type)
  const query = { after, type: type === '' ? undefined : type, limit: size }
  const store = storeOf(call)
  const rows =
    store?.changes.read(query) ??
    (store === undefined ? [] : ((await call.journal?.readChanges?.(call.storeId, query)) ?? []))
  const last = rows.at(-1)
  return ok({
    changes: rows.map((row) => ({
      tuple_key: showKey(row.key),
      operation: row.operation === 'write' ? 'TUPLE_OPERATION_WRITE' : 'TUPLE_OPERATION_DELETE',
      timestamp: timeOf(row.ulid),
    })),
    continuation_token: last === undefined ? token : encodeToken(`${last.ulid}|${type}`),
  })
}

function startOf(call: Call): string {
  const start = call.query.get('start_time')
  if (start === null || start === '') return ''
  const time = Date.parse(start)
  if (Number.isNaN(time)) throw invalidRequest(`invalid value for timestamp field start_time: ${start}`)
  if (time > call.now()) throw new FgaError('invalid_start_time', 'Invalid start time')
  return ulidFloor(time)
}

function fromToken(token: string, type: string): string {
  const [ulid = '', tokenType, ...rest] = decodeToken(token).split('|')
  if (!isUlid(ulid) || tokenType === undefined || rest.length > 0) throw badToken()
  if (tokenType !== type)
    throw new FgaError(
      'query_string_type_continuation_token_mismatch',
      "The type in the querystring and the continuation token don't match",
    )
  return ulid
}
