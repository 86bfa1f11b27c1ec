import { randomUUID } from 'node:crypto'
import type { ListedWaiting, WaitingWhat } from '../../../src/directory/reading/waiting.ts'
import type { NewDirectory } from '../../../src/directory/ways.ts'
import type { Database } from '../../../src/store/sql.ts'
import { alone, type Backend } from '../../support/backends.ts'
import { startTestIssuer, type TestIssuer } from '../../support/issuer.ts'
import { type Slapd, startSlapd } from '../../support/slapd.ts'
import { openWorld, type World } from '../../support/world.ts'

/** The service with a trusted issuer of namespace `acme`, whose people it reads from a server of OpenLDAP. */
export interface LdapWorld extends World {
  readonly slapd: Slapd
  readonly issuer: TestIssuer
  /** Adds `uid=KEY`; whatever more is an attribute of it. */
  person(key: string, more?: Readonly<Record<string, string | string[]>>): Promise<void>
  /** Adds a groupOfNames of these names. */
  group(name: string, ...members: readonly string[]): Promise<void>
  /** Has members of a group replaced. */
  setMembers(name: string, ...members: readonly string[]): Promise<void>
  readonly dnOf: (key: string) => string
  readonly groupDn: (name: string) => string
  /** Registers the directory, or says anew how it is read. */
  register(settings?: object, more?: object): Promise<void>
  /** Reads it now; gives how that went. */
  read(): Promise<Listed>
  /** What waits of one sort for somebody's word. */
  waiting(what: WaitingWhat): Promise<ListedWaiting>
  /** Says yes to all of it. */
  confirm(what: WaitingWhat): Promise<void>
  /** What OpenFGA has of memberships: names of groups → who is in them by themselves, by keys and names. */
  members(): Promise<Record<string, string[]>>
  /** The OpenFGA id of a group, `group:acme/g_…`. */
  groupId(name: string): Promise<string>
  personToken(key: string, now?: number): Promise<string>
  status(token: string): Promise<number>
  found(token: string): Promise<string[]>
}

export interface Listed {
  readonly problem: string | null
  readonly problems: readonly string[]
  readonly waiting: Readonly<Partial<Record<WaitingWhat, number>>> | null
  readonly isStale: boolean
  readonly readAt: string | null
}

/** A member that is nobody: a groupOfNames has at least one. */
export const nobody = 'cn=nobody'

export async function openLdapWorld(
  options: {
    readonly backend?: Backend
    readonly server?: Slapd
    /** Another server, by the name `double`. */
    readonly double?: string
    readonly now?: () => number
    readonly database?: (real: Database) => Database
  } = {},
): Promise<LdapWorld> {
  const slapd = options.server ?? (await startSlapd())
  const issuer = await startTestIssuer({ namespace: 'acme', personClients: ['portal'] })
  const entry = (name: string, origin: string) => ({
    name,
    kind: 'ldap',
    origin,
    secret_env: 'ACME_LDAP_PASSWORD',
  })
  const world = await openWorld({
    backend: options.backend ?? alone,
    ...(options.now && { now: options.now }),
    ...(options.database && { database: options.database }),
    env: {
      TRUSTED_ISSUERS: JSON.stringify([issuer.entry()]),
      DIRECTORY_SECRETS: JSON.stringify([
        entry('acme', slapd.url),
        entry('upgraded', slapd.plainUrl),
        entry('elsewhere', 'ldaps://ldap.elsewhere.test'),
        ...(options.double === undefined ? [] : [entry('double', options.double)]),
      ]),
      ACME_LDAP_PASSWORD: slapd.reader.password,
    },
  })
  const { directories, directoryReader, fga } = world.service
  const { base } = slapd
  const dnOf = (key: string): string => `uid=${key},ou=people,${base}`
  const groupDn = (name: string): string => `cn=${name},ou=groups,${base}`
  const row = async (): Promise<Listed> => {
    const [listed] = await directories.list()
    if (listed?.reading === undefined) throw new Error('It is not there.')
    return listed.reading
  }
  const waiting = async (what: WaitingWhat): Promise<ListedWaiting> => {
    const found = (await directories.waitingOf('acme')).find((one) => one.what === what)
    if (found === undefined) throw new Error(`Nothing waits for ${what}.`)
    return found
  }
  return {
    ...world,
    slapd,
    waiting,
    confirm: async (what) => directories.confirm('acme', (await waiting(what)).digest),
    issuer,
    dnOf,
    groupDn,
    person: (key, more = {}) =>
      slapd.add(dnOf(key), { objectClass: 'inetOrgPerson', uid: key, cn: key, sn: key, ...more }),
    group: (name, ...members) =>
      slapd.add(groupDn(name), { objectClass: 'groupOfNames', cn: name, member: [nobody, ...members] }),
    setMembers: (name, ...members) => slapd.replace(groupDn(name), 'member', [nobody, ...members]),
    register: (settings = {}, more = {}) =>
      directories.add({
        name: 'acme',
        namespace: 'acme',
        prefix: 'acme/',
        kind: 'ldap',
        secret: 'acme',
        settings: {
          url: slapd.url,
          ca: slapd.ca,
          bind_dn: slapd.reader.dn,
          page_size: 3,
          people: {
            base: `ou=people,${base}`,
            filter: '(objectClass=inetOrgPerson)',
            key: 'uid',
            id: 'entryUUID',
            active: 'pwdAccountLockedTime',
          },
          groups: {
            base: `ou=groups,${base}`,
            filter: '(|(objectClass=groupOfNames)(objectClass=groupOfUniqueNames)(objectClass=posixGroup))',
            id: 'entryUUID',
          },
          ...settings,
        },
        ...more,
      } as NewDirectory),
    async read() {
      await directories.wake('acme')
      await directoryReader.runDue()
      return row()
    },
    async members() {
      const names = new Map((await directories.groupsOf('acme')).map(({ group, name }) => [group, name]))
      const found: [string, string[]][] = []
      for (const [group, name] of names) {
        const members: string[] = []
        for await (const { user } of fga.read({ object: group as `group:${string}`, relation: 'member' }))
          members.push(
            user.startsWith('user:acme/')
              ? user.slice('user:acme/'.length)
              : `#${names.get(user.replace('#member', '')) ?? user}`,
          )
        found.push([name, members.sort()])
      }
      return Object.fromEntries(found.sort())
    },
    async groupId(name) {
      const found = (await directories.groupsOf('acme')).find((group) => group.name === name)
      if (found === undefined) throw new Error(`There is no group ${name}.`)
      return found.group
    },
    personToken: (key, now) =>
      issuer.token({
        sub: key,
        client_id: 'portal',
        ...(now !== undefined && { now, ttl: 60 }),
        overrides: { jti: randomUUID() },
      }),
    async status(token) {
      return (await world.call('POST', '/retrieve', { token, body: { query: 'travel' } })).status
    },
    async found(token) {
      const { results } = await world.retrieve(token, { query: 'travel' })
      return results.map(({ document_id }) => document_id).sort()
    },
    async [Symbol.asyncDispose]() {
      await world[Symbol.asyncDispose]()
      await issuer[Symbol.asyncDispose]()
      if (options.server === undefined) await slapd[Symbol.asyncDispose]()
    },
  }
}
