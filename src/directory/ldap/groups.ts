import { createHash } from 'node:crypto'
import type { ReadGroup } from '../reading/kind.ts'
import type { LdapConnection } from './connection.ts'
import { idOf, type MemberPage, memberAttributes, membersIn, oneText } from './entries.ts'
import type { LdapSettings } from './settings.ts'

/** A group, with its members as it names them. */
export interface FoundGroup extends Pick<ReadGroup, 'id' | 'name'> {
  readonly dn: string
  readonly names: readonly string[]
  readonly logins: readonly string[]
  /** It came in ranges: what moves between two of them is in both or in neither. */
  readonly isLarge: boolean
  /** Of all of it. Of a large one the order of its members counts. */
  readonly digest: string
}

/** A group as a search has it, before the ranges of a large one are read. */
interface BegunGroup extends Pick<FoundGroup, 'id' | 'dn' | 'name'> {
  readonly parts: readonly Part[]
}

interface Part extends Pick<MemberPage, 'values' | 'next'> {
  readonly attribute: string
}

/**
 * Looks at every group once, at a large one in its ranges. Answers with how many have no id. Undefined: the
 * name of one stood for another entry by then. NOT told: what changed between two entries, or two ranges. Two
 * looks that say the same tell that.
 */
export async function readGroups(
  connection: LdapConnection,
  settings: LdapSettings,
  take: (group: FoundGroup) => void,
): Promise<number | undefined> {
  const { groups } = settings
  let nameless = 0
  const done = ({ id, dn, name, parts }: BegunGroup, isLarge: boolean): void => {
    const [members = [], uniqueMembers = [], logins = []] = parts.map(({ values }) => values)
    const group = { id, dn, name, names: [...members, ...uniqueMembers], logins, isLarge }
    take({ ...group, digest: digestOf(group) })
  }
  const large: BegunGroup[] = []
  const attributes = [groups.id, groups.name, ...memberAttributes]
  await connection.search({ ...groups, scope: 'sub', attributes }, (entry) => {
    const id = idOf(entry, groups.id)
    if (id === undefined) {
      nameless += 1
      return
    }
    const parts = memberAttributes.map((attribute) => ({ attribute, ...membersIn(entry, attribute) }))
    const begun = { id, dn: entry.dn, name: oneText(entry, groups.name) ?? entry.dn, parts }
    if (parts.some(({ next }) => next !== undefined)) large.push(begun)
    else done(begun, false)
  })
  for (const begun of large) {
    const parts = await readRanges(connection, groups.id, begun)
    if (parts === undefined) return undefined
    done({ ...begun, parts }, true)
  }
  return nameless
}

function digestOf({ id, dn, name, names, logins, isLarge }: Omit<FoundGroup, 'digest'>): string {
  const listed = (values: readonly string[]) => (isLarge ? values : [...values].sort())
  const text = JSON.stringify([id, dn, name, listed(names), listed(logins)])
  return createHash('sha256').update(text).digest('base64url')
}

/** All values of a large group. Undefined: its name stands for another entry by now. */
async function readRanges(
  connection: LdapConnection,
  idAttribute: string,
  { id, dn, parts }: BegunGroup,
): Promise<readonly Part[] | undefined> {
  const whole: Part[] = []
  for (const { attribute, values, next: second } of parts) {
    const all = [...values]
    for (let next = second; next !== undefined; ) {
      const range = `${attribute};range=${next}-*`
      const pages: MemberPage[] = []
      await connection.search(
        { base: dn, scope: 'base', filter: '(objectClass=*)', attributes: [idAttribute, range] },
        (part) => {
          if (idOf(part, idAttribute) === id) pages.push(membersIn(part, attribute))
        },
      )
      const [page] = pages
      if (page === undefined) return undefined
      if (page.next === undefined ? !page.isWhole : page.next <= next)
        throw new Error('The server does not come to an end of a group.')
      next = page.next
      for (const value of page.values) all.push(value)
    }
    whole.push({ attribute, values: all, next: undefined })
  }
  return whole
}
