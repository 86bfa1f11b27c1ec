import { type JsonObject, parseTimestamp } from '../../core/condition-values.ts'
import { FgaError, invalidRequest } from '../../core/errors.ts'
import { listMember, match, objectMember, textMember } from '../../core/json-members.ts'
import { isUser } from '../../core/names.ts'
import type { TupleKey } from '../../core/tuples.ts'
import { isUlid, ulidFloor } from '../../core/ulid.ts'
import { checkTuple } from '../../core/validity.ts'
import type { ChangeRow, TupleRow } from '../journal.ts'
import type { StoreState } from '../state.ts'
import {
  badToken,
  type Call,
  decodeToken,
  encodeToken,
  modelOf,
  ok,
  type Reply,
  showKey,
  storeOf,
  timeOf,
} from './call.ts'
import { bytes, deleteKeyOf, modelIdOf, nameOf, pageSizeOf, tokenOf, tupleKeyOf } from './input.ts'

/** ReadChanges: at the tail, the same token again and an empty list. */
export async function readChanges(call: Call): Promise<Reply> {
  const size = pageSizeOf(call.query.get('page_size'), 'ReadChangesRequest')
  const type = call.query.get('type') ?? ''
  if (type !== '') match(type, /^[^:#\s]{1,254}$/, 'ReadChangesRequest.Type')
  const token = tokenOf(call.query.get('continuation_token'), 'ReadChangesRequest')
  const startTime = startOf(call)
  const afterUlid = token === '' ? fromTime(startTime) : fromToken(token, type)
  const query = { after: afterUlid, type: type === '' ? undefined : type, limit: size }
  const store = storeOf(call)
  const rows =
    store?.changes.read(query) ??
    (store === undefined ? [] : ((await call.journal?.readChanges?.(call.storeId, query)) ?? []))
  const lastRow = rows.at(-1)
  return ok({
    changes: rows.map((row) => ({
      tuple_key: showKey(row.key),
      operation: row.operation === 'write' ? 'TUPLE_OPERATION_WRITE' : 'TUPLE_OPERATION_DELETE',
      timestamp: timeOf(row.ulid),
    })),
    continuation_token: lastRow === undefined ? token : encodeToken(`${lastRow.ulid}|${type}`),
  })
}

/**
 * Milliseconds since the epoch. undefined: from the beginning, as also for the first moment of year 1, Go's
 * zero.
 */
function startOf(call: Call): number | undefined {
  const text = call.query.get('start_time')
  if (text === null) return undefined
  const startTime = parseTimestamp(text)
  if (startTime === undefined)
    throw invalidRequest(`parsing field "start_time": ${JSON.stringify(text)} is no time`)
  const { seconds, nanos } = startTime
  if (seconds < yearOne || seconds >= yearTenThousand)
    throw invalidRequest(`parsing field "start_time": ${text} before 0001-01-01`)
  const time = Number(seconds) * 1000 + Math.floor(nanos / 1_000_000)
  if (time >= call.now())
    throw invalidRequest('invalid ReadChangesRequest.StartTime: value must be less than now')
  return seconds === yearOne && nanos === 0 ? undefined : time
}

const yearOne = -62_135_596_800n
const yearTenThousand = 253_402_300_800n

function fromTime(startTime: number | undefined): string {
  if (startTime === undefined) return ''
  // A ULID begins in 1970.
  if (startTime < 0) throw new FgaError('invalid_start_time', 'Invalid start time')
  return ulidFloor(startTime)
}

function fromToken(token: string, type: string): string {
  const [ulid = '', tokenType, ...excess] = decodeToken(token).split('|')
  if (!isUlid(ulid) || tokenType === undefined || excess.length > 0) throw badToken()
  if (tokenType !== type)
    throw new FgaError(
      'query_string_type_continuation_token_mismatch',
      "The type in the querystring and the continuation token don't match",
    )
  return ulid
}

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
  const [writes, deletes] = [objectMember(body, 'writes'), objectMember(body, 'deletes')]
  return {
    writes: keysIn(writes, 'WriteRequestWrites').map(tupleKeyOf),
    deletes: keysIn(deletes, 'WriteRequestDeletes').map(deleteKeyOf),
    ignoreDuplicates: isIgnore(writes, 'on_duplicate'),
    ignoreMissing: isIgnore(deletes, 'on_missing'),
  }
}

function keysIn(json: JsonObject | undefined, message: string): readonly JsonObject[] {
  const keys = json === undefined ? [] : listMember(json, 'tuple_keys')
  if (json !== undefined && keys.length === 0)
    throw invalidRequest(`invalid ${message}.TupleKeys: value must contain at least 1 item(s)`)
  return keys
}

function isIgnore(json: JsonObject | undefined, name: string): boolean {
  const option = textMember(json ?? {}, name)
  if (option !== '' && option !== 'error' && option !== 'ignore')
    throw invalidRequest(`invalid ${name} option: ${option}`)
  return option === 'ignore'
}

const membersOf = ({ user, relation, object }: TupleKey): string =>
  `user: '${user}', relation: '${relation}', object: '${object}'`

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
  const seenNames = new Set<string>()
  for (const key of keys) {
    if (seenNames.has(nameOf(key))) {
      throw new FgaError(
        'cannot_allow_duplicate_tuples_in_one_request',
        `duplicate tuple in write: ${membersOf(key)}`,
      )
    }
    seenNames.add(nameOf(key))
  }
  if (seenNames.size > batchMax)
    throw new FgaError(
      'exceeded_entity_limit',
      `The number of write operations exceeds the allowed limit of ${batchMax}`,
    )
}

