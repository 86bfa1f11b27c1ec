import type { Json, JsonObject } from '../../core/condition-values.ts'
import { FgaError, invalidRequest } from '../../core/errors.ts'
import { listMember, match, objectMember, relationPattern, textMember } from '../../core/json-members.ts'
import type { TupleKey } from '../../core/tuples.ts'

/** The form of an id of a store or a model. */
export const ulidPattern = /^[ABCDEFGHJKMNPQRSTVWXYZ0-9]{26}$/
/** The form of an object in a request. */
export const objectPattern = /^[^\s]{2,256}$/
// Looser than in a write, as on the server.
const checkUserPattern = /^[^\s]{2,512}$/
const conditionPattern = /^[^\s]{2,256}$/
const tokenPattern = /^$|^[A-Za-z0-9\-_]+={0,2}$/

const encoder = new TextEncoder()

/** The length of a text in bytes of UTF-8. */
export const bytes = (value: string): number => encoder.encode(value).length

/** `authorization_model_id` of a body: undefined stands for the latest. */
export function modelIdOf(body: JsonObject, message: string): string | undefined {
  const id = textMember(body, 'authorization_model_id')
  return id === '' ? undefined : match(id, ulidPattern, `${message}.AuthorizationModelId`)
}

const int32Max = 2 ** 31 - 1

/** The page size asked for; 50 where none is. */
export function pageSizeOf(value: Json | string | null | undefined, message: string): number {
  if (value === undefined || value === null) return 50
  const size = typeof value === 'string' && /^-?\d+$/.test(value) ? Number(value) : value
  if (typeof size !== 'number' || !Number.isInteger(size) || Math.abs(size) > int32Max)
    throw invalidRequest(`invalid value for int32 field value: ${JSON.stringify(value)}`)
  // The most is the server's own setting here, and has another code than the least.
  if (size < 1 && message === 'ReadChangesRequest')
    throw invalidRequest(`invalid ${message}.PageSize: value must be greater than or equal to 1`)
  if (size < 1 || size > 100)
    throw new FgaError(
      'page_size_invalid',
      `invalid ${message}.PageSize: value must be inside range [1, 100]`,
    )
  return size
}

/** The continuation token of a request, its form checked, not yet decoded. */
export const tokenOf = (value: string | null, message: string): string =>
  match(value ?? '', tokenPattern, `${message}.ContinuationToken`)

/** A tuple as messages name it. */
export const nameOf = (key: TupleKey): string => `${key.object}#${key.relation}@${key.user}`

/** A tuple key with its condition, as Write and contextual tuples carry it. */
export const tupleKeyOf = (json: JsonObject): TupleKey => ({
  ...keyIn(json, 'TupleKey'),
  condition: conditionOf(objectMember(json, 'condition')),
})

function conditionOf(json: JsonObject | undefined): TupleKey['condition'] {
  if (json === undefined) return undefined
  const name = match(textMember(json, 'name'), conditionPattern, 'RelationshipCondition.Name')
  return { name, context: objectMember(json, 'context') ?? {} }
}

/** A tuple key to delete: without a condition. */
export const deleteKeyOf = (json: JsonObject): TupleKey => keyIn(json, 'TupleKeyWithoutCondition')

function keyIn(json: JsonObject, message: string): TupleKey {
  const user = textMember(json, 'user')
  if (bytes(user) > 512)
    throw invalidRequest(`invalid ${message}.User: value length must be at most 512 bytes`)
  return { user, ...relationAndObject(json, message) }
}

const relationAndObject = (json: JsonObject, message: string): Pick<TupleKey, 'relation' | 'object'> => ({
  relation: match(textMember(json, 'relation'), relationPattern, `${message}.Relation`),
  object: match(textMember(json, 'object'), objectPattern, `${message}.Object`),
})

/** `contextual_tuples: {tuple_keys}`, at most 100. */
export function contextualOf(body: JsonObject): readonly TupleKey[] {
  const holder = objectMember(body, 'contextual_tuples')
  return holder === undefined ? [] : keysOf(listMember(holder, 'tuple_keys'), 'ContextualTupleKeys.TupleKeys')
}

/** The tuple keys of a list of at most 100. */
export function keysOf(list: readonly JsonObject[], field: string): readonly TupleKey[] {
  if (list.length > 100) throw invalidRequest(`invalid ${field}: value must contain no more than 100 item(s)`)
  return list.map(tupleKeyOf)
}

/** The tuple key of a check. */
export function checkKeyOf(body: JsonObject, message: string): TupleKey {
  const json = objectMember(body, 'tuple_key')
  if (json === undefined)
    throw new FgaError('tuple_key_value_not_specified', `invalid ${message}.TupleKey: value is required`)
  return {
    user: match(textMember(json, 'user'), checkUserPattern, 'CheckRequestTupleKey.User'),
    ...relationAndObject(json, 'CheckRequestTupleKey'),
  }
}
