import type { Directory, SourceSubject } from '@remit/connector'

/**
 * Who reads in a folder, as Remit's model says: whom it lets, and who reads in its parents. Without `user:`.
 */
export function readersOf(directory: Directory, folder: string): ReadonlySet<string> {
  const { accounts, groups, folders } = directory
  const found = new Set<string>()
  const add = (subject: SourceSubject): void => {
    if (typeof subject !== 'string') {
      const person = accounts.find(({ id }) => id === subject.account)?.subject
      if (person !== undefined) add(person)
    } else if (subject.startsWith('group:')) {
      const group = groups.find(({ id }) => subject === `group:${id}#member`)
      for (const member of group?.members ?? []) if ('account' in member) add({ account: member.account })
    } else found.add(subject.slice('user:'.length))
  }
  const place = folders.find(({ id }) => folder === `folder:${id}`)
  for (const viewer of place?.viewers ?? []) add(viewer)
  for (const parent of place?.parents ?? [])
    for (const reader of readersOf(directory, parent)) found.add(reader)
  return found
}
