import { randomBytes } from 'node:crypto'
import type { AllowList } from '../authz/allow-list/allow-list.ts'
import type { Fga } from '../authz/fga.ts'
import { createPersonEnd } from '../delegation/administration/person-end.ts'
import { createDirectories, type Directories } from '../directory/directories.ts'
import { keycloakKind } from '../directory/keycloak/reading.ts'
import { ldapKind } from '../directory/ldap/reading.ts'
import { createMemberships, type Memberships } from '../directory/memberships.ts'
import { createDirectoryPeople } from '../directory/people.ts'
import { createDirectoryRunner, type DirectoryRunner } from '../directory/reading/runner.ts'
import { createScimGroups } from '../directory/scim/groups.ts'
import { createScim } from '../directory/scim/service.ts'
import { createScimUsers } from '../directory/scim/users.ts'
import type { App } from '../http/env.ts'
import { scimRoutes } from '../http/routes/directory/scim.ts'
import type { Ingest } from '../ingest/ingest.ts'
import { membersAtOnce } from '../ingest/members.ts'
import { type Recurring, startRecurring } from '../kernel/recurring.ts'
import type { ComposeContext } from './context.ts'
import type { DelegationPart } from './delegation.ts'
import type { Issuer } from './issuer.ts'

/** Of the service, what directories take. */
export interface DirectoryDeps
  extends Pick<ComposeContext, 'config' | 'database' | 'clock' | 'log' | 'newTxn' | 'now' | 'outbound'>,
    Pick<DelegationPart, 'persons' | 'administrators' | 'delegations' | 'accountLinks'> {
  readonly fga: Pick<Fga, 'read'>
  readonly allowList: () => AllowList
  readonly barring: Issuer['barring']
  readonly ingest: Pick<Ingest, 'settleMembers' | 'rightsByName' | 'takeAway'>
  /** False: the database or OpenFGA is an older copy of itself, and nothing is read for now. */
  readonly isSound: () => boolean
  /** Looks anew, and throws where it is. */
  readonly assertSound: () => Promise<void>
}

/** What brings people and groups in. */
export interface DirectoryPart extends AsyncDisposable {
  readonly directories: Directories
  readonly memberships: Memberships
  /** Reads nothing before its `start`. */
  readonly runner: DirectoryRunner
  readonly routes: readonly App[]
  /**
   * Begins to write what a crash left, now and every minute, and to compare all groups with OpenFGA every
   * hour; `compares`: now, too.
   */
  start(options: { readonly compares: boolean }): void
}

const mendEveryMs = 60_000
const compareEveryMs = 3_600_000

/** Opens directories and SCIM. */
export function openDirectory(dependencies: DirectoryDeps): DirectoryPart {
  const { config, database, fga, ingest, log } = dependencies
  const baseUrl = `${config.publicUrl}/scim/v2`
  const newId = (prefix: 'u' | 'g') => `${prefix}_${randomBytes(16).toString('base64url')}`
  const kinds = new Map([ldapKind, keycloakKind].map((kind) => [kind.id, kind]))
  const { trustedIssuers, directorySecrets: secrets, leaseSeconds } = config
  const directories = createDirectories({ ...dependencies, randomBytes, trustedIssuers, kinds, secrets })
  const memberships = createMemberships({
    ...dependencies,
    fga,
    membersAtOnce,
    // The prefix alone, and by the same rules as a service that writes groups.
    write: (writer, prefix, source) =>
      ingest.settleMembers(
        { kind: 'service', writer, scopes: new Set(['directory.write']), prefixes: [prefix] },
        source,
      ),
  })
  const recurring: Recurring[] = []
  const people = createDirectoryPeople({
    ...dependencies,
    memberships,
    personEnd: createPersonEnd(dependencies),
    rights: { byName: ingest.rightsByName, takeAway: ingest.takeAway },
  })
  const resources = { ...dependencies, memberships, baseUrl }
  const users = createScimUsers({ ...resources, newId: () => newId('u'), people })
  const groups = createScimGroups({ ...resources, newId: () => newId('g') })
  const runner = createDirectoryRunner({
    ...dependencies,
    kinds,
    secrets,
    people,
    memberships,
    newId,
    leaseSeconds,
    trusted({ name, issuer, namespace, prefix }) {
      const trusted = trustedIssuers.find((one) => one.namespace === namespace && one.issuer === issuer)
      return trusted && { name, issuer, namespace, prefix, preset: trusted.preset }
    },
  })
  return {
    directories,
    memberships,
    runner,
    routes: [scimRoutes({ directories, scim: createScim({ database, users, groups, baseUrl }) })],
    start({ compares }) {
      const whileSound = (task: () => Promise<unknown>) => async () =>
        dependencies.isSound() ? task() : undefined
      const mend = whileSound(() => memberships.mend(dependencies.assertSound))
      const compare = whileSound(() => memberships.compare())
      const mending = startRecurring(log, 'directories', mendEveryMs, mend)
      const comparing = startRecurring(log, 'directories', compareEveryMs, compare)
      recurring.push(mending, comparing)
      void mending.poll()
      if (compares) void comparing.poll()
    },
    async [Symbol.asyncDispose]() {
      await runner[Symbol.asyncDispose]()
      await Promise.all(recurring.map((task) => task[Symbol.asyncDispose]()))
    },
  }
}
