/**
 * How ids are taken on the command line: `anne` and `user:anne` are the same wherever only one type is
 * possible. Another type that somebody writes is passed on, for the service to refuse: guessing would ask
 * about somebody else.
 */
export type IdType =
  | 'user'
  | 'agent'
  | 'service'
  | 'collection'
  | 'document'
  | 'delegation'
  | 'grant'
  | 'organization'

/** For what the service wants as `type:id`. */
export const typed =
  (type: IdType) =>
  (id: string): string =>
    id.includes(':') ? id : `${type}:${id}`

/** For what it wants without its type. */
export const bare =
  (type: IdType) =>
  (id: string): string =>
    id.startsWith(`${type}:`) ? id.slice(type.length + 1) : id

/** Where several types are possible. */
export const anyType =
  (...examples: readonly string[]) =>
  (id: string): string => {
    if (id.includes(':')) return id
    throw new Error(`Say of which type ${id} is, as in ${examples.join(' or ')}.`)
  }

const asGiven = (id: string): string => id

/** Of an option that is repeated. */
export const repeatable =
  (parse = asGiven) =>
  (id: string, previousIds: readonly string[] | undefined): string[] => [...(previousIds ?? []), parse(id)]
