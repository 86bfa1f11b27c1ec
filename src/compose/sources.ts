import { randomBytes } from 'node:crypto'
import type { Fga } from '../authz/fga.ts'
import type { Administrators } from '../delegation/administration/administrators.ts'
import type { Persons } from '../delegation/people/persons.ts'
import type { Services } from '../delegation/registry/services.ts'
import { createAddressBook } from '../directory/addresses.ts'
import type { App } from '../http/env.ts'
import { sourcePeopleRoutes } from '../http/routes/security/source-people.ts'
import { sourceHookRoutes, sourceRoutes } from '../http/routes/security/sources.ts'
import type { Ingest } from '../ingest/ingest.ts'
import type { ParseInput } from '../ingest/parse/parsed.ts'
import { createSourceHooks } from '../sources/hooks.ts'
import type { SourceKind } from '../sources/kind.ts'
import { dokuwikiKind } from '../sources/kinds/dokuwiki/kind.ts'
import { filesKind } from '../sources/kinds/files/kind.ts'
import { folderKind } from '../sources/kinds/folder/kind.ts'
import { redmineKind } from '../sources/kinds/redmine/kind.ts'
import { smbKind } from '../sources/kinds/smb/kind.ts'
import { createSourcePeople } from '../sources/people/people.ts'
import { createSources } from '../sources/registry.ts'
import { createSourceRunner, type SourceRunner } from '../sources/runner.ts'
import type { SecondPersonDeps } from '../sources/second-person.ts'
import { createSeal } from '../store/encryption.ts'
import { loadSecret } from '../store/secret.ts'
import type { ApiAccess } from './api-access.ts'
import type { ComposeContext } from './context.ts'

/** Every kind of source that the service knows. A new one is added here. */
const builtInKinds: readonly SourceKind[] = [dokuwikiKind, filesKind, folderKind, redmineKind, smbKind]

/** Of the service, what sources take. */
export interface SourcesDeps
  extends Pick<
    ComposeContext,
    'config' | 'database' | 'log' | 'now' | 'sourceKinds' | 'outbound' | 'keysDir'
  > {
  readonly ingest: Ingest
  readonly fga: Pick<Fga, 'read'>
  readonly services: Services
  readonly administrators: Pick<Administrators, 'keeps'>
  readonly persons: Persons
  readonly titleOf: (input: ParseInput) => Promise<string | undefined>
  /**
   * False: the database or OpenFGA is an older copy of itself, and nothing is written until that was
   * mended.
   */
  readonly isSound: () => boolean
}

/** Sources that the service reads by itself, and their routes. */
export interface SourcesPart {
  /** Reads nothing before its `start`. */
  readonly runner: SourceRunner
  routes(access: Pick<ApiAccess, 'requireBearer' | 'isAdministrator'>): readonly App[]
}

/** Wires the registry of sources with what reads them. */
export async function openSources(dependencies: SourcesDeps): Promise<SourcesPart> {
  const { config, database, now, administrators, persons, sourceKinds = builtInKinds } = dependencies
  const kinds = new Map(sourceKinds.map((kind) => [kind.id, kind]))
  const { sourceOrigins: origins, sourceSecrets: secrets, sourceDomains, trustedIssuers } = config
  const twoPersons: SecondPersonDeps = {
    isAdministrator: (sql, subject) => administrators.keeps(sql, subject, 'security.write'),
    namesOf: (sql, subject, sinceTime) => persons.namesOf(sql, subject, { since: sinceTime }),
  }
  const sources = createSources({ ...twoPersons, database, kinds, origins, secrets })
  const seal = createSeal(await loadSecret(dependencies.keysDir, 'oauth.key'))
  const people = createSourcePeople({ ...twoPersons, database, seal })
  const hooks = createSourceHooks({
    database,
    seal,
    newSalt: () => randomBytes(16).toString('base64url'),
  })
  return {
    runner: createSourceRunner({
      ...dependencies,
      seal,
      kinds,
      origins,
      secrets,
      addresses: {
        ...createAddressBook({ trustedIssuers }),
        directoryOf: (domain) => sourceDomains.get(domain),
      },
      newId: () => `s_${randomBytes(16).toString('base64url')}`,
      leaseSeconds: config.leaseSeconds,
    }),
    routes: (access) => [
      sourceRoutes({ ...access, sources, hooks, now }),
      sourceHookRoutes({ hooks }),
      sourcePeopleRoutes({ ...access, people, now }),
    ],
  }
}
