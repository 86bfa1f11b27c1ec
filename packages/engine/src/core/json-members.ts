import { isJsonObject, type Json, type JsonObject } from './condition-values.ts'
import { FgaError, invalidRequest } from './errors.ts'

/** The form of a relation, and of other names, in a request. */
export const relationPattern = /^[^:#@\s]{1,50}$/
/** The form of a type in a request. */
export const typePattern = /^[^:#@\s]{1,254}$/

/** A member of a body under its snake_case or camelCase name; null counts as absent, as in protojson. */
export function member(body: JsonObject, name: string): Json | undefined {
  const value = body[name]
  if (value !== undefined && value !== null) return value
  return body[name.replace(/_([a-z])/g, (_, letter: string) => letter.toUpperCase())] ?? undefined
}

/** A text member of a body; empty where it is absent. Throws where it is no text. */
export function textMember(body: JsonObject, name: string): string {
  const value = member(body, name)
  if (value === undefined) return ''
  if (typeof value !== 'string')
    throw invalidRequest(`invalid value for string field ${name}: ${JSON.stringify(value)}`)
  return value
}

/** An object member of a body. Throws where it is something else. */
export function objectMember(body: JsonObject, name: string): JsonObject | undefined {
  const value = member(body, name)
  return value === undefined ? undefined : asObject(value, name)
}

/** A member that lists objects. Throws where it is something else. */
export function listMember(body: JsonObject, name: string): readonly JsonObject[] {
  const value = member(body, name)
  if (value === undefined) return []
  if (!Array.isArray(value)) throw unexpected(value, name)
  return value.map((element: Json) => asObject(element, name))
}

/** The members of an object member, each of them an object. */
export const entriesOf = (body: JsonObject, name: string): [string, JsonObject][] =>
  Object.entries(objectMember(body, name) ?? {}).map(([key, value]) => [key, asObject(value, name)])

function asObject(value: Json, name: string): JsonObject {
  if (!isJsonObject(value)) throw unexpected(value, name)
  return value
}

/** Characters of a refused value that are repeated. */
const shownMax = 100

const unexpected = (value: Json, name: string): FgaError =>
  invalidRequest(
    `syntax error: unexpected token ${JSON.stringify(value).slice(0, shownMax)} for field ${name}`,
  )

/**
 * Throws what the server's request validator answers when a value does not match. `shown`: the server's own
 * pattern, where ours says the same in another way.
 */
export function match(value: string, pattern: RegExp, field: string, patternShown = pattern.source): string {
  if (pattern.test(value) && value.isWellFormed()) return value
  const code = field.endsWith('.Type') ? 'type_invalid_pattern' : 'validation_error'
  throw new FgaError(
    code,
    `invalid ${field}: value does not match regex pattern "${patternShown.replaceAll('\\', '\\\\')}"`,
  )
}
