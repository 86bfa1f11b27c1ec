import { readingBounds } from '../reading/bounds.ts'
import {
  defineDirectoryKind,
  type ReadGroup,
  type Reading,
  type ReadingOptions,
  type ReadPerson,
} from '../reading/kind.ts'
import { connectLdap, type LdapConnection } from './connection.ts'
import { idOf, isActive, oneText, textsOf } from './entries.ts'
import { type FoundGroup, readGroups } from './groups.ts'
import { nameKey } from './names.ts'
import { type LdapSettings, ldapSettings } from './settings.ts'

/** A directory that answers by LDAP (RFC 4511): OpenLDAP, 389, Active Directory. */
export const ldapKind = defineDirectoryKind({
  id: 'ldap',
  settings: ldapSettings,
  originOf: ({ url }) => url,
  keyAttributeOf: ({ people }) => people.key,
  read: readLdap,
})

const attemptsMax = 3

/**
 * All people and groups of a directory by LDAP. A member is known by a name or a login, which may become
 * somebody else's between two searches: where one did, nothing of that reading counts. Who moves from a group
 * to one that was read before would be in neither, and so between two ranges of a large group: groups are
 * looked at twice. Where they are changing all the time, who was in one by one look only is `unsure`; large
 * ones have to stand still.
 */
export async function readLdap(settings: LdapSettings, options: ReadingOptions): Promise<Reading> {
  const { hostname, port, protocol } = new URL(settings.url)
  for (let attempt = 1; attempt <= attemptsMax; attempt += 1) {
    await using connection = await connectLdap({
      host: hostname.replace(/^\[(.*)\]$/, '$1'),
      port: port === '' ? (protocol === 'ldaps:' ? 636 : 389) : Number(port),
      tls: protocol === 'ldaps:' ? 'ldaps' : settings.start_tls ? 'starttls' : 'none',
      ca: settings.ca,
      bindDn: settings.bind_dn,
      password: options.secret,
      pageSize: settings.page_size,
      bounds: options.bounds ?? readingBounds,
      signal: options.signal,
    })
    const reading = await readOnce(connection, settings, { isLast: attempt === attemptsMax })
    if (reading !== undefined) return reading
  }
  throw new Error(
    `Names, or members of large groups, moved while it was read, ${attemptsMax} times in a row.`,
  )
}

/** Undefined: what was said at first was not what was said later. */
async function readOnce(
  connection: LdapConnection,
  settings: LdapSettings,
  { isLast }: { readonly isLast: boolean },
): Promise<Reading | undefined> {
  const peopleBefore = await namesIn(connection, settings)
  const groups = new Map<string, FoundGroup>()
  const nameless = await readGroups(connection, settings, (group) => groups.set(group.id, group))
  if (nameless === undefined) return undefined
  const read = await readPeople(connection, settings)
  const gone = new Set(groups.keys())
  const changed = new Map<string, FoundGroup>()
  const namelessThen = await readGroups(connection, settings, (group) => {
    gone.delete(group.id)
    const first = groups.get(group.id)
    if (first === undefined) groups.set(group.id, group)
    else if (first.digest !== group.digest) changed.set(group.id, group)
  })
  if (namelessThen === undefined || gone.size > 0) return undefined
  if (!areAsNamed(peopleBefore, read.names, [...groups.values(), ...changed.values()])) return undefined
  const mustStand = ({ id, dn, isLarge }: FoundGroup): boolean =>
    isLarge || groups.get(id)?.isLarge === true || groups.get(id)?.dn !== dn
  if (changed.size > 0 && (!isLast || [...changed.values()].some(mustStand))) return undefined
  const groupNames = createNames()
  for (const { dn, id } of groups.values()) groupNames.add(dn, id)
  return {
    people: read.people,
    groups: groupsOf(groups, changed, read.names, groupNames),
    isCertain: read.isCertain && nameless === 0 && namelessThen === 0,
    problems: [
      ...read.problems,
      ...read.names.problems(),
      ...groupNames.problems(),
      ...countOf(Math.max(nameless, namelessThen), `groups have no ${settings.groups.id}.`),
      ...countOf(changed.size, 'groups changed while they were read: what changed counts later.'),
    ],
  }
}

/**
 * Whether everybody is there still, and each name and login that a group has stands for the same entry. What
 * no group has may change: else whoever may change their own login would keep the directory from being read.
 */
function areAsNamed(before: Names, then: Names, groups: readonly FoundGroup[]): boolean {
  const isSame = (one: string | undefined, other: string | undefined) => one === undefined || one === other
  return (
    [...before.entries].every((id) => then.entries.has(id)) &&
    groups.every(
      ({ names, logins }) =>
        names.every((dn) => isSame(before.idOf(dn), then.idOf(dn))) &&
        logins.every((login) => isSame(before.idOfLogin(login), then.idOfLogin(login))),
    )
  )
}

/** Groups by the ids of who is in them. `changed`: the second look at those that it found other. */
function groupsOf(
  groups: ReadonlyMap<string, FoundGroup>,
  changed: ReadonlyMap<string, FoundGroup>,
  peopleNames: Names,
  groupNames: Names,
): ReadGroup[] {
  const membersOf = ({ names, logins }: FoundGroup) => ({
    people: [
      ...names.flatMap((dn) => peopleNames.idOf(dn) ?? []),
      ...logins.flatMap((login) => peopleNames.idOfLogin(login) ?? []),
    ],
    groups: names.flatMap((dn) => (peopleNames.idOf(dn) === undefined ? (groupNames.idOf(dn) ?? []) : [])),
    mayBe: [
      ...names.flatMap((dn) => peopleNames.mayBe(dn)),
      ...logins.flatMap((login) => peopleNames.mayBeLogin(login)),
    ],
  })
  return [...groups.values()].map((group) => {
    const { id, name } = group
    const second = changed.get(id)
    const [one, other] = [membersOf(group), second && membersOf(second)]
    const mayBe = [...one.mayBe, ...(other?.mayBe ?? [])]
    const unclear = mayBe.length > 0 && { unclear: mayBe }
    if (other === undefined) return { id, name, people: one.people, groups: one.groups, ...unclear }
    const people = twice(one.people, other.people)
    const inside = twice(one.groups, other.groups)
    const unsure = { people: people.unsure, groups: inside.unsure }
    return { id, name, people: people.sure, groups: inside.sure, unsure, ...unclear }
  })
}

