import type { TupleView } from '@remit/engine'
import { splitObject } from '../../kernel/ids.ts'

/** The names that a comparison asks about. */
export interface Names {
  /** `user:anne` */
  readonly people: readonly string[]
  /** Ids. */
  readonly documents: readonly string[]
}

/** Every person and document that a tuple names, each in the order of its name. */
export function namesIn(tuples: TupleView): Names {
  const people = new Set<string>()
  const documents = new Set<string>()
  for (const { user, userRelation, object } of tuples.after('')) {
    if (user.type === 'user' && userRelation === '' && !user.wildcard) people.add(user.name)
    if (object.type === 'document') documents.add(splitObject(object.name).id)
  }
  return { people: [...people].sort(), documents: [...documents].sort() }
}