/** What is left to do once duplicates and missing ones are sorted out. */
function settle(store: StoreState, input: WriteInput): Pick<WriteInput, 'deletes' | 'writes'> {
  const deletes = input.deletes.filter((key) => {
    if (store.tuples.get(key) !== undefined) return true
    if (input.ignoreMissing) return false
    throw conflict('delete a tuple which does not exist', key)
  })
  const writes = input.writes.filter((key) => {
    const storedTuple = store.tuples.get(key)
    if (storedTuple === undefined) return true
    if (!input.ignoreDuplicates) throw conflict('write a tuple which already exists', key)
    if (sameCondition(storedTuple.condition, key.condition)) return false
    throw new FgaError(
      'Aborted',
      `transactional write failed due to conflict: attempted to write a tuple which already exists with a different condition: ${membersOf(key)}`,
    )
  })
  return { deletes, writes }
}

const conflict = (action: string, key: TupleKey): FgaError =>
  new FgaError(
    'write_failed_due_to_invalid_input',
    `cannot ${action}: ${membersOf(key)}: tuple to be written already existed or the tuple to be deleted did not exist`,
  )

const sameCondition = (a: TupleKey['condition'], b: TupleKey['condition']): boolean =>
  a?.name === b?.name && canonical(a?.context ?? {}) === canonical(b?.context ?? {})

const canonical = (value: unknown): string =>
  JSON.stringify(value, (_, member: unknown) =>
    typeof member === 'object' && member !== null && !Array.isArray(member)
      ? Object.fromEntries(Object.entries(member).sort(([a], [b]) => (a < b ? -1 : 1)))
      : member,
  )

async function apply(
  { storeId, state, journal }: Call,
  store: StoreState,
  input: Pick<WriteInput, 'deletes' | 'writes'>,
): Promise<void> {
  const removed = input.deletes.map(
    ({ user, relation, object }): ChangeRow => ({
      storeId,
      ulid: state.nextUlid(),
      operation: 'delete',
      key: { user, relation, object },
    }),
  )
  const added = input.writes.map(
    (key): ChangeRow => ({ storeId, ulid: state.nextUlid(), operation: 'write', key }),
  )
  const changes = [...removed, ...added]
  if (changes.length === 0) return
  const writes = added.map(({ key, ulid }): TupleRow => ({ ...key, storeId, ulid }))
  await journal?.write(storeId, { deletes: removed.map(({ key }) => key), writes, changes })
  for (const { key } of removed) store.tuples.remove(key)
  for (const { key, ulid } of added) store.tuples.add(key, ulid)
  store.changes.append(changes)
}
