import type { ReadGroup, Reading, ReadingOptions, ReadPerson } from '../reading/kind.ts'
import { connectLdap, type LdapConnection, type LdapEntry } from './connection.ts'
import { idOf, isActive, memberAttributes, membersIn, oneText } from './entries.ts'
import { nameKey } from './names.ts'
import type { LdapSettings } from './settings.ts'

const attemptsMax = 3

/**
 * All people and groups of a directory by LDAP. A member is known by a name or a login, which may become
 * somebody else's between two searches: where one did, nothing of that reading counts.
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
      signal: options.signal,
    })
    const reading = await readOnce(connection, settings)
    if (reading !== undefined) return reading
  }
  throw new Error(`Names moved while it was read, ${attemptsMax} times in a row.`)
}

/** Undefined: a name stood for one entry at first, and for another one, or for none, later. */
async function readOnce(connection: LdapConnection, settings: LdapSettings): Promise<Reading | undefined> {
  const { people, groups, member_uid: memberUid } = settings
  const peopleBefore = await namesIn(connection, people, memberUid)
  const found: FoundGroup[] = []
  const entries: LdapEntry[] = []
  const list = [groups.id, groups.name, ...memberAttributes]
  await connection.search({ ...groups, scope: 'sub', attributes: list }, (entry) => entries.push(entry))
  const groupsBefore = createNames()
  for (const entry of entries) {
    const group = await groupIn(connection, settings, entry)
    if (group === 'moved') return undefined
    if (group === undefined) continue
    groupsBefore.add(entry.dn, group.id)
    found.push(group)
  }
  const read = await readPeople(connection, settings)
  const groupsAfter = await namesIn(connection, groups, undefined)
  if (!peopleBefore.agreesWith(read.names) || !groupsBefore.agreesWith(groupsAfter)) return undefined
  const problems = [
    ...read.problems,
    ...read.names.problems(),
    ...groupsBefore.problems(),
    ...(found.length < entries.length
      ? [`${entries.length - found.length} groups have no ${groups.id}.`]
      : []),
  ]
  return {
    people: read.people,
    groups: found.map(({ id, name, names, logins }) => ({
      id,
      name,
      people: [
        ...names.flatMap((dn) => read.names.idOf(dn) ?? []),
        ...logins.flatMap((login) => read.names.idOfLogin(login) ?? []),
      ],
      groups: names.flatMap((dn) => (read.names.idOf(dn) === undefined ? (groupsBefore.idOf(dn) ?? []) : [])),
    })),
    isCertain: read.isCertain && found.length === entries.length,
    problems,
  }
}

interface FoundGroup extends Pick<ReadGroup, 'id' | 'name'> {
  readonly names: readonly string[]
  readonly logins: readonly string[]
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
    names.add(entry.dn, id, oneText(entry, memberUid))
    read.push({ id, key: oneText(entry, people.key), isActive: isActive(entry, people.active) })
  })
  const problems = [
    ...countOf(nameless, `people have no ${people.id}.`),
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

/** Undefined: it has no id. */
async function groupIn(
  connection: LdapConnection,
  { groups }: LdapSettings,
  entry: LdapEntry,
): Promise<FoundGroup | 'moved' | undefined> {
  const id = idOf(entry, groups.id)
  if (id === undefined) return undefined
  const values = new Map<string, readonly string[]>()
  for (const attribute of memberAttributes) {
    const all: string[] = []
    let { values: page, next } = membersIn(entry, attribute)
    all.push(...page)
    while (next !== undefined) {
      let isWhole = false
      const from: number = next
      let isSame = false
      await connection.search(
        {
          base: entry.dn,
          scope: 'base',
          filter: '(objectClass=*)',
          attributes: [groups.id, `${attribute};range=${from}-*`],
        },
        (part) => {
          isSame = idOf(part, groups.id) === id
          ;({ values: page, next, isWhole } = membersIn(part, attribute))
        },
      )
      if (!isSame) return 'moved'
      if (next === undefined ? !isWhole : next <= from)
        throw new Error('The server does not come to an end of a group.')
      all.push(...page)
    }
    values.set(attribute, all)
  }
  return {
    id,
    name: oneText(entry, groups.name) ?? entry.dn,
    names: [...(values.get('member') ?? []), ...(values.get('uniqueMember') ?? [])],
    logins: values.get('memberUid') ?? [],
  }
}

async function namesIn(
  connection: LdapConnection,
  { base, filter, id: idAttribute }: Pick<LdapSettings['groups'], 'base' | 'filter' | 'id'>,
  login: string | undefined,
): Promise<Names> {
  const names = createNames()
  const attributes = login === undefined ? [idAttribute] : [idAttribute, login]
  await connection.search({ base, filter, scope: 'sub', attributes }, (entry) => {
    const id = idOf(entry, idAttribute)
    if (id !== undefined) names.add(entry.dn, id, login === undefined ? undefined : oneText(entry, login))
  })
  return names
}

/** Which entry a name or a login stands for. One that stands for two stands for none. */
interface Names {
  add(dn: string, id: string, login?: string): void
  idOf(dn: string): string | undefined
  idOfLogin(login: string): string | undefined
  /** Whether each name and each login of these is there, and stands for the same entry. */
  agreesWith(other: Names): boolean
  readonly pairs: () => readonly (readonly [string, string])[]
  problems(): readonly string[]
}

function createNames(): Names {
  const ids = new Map<string, string | undefined>()
  const put = (key: string, id: string): void => {
    ids.set(key, ids.has(key) && ids.get(key) !== id ? undefined : id)
  }
  const dnKey = (dn: string): string => `dn ${nameKey(dn) ?? ''}`
  const pairs = () =>
    [...ids].flatMap(([key, id]) => (id === undefined || key === 'dn ' ? [] : [[key, id] as const]))
  return {
    pairs,
    add(dn, id, login) {
      put(dnKey(dn), id)
      if (login !== undefined) put(`login ${login}`, id)
    },
    idOf: (dn) => (dnKey(dn) === 'dn ' ? undefined : ids.get(dnKey(dn))),
    idOfLogin: (login) => ids.get(`login ${login}`),
    agreesWith(other) {
      const otherIds = new Map(other.pairs())
      return pairs().every(([key, id]) => otherIds.get(key) === id)
    },
    problems: () =>
      [...ids].flatMap(([key, id]) => (id === undefined ? [`Two entries have the name ${key}.`] : [])),
  }
}
