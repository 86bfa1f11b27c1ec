import { randomBytes, randomUUID } from 'node:crypto'
import { mkdir } from 'node:fs/promises'
import { join } from 'node:path'
import { PassThrough, Readable } from 'node:stream'
import { compileAllowList } from '../../src/authz/allow-list/allow-list.ts'
import { readVersion } from '../../src/authz/model/pin.ts'
import { endApprovals } from '../../src/authz/model/plan-store.ts'
import { type AdminClientOptions, createAdminClient } from '../../src/cli/admin-client.ts'
import { startAdminServer } from '../../src/cli/admin-server.ts'
import type { AdminDeps } from '../../src/cli/commands/command.ts'
import { createDemoTokens, type DemoTokens } from '../../src/cli/demo-tokens.ts'
import { runCli } from '../../src/cli/program.ts'
import type { SignIns } from '../../src/cli/sign-ins.ts'
import { createTerminal } from '../../src/cli/terminal.ts'
import { createAdministrators } from '../../src/delegation/administration/administrators.ts'
import { createAgentAdministration } from '../../src/delegation/administration/agent-administration.ts'
import { createDelegations } from '../../src/delegation/lending/delegations.ts'
import { createDeniedHosts } from '../../src/delegation/oauth/cimd/hosts.ts'
import { createConsents } from '../../src/delegation/oauth/consents.ts'
import { createPasswords } from '../../src/delegation/people/passwords.ts'
import { createPeople } from '../../src/delegation/people/people.ts'
import { createPersons } from '../../src/delegation/people/persons.ts'
import { createBarring, createSignInEnds } from '../../src/delegation/people/sign-in-ends.ts'
import { createSignInValidity } from '../../src/delegation/people/sign-in-validity.ts'
import { createAgents } from '../../src/delegation/registry/agents.ts'
import { createClients } from '../../src/delegation/registry/clients.ts'
import { createResources } from '../../src/delegation/registry/resources.ts'
import { createServices } from '../../src/delegation/registry/services.ts'
import type { Fetch } from '../../src/delegation/tokens/fetch-json.ts'
import { openKeyRing } from '../../src/delegation/tokens/signing-key.ts'
import { createEnvelope } from '../../src/delegation/vault/envelope.ts'
import { createLocalKeys } from '../../src/delegation/vault/keys.ts'
import { createVaultKeyring } from '../../src/delegation/vault/rewrap.ts'
import { createDirectories } from '../../src/directory/directories.ts'
import { ldapKind } from '../../src/directory/ldap/reading.ts'
import { systemClock } from '../../src/kernel/clock.ts'
import { createSeal } from '../../src/store/encryption.ts'
import { openMigrated, ownIssuerUrl, publicUrl } from '../delegation/world.ts'
import { openFga } from '../delegation/world-fga.ts'
import { createTestTokens } from '../support/tokens.ts'

const notHere = () => Promise.reject(new Error('not here'))

