/** A user split into its parts. `relation` is empty for a concrete subject and for a typed wildcard. */
export interface UserParts {
  readonly object: string
  readonly type: string
  readonly id: string
  readonly relation: string
}

const control = /[\u0000-\u001f\u007f-\u009f]/

/** Whether a text holds a control character. */
export const hasControl = (value: string): boolean => control.test(value)

/** Type of `type:id` (and of `type:id#relation`); empty when there is no colon. */
export function typeOf(object: string): string {
  const colon = object.indexOf(':')
  return colon === -1 ? '' : object.slice(0, colon)
}

/** Splits `type:id`, `type:*` or `type:id#relation`. Validates nothing. */
export function splitUser(user: string): UserParts {
  const hash = user.lastIndexOf('#')
  const object = hash === -1 ? user : user.slice(0, hash)
  const colon = object.indexOf(':')
  return {
    object,
    type: colon === -1 ? '' : object.slice(0, colon),
    id: object.slice(colon + 1),
    relation: hash === -1 ? '' : user.slice(hash + 1),
  }
}

/** `type:id` with exactly one colon, no `#`, space or control character. `type:*` counts. */
export function isObject(value: string): boolean {
  const colon = value.indexOf(':')
  if (colon < 1 || colon === value.length - 1 || value.indexOf(':', colon + 1) !== -1) return false
  return !value.includes('#') && !value.includes(' ') && !hasControl(value)
}

/** `type:id#relation`, without `*` after the colon. */
export function isUserset(value: string): boolean {
  if (value.includes(' ') || hasControl(value)) return false
  const colon = value.indexOf(':')
  const hash = value.indexOf('#')
  if (colon < 1 || hash <= colon + 1 || hash === value.length - 1) return false
  if (value.indexOf(':', colon + 1) !== -1 || value.indexOf('#', hash + 1) !== -1) return false
  return !value.slice(colon).includes('*')
}

/** Whether a user is `type:*`. */
export const isTypedWildcard = (value: string): boolean => {
  const colon = value.indexOf(':')
  return colon > 0 && value.length === colon + 2 && value.endsWith('*')
}

/** Whether a text can name a relation. */
export const isRelationName = (value: string): boolean =>
  value !== '' && !/[#:@ ]/.test(value) && !hasControl(value)

/** What the server calls a well-formed user; the untyped forms pass here and fail against the model. */
export const isUser = (value: string): boolean =>
  isObject(value) || isUserset(value) || (value !== '' && !/[#: ]/.test(value) && !hasControl(value))
