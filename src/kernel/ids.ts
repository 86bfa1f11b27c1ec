declare const brand: unique symbol
type Branded<Name extends string> = string & { readonly [brand]: Name }

/** A digest of (document, revision, ordinal): never a counter, so that it tells nothing about others. */
export type ChunkId = Branded<'ChunkId'>

/** An OpenFGA object or subject, `type:id`. */
export type FgaObject = `${string}:${string}`

/** `document:ID`, the name by which OpenFGA knows a document. */
export const documentObject = (id: string): FgaObject => `document:${id}`
/** `collection:ID`, the name by which OpenFGA knows a collection. */
export const collectionObject = (id: string): FgaObject => `collection:${id}`

/** Splits `type:id` at its first colon. */
export function splitObject(object: string): { readonly type: string; readonly id: string } {
  const colon = object.indexOf(':')
  return { type: object.slice(0, colon), id: object.slice(colon + 1) }
}