/** What both lists have, and what one of them does. */
function twice(one: readonly string[], other: readonly string[]) {
  const [first, second] = [new Set(one), new Set(other)]
  const all = [...new Set([...one, ...other])]
  const isSure = (id: string): boolean => first.has(id) && second.has(id)
  return { sure: all.filter(isSure), unsure: all.filter((id) => !isSure(id)) }
}

interface FoundPeople extends Pick<Reading, 'people' | 'isCertain' | 'problems'> {
  readonly names: Names
}

async function readPeople(connection: LdapConnection, settings: LdapSettings): Promise<FoundPeople> {
  const { people, member_uid: memberUid } = settings
  const { base, filter, active_filter: activeFilter } = people
  const names = createNames()
  const read: ReadPerson[] = []
  let nameless = 0
  let manyNamed = 0
  const attributes = [
    people.id,
    people.key,
    memberUid,
    ...(people.active === 'always' ? [] : [people.active]),
  ]
  await connection.search({ base, filter, scope: 'sub', attributes }, (entry) => {
    const id = idOf(entry, people.id)
    if (id === undefined) {
      nameless += 1
      return
    }
    const logins = textsOf(entry, memberUid)
    names.add(entry.dn, id, logins)
    if (logins.length > 1) manyNamed += 1
    read.push({ id, key: oneText(entry, people.key), isActive: isActive(entry, people.active) })
  })
  const problems = [
    ...countOf(nameless, `people have no ${people.id}.`),
    ...countOf(manyNamed, `people have more than one ${memberUid}: no login stands for them.`),
    ...countOf(read.filter(({ key }) => key === undefined).length, `people have not one ${people.key}.`),
    ...countOf(
      read.filter((person) => person.isActive === undefined).length,
      `people have no ${people.active} that can be read.`,
    ),
  ]
  if (activeFilter === undefined) return { names, people: read, isCertain: nameless === 0, problems }
  const active = new Set<string>()
  await connection.search(
    { base, filter: `(&${filter}${activeFilter})`, scope: 'sub', attributes: [people.id] },
    (entry) => active.add(idOf(entry, people.id) ?? ''),
  )
  const judged = read.map(
    (person): ReadPerson =>
      active.has(person.id)
        ? person
        : { ...person, isActive: false, ...(person.isActive === true && { isLeftOut: true }) },
  )
  return { names, people: judged, isCertain: nameless === 0, problems }
}

const countOf = (count: number, what: string): readonly string[] => (count === 0 ? [] : [`${count} ${what}`])

async function namesIn(
  connection: LdapConnection,
  { people, member_uid: memberUid }: LdapSettings,
): Promise<Names> {
  const { base, filter, id: idAttribute } = people
  const names = createNames()
  const attributes = [idAttribute, memberUid]
  await connection.search({ base, filter, scope: 'sub', attributes }, (entry) => {
    const id = idOf(entry, idAttribute)
    if (id !== undefined) names.add(entry.dn, id, textsOf(entry, memberUid))
  })
  return names
}

/**
 * Which entry a name or a login stands for. One that stands for two stands for none, and of an entry with two
 * logins neither stands for it.
 */
interface Names {
  add(dn: string, id: string, logins?: readonly string[]): void
  idOf(dn: string): string | undefined
  idOfLogin(login: string): string | undefined
  /** Ids of the entries that a name may mean though it stands for none of them. */
  mayBe(dn: string): readonly string[]
  mayBeLogin(login: string): readonly string[]
  /** Ids of all that were added. */
  readonly entries: ReadonlySet<string>
  problems(): readonly string[]
}

function createNames(): Names {
  const ids = new Map<string, string | undefined>()
  const unclear = new Map<string, Set<string>>()
  const putUnclear = (key: string, id: string): void => {
    unclear.set(key, (unclear.get(key) ?? new Set()).add(id))
  }
  const put = (key: string, id: string): void => {
    const before = ids.get(key)
    const isOther = ids.has(key) && before !== id
    ids.set(key, isOther ? undefined : id)
    if (isOther) for (const one of [id, before ?? id]) putUnclear(key, one)
  }
  const dnKey = (dn: string): string => `dn ${nameKey(dn) ?? ''}`
  const entries = new Set<string>()
  return {
    entries,
    add(dn, id, logins = []) {
      entries.add(id)
      put(dnKey(dn), id)
      for (const login of logins) (logins.length === 1 ? put : putUnclear)(`login ${login}`, id)
    },
    mayBe: (dn) => (dnKey(dn) === 'dn ' ? [] : [...(unclear.get(dnKey(dn)) ?? [])]),
    mayBeLogin: (login) => [...(unclear.get(`login ${login}`) ?? [])],
    idOf: (dn) => (dnKey(dn) === 'dn ' ? undefined : ids.get(dnKey(dn))),
    idOfLogin: (login) => ids.get(`login ${login}`),
    problems: () =>
      [...ids].flatMap(([key, id]) => (id === undefined ? [`Two entries have the name ${key}.`] : [])),
  }
}
