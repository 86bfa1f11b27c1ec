import { isId } from '@remit/contract/is-id'

const types: ReadonlySet<string> = new Set(['user', 'group', 'organization', 'collection', 'folder', 'zone'])

/** Whether it is `type:ID` with one of these types. What passes holds neither a space nor a second colon. */
export function isObject(name: string): boolean {
  const colon = name.indexOf(':')
  return types.has(name.slice(0, colon)) && isId(name.slice(colon + 1))
}

/** Whether it is `folder:ID`, `zone:ID` or `collection:ID`. */
export const isPlace = (name: string): boolean => /^(folder|zone|collection):/.test(name) && isObject(name)

/**
 * Whether it can be the subject of a tuple: `user:ID`, `user:*`, `group:ID#member` or
 * `organization:ID#member`. NOT checked: whether the list takes it.
 */
export const isSubject = (subject: string): boolean =>
  subject === 'user:*' ||
  (subject.startsWith('user:') && isObject(subject)) ||
  (/^(group|organization):.*#member$/s.test(subject) && isObject(subject.slice(0, -'#member'.length)))

/** Why what has this name cannot be said. As JSON: the name may hold anything. */
export const notAnId = (name: string): string =>
  `${JSON.stringify(name.slice(0, 200))} is not an id in Remit.`
