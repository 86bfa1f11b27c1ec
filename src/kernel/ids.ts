declare const brand: unique symbol
type Branded<Name extends string> = string & { readonly [brand]: Name }

/** A digest of (document, revision, ordinal): never a counter, so that it tells nothing about others. */
export type ChunkId = Branded<'ChunkId'>

/**
 * The one rule for ids on the wire: 1 to 200 of `A-Z a-z 0-9 . _ / @ + = % -`, `%` only as `%XX`,
 * no empty segment, no `.` or `..` segment. What passes is safe inside an OpenFGA object (`type:id`),
 * a path segment once encoded, and a log line.
 */
export function isId(value: string): boolean {
  if (!/^[A-Za-z0-9._/@+=%-]{1,200}$/.test(value)) return false
  if (/%(?![0-9A-Fa-f]{2})/.test(value)) return false
  return value.split('/').every((segment) => segment !== '' && segment !== '.' && segment !== '..')
}

/** An OpenFGA object or subject, `type:id`. */
export type FgaObject = `${string}:${string}`

export const documentObject = (id: string): FgaObject => `document:${id}`
export const collectionObject = (id: string): FgaObject => `collection:${id}`

/** Splits `type:id` at its first colon. */
export function splitObject(object: string): { readonly type: string; readonly id: string } {
  const colon = object.indexOf(':')
  return { type: object.slice(0, colon), id: object.slice(colon + 1) }
}