/** A database with collection `handbook`, anne, and research-bot that anne has lent the handbook to. */
export async function openCommands() {
  const database = await openMigrated('pglite')
  const fga = await openFga(database, systemClock)
  const agents = createAgents({ sql: database, clock: systemClock })
  const people = createPeople({ sql: database })
  const version = await readVersion(database, fga.modelId)
  if (version === undefined) throw new Error('No model is in force.')
  const allowList = compileAllowList(version)
  const services = createServices({
    database,
    fga,
    allowList: () => allowList,
    newTxn: () => 't_tests',
    tuples: {
      give: (_, writes) => fga.write({ writes }),
      takeAway: (_, deletes) => fga.write({ deletes }),
    },
  })
  const persons = createPersons({ trustedIssuers: [] })
  const administrators = createAdministrators({ sql: database, persons, clock: systemClock })
  const delegations = createDelegations({ database, fga, clock: systemClock, randomBytes })
  const saveCollection: AdminDeps['saveCollection'] = async ({ id, title, publicAllowed, organization }) => {
    await database.query(
      `insert into collections (id, title, public_allowed) values ($1, $2, $3)
       on conflict (id) do update set title = excluded.title, public_allowed = excluded.public_allowed`,
      [id, title, publicAllowed],
    )
    const belongs = {
      user: `organization:${organization}`,
      relation: 'organization',
      object: `collection:${id}`,
    } as const
    if (organization !== undefined) await fga.write({ writes: [belongs] })
  }
  await saveCollection({ id: 'handbook', title: 'Handbook', publicAllowed: false })
  await people.save({ key: 'anne', name: 'Anne' })
  await agents.save({
    id: 'research-bot',
    owner: 'user:anne',
    purpose: 'tests',
    issuer: ownIssuerUrl,
    sub: 'research-bot',
  })
  await delegations.lend({
    subject: 'user:anne',
    agent: 'research-bot',
    scope: ['collection:handbook'],
    purpose: 'tests',
    expiresAt: new Date(Date.now() + 86_400_000),
  })
  const clients = createClients({ sql: database })
  const home = join(database.folder, 'home')
  // As after a first start.
  await mkdir(join(home, 'keys'), { recursive: true })
  const keys = await openKeyRing(join(database.folder, 'keys'), systemClock)
  const tokens = createTestTokens({
    publicUrl,
    keys,
    people,
    agents,
    services,
    administrators,
    delegations,
    clients,
    clock: systemClock,
    randomBytes,
  })
  const signInEnds = createSignInEnds({
    seal: createSeal(randomBytes(32)),
    clock: systemClock,
    issuer: ownIssuerUrl,
  })
  const vaultKeys = createLocalKeys([{ version: 'two', key: randomBytes(32) }])
  const deps: AdminDeps = {
    database,
    fga,
    services,
    administrators,
    people,
    passwords: createPasswords({ database, clock: systemClock, signInEnds }),
    personMove: { look: notHere, move: notHere },
    barring: createBarring({
      database,
      clock: systemClock,
      signInEnds,
      persons,
      endApprovals,
      deactivatedBy: async () => undefined,
    }),
    clients,
    directories: createDirectories({
      database,
      clock: systemClock,
      randomBytes,
      trustedIssuers: [
        { issuer: 'https://id.test', namespace: 'acme', preset: 'generic' },
        { issuer: 'https://read.test', namespace: 'read', preset: 'generic' },
      ],
      kinds: new Map([[ldapKind.id, ldapKind]]),
      secrets: [{ name: 'corp', kind: 'ldap', origin: 'ldaps://ldap.acme.test', value: undefined }],
    }),
    deniedHosts: createDeniedHosts({ database, clock: systemClock }),
    agents,
    agentAdministration: createAgentAdministration({ database, agents, delegations, clock: systemClock }),
    delegations,
    keys,
    vault: { keyring: createVaultKeyring({ database, envelope: createEnvelope(vaultKeys) }) },
    ownIssuer: ownIssuerUrl,
    resources: createResources({ sql: database, agents, publicUrl }),
    grants: createConsents({
      database,
      delegations,
      signInValidity: createSignInValidity({ trustedIssuers: [], clock: systemClock }),
      clock: systemClock,
    }),
    saveCollection,
    publicUrl,
    record: {
      verify: async () => {
        throw new Error('not here')
      },
      heads: async () => [],
      erase: async () => {
        throw new Error('not here')
      },
    },
    mayHaveForgotten: async () => false,
    recover: async () => {
      throw new Error('not here')
    },
    drift: async () => ({ mended: 0, requestOnly: 0, adopted: true }),
    newTxn: randomUUID,
  }
  return {
    database,
    fga,
    deps: { ...deps, demoConsent: { confirm: async () => undefined } },
    withoutDemo: deps,
    tokens,
    home,
  }
}

export type Commands = Awaited<ReturnType<typeof openCommands>>

export const serving = (
  { home, deps }: Pick<Commands, 'home'> & { readonly deps: AdminDeps },
  errors: unknown[] = [],
) => startAdminServer({ dir: home, deps, onError: (error) => errors.push(error) })

export interface Ran {
  readonly code: number
  readonly stdout: string
  readonly stderr: string
}

/** Of somebody who never signed in. */
export const nobody: SignIns = {
  login: () => Promise.reject(new Error('Nobody is there to sign in.')),
  token: async () => undefined,
  whoami: async () => undefined,
  logout: async () => false,
}

/** Where no program is. */
export const noStdio = { folder: '/nowhere', stdin: Readable.from([]), stdout: new PassThrough() }

export const noDemo: DemoTokens = { person: notHere, agent: notHere, service: notHere }

/** One command line, as a shell would run it. */
export async function remit(
  argv: readonly string[],
  client: AdminClientOptions,
  more: {
    readonly url?: string
    readonly envToken?: string
    readonly fetch?: Fetch
    readonly signIns?: SignIns
    readonly demoTokens?: DemoTokens
    readonly now?: () => number
    /** Ctrl-C. */
    readonly stopping?: AbortSignal
    /** Of a terminal, somebody at it. */
    readonly stdin?: Readable & { readonly isTTY: boolean }
    /** Told of everything that is said, as it is said. */
    readonly onSaid?: (text: string) => void
  } = {},
): Promise<Ran> {
  let stdout = ''
  let stderr = ''
  const admin = createAdminClient(client)
  const code = await runCli(argv, {
    admin,
    serve: () => Promise.reject(new Error('no service is started here')),
    demoTokens: more.demoTokens ?? createDemoTokens({ admin, home: client.home, fetch: more.fetch ?? fetch }),
    terminal: createTerminal(
      {
        ...(more.stdin && { stdin: more.stdin }),
        stdout: { write: (text) => (stdout += text) },
        stderr: {
          isTTY: more.stdin !== undefined,
          write(text) {
            stderr += text
            more.onSaid?.(text)
          },
        },
      },
      more.now,
    ),
    examine: async () => [],
    reembed: () => Promise.reject(new Error('There is no model here.')),
    backups: { backup: notHere, restore: notHere, check: notHere, makeKey: notHere },
    fetch: more.fetch ?? fetch,
    signIns: more.signIns ?? nobody,
    publicUrl: more.url ?? publicUrl,
    envToken: more.envToken,
    stdio: noStdio,
    newKey: randomUUID,
    now: more.now ?? Date.now,
    whenInterrupted: () => more.stopping ?? new AbortController().signal,
  })
  return { code, stdout, stderr }
}
