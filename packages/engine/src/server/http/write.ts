import type { JsonObject } from '../../core/condition-values.ts'
import { FgaError, invalidRequest } from '../../core/errors.ts'
import { isUser } from '../../core/names.ts'
import type { TupleKey } from '../../core/tuples.ts'
import { checkTuple } from '../../core/validity.ts'
import type { ChangeRow, TupleRow } from '../journal.ts'
import type { StoreState } from '../state.ts'
import { type Call, modelOf, ok, type Reply } from './call.ts'
import { bytes, deleteKeyOf, listMember, modelIdOf, objectMember, textMember, tupleKeyOf } from './input.ts'

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
  const seenNames = new Set<string>()
  for (const key of keys) {
    if (seenNames.has(nameOf(key))) {
      throw new FgaError(
        'cannot_allow_duplicate_tuples_in_one_request',
        `duplicate tuple in write: user: '${key.user}', relation: '${key.relation}', object: '${key.object}'`,
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
    const storedTuple = store.tuples.get(key)
    if (storedTuple === undefined) return true
    if (!input.ignoreDuplicates) throw conflict('write a tuple which already exists', key)
    if (sameCondition(storedTuple.condition, key.condition)) return false
    throw new FgaError(
      'Aborted',
      `transactional write failed due to conflict: attempted to write a tuple which already exists with a different condition: user: '${key.user}', relation: '${key.relation}', object: '${key.object}'`,
    )
  })
  return { deletes, writes }
}

const conflict = (action: string, key: TupleKey): FgaError =>
  new FgaError(
    'write_failed_due_to_invalid_input',
    `cannot ${action}: user: '${key.user}', relation: '${key.relation}', object: '${key.object}': tuple to be written already existed or the tuple to be deleted did not exist`,
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
