import { randomBytes } from 'node:crypto'
import type { Fga } from '../authz/fga.ts'
import type { FollowingIndex } from '../authz/index/create.ts'
import { type Administrators, createAdministrators } from '../delegation/administration/administrators.ts'
import {
  type AgentAdministration,
  createAgentAdministration,
} from '../delegation/administration/agent-administration.ts'
import { createDelegations, type Delegations } from '../delegation/lending/delegations.ts'
import { createDeniedHosts, type DeniedHosts } from '../delegation/oauth/cimd/hosts.ts'
import { type AccountLinks, createAccountLinks } from '../delegation/people/links.ts'
import { createPeople, type People } from '../delegation/people/people.ts'
import { createPersons, type Persons } from '../delegation/people/persons.ts'
import { openRestoreDetection, type RestoreDetection } from '../delegation/recovery/restore-detection.ts'
import { type Agents, createAgents } from '../delegation/registry/agents.ts'
import { type Clients, createClients } from '../delegation/registry/clients.ts'
import { openRevocationFeed } from '../delegation/revocation/revocation-feed.ts'
import { createRevocations, type Revocations } from '../delegation/revocation/revocations.ts'
import { createCachedVerifier } from '../delegation/tokens/cached-verifier.ts'
import { createProofs, type Proofs } from '../delegation/tokens/dpop.ts'
import { externalIssuer, ownIssuer, ownIssuerName } from '../delegation/tokens/issuers.ts'
import { createRegistryLookup } from '../delegation/tokens/registry-lookup.ts'
import { type KeyRing, openKeyRing } from '../delegation/tokens/signing-key.ts'
import { createTokenJudge, type Verifier } from '../delegation/tokens/verify.ts'
import type { App } from '../http/env.ts'
import { agentRoutes, hostRoutes } from '../http/routes/security/agents.ts'
import { loadSecret } from '../store/secret.ts'
import type { ApiAccess } from './api-access.ts'
import type { ComposeContext } from './context.ts'

/** Of the wiring's context, what delegation takes. */
export interface DelegationDeps
  extends Pick<
    ComposeContext,
    | 'config'
    | 'database'
    | 'clock'
    | 'comparesClocks'
    | 'log'
    | 'fetch'
    | 'now'
    | 'elapsed'
    | 'newTxn'
    | 'keysDir'
  > {
  readonly fga: Fga
  readonly index: Pick<FollowingIndex, 'logWentBack' | 'isLogDoubted' | 'firstLook' | 'catchUp' | 'rebuild'>
  /** Told of the seconds after which a change of who may act counts here. */
  readonly onEffect: (seconds: number) => void
}

/** Who there is, who lent what to whom, and what makes a principal of a token. */
export interface DelegationPart extends AsyncDisposable {
  readonly keys: KeyRing
  readonly people: People
  readonly agents: Agents
  readonly agentAdministration: AgentAdministration
  readonly clients: Clients
  readonly deniedHosts: DeniedHosts
  readonly persons: Persons
  readonly administrators: Administrators
  readonly delegations: Delegations
  readonly accountLinks: AccountLinks
  readonly revocations: Revocations
  readonly epoch: RestoreDetection
  readonly proofs: Proofs
  /** 32 bytes, those that `proofs` derives its nonces from. */
  readonly proofSecret: Uint8Array
  readonly verifier: Verifier
  /** Whether changes of who may act are heard, by a clock that is not apart from the database's. */
  readonly isHeard: () => boolean
  /** Whether it is. */
  readonly areClocksApart: () => boolean
  /** Throws a 503 while it is not known who may act. */
  readonly assertOpen: () => void
  /** Whether it is known who may act. */
  readonly isOpen: () => boolean
  routes(door: Pick<ApiAccess, 'requireBearer' | 'keepsAgents' | 'isReader'>): readonly App[]
  /** Background tasks, each to be run now and every hour. */
  readonly tasks: Readonly<Record<string, () => Promise<unknown>>>
}

/** Opens tokens, registries, delegations and revocation. */
export async function openDelegation(dependencies: DelegationDeps): Promise<DelegationPart> {
  const { config, database, fga, index, clock, log, now, elapsed, newTxn, keysDir } = dependencies
  const { comparesClocks = false } = dependencies
  await using stack = new AsyncDisposableStack()
  const keys = await openKeyRing(keysDir, clock)
  const agents = createAgents({ sql: database, clock })
  const persons = createPersons({ trustedIssuers: config.trustedIssuers })
  const administrators = createAdministrators({ sql: database, persons, clock })
  const delegations = createDelegations({ database, fga, clock, randomBytes })
  const agentAdministration = createAgentAdministration({ database, agents, delegations, clock })
  const deniedHosts = createDeniedHosts({ database, clock })
  const revocations = createRevocations({ sql: database, clock })
  const authority = stack.use(
    await openRevocationFeed({ database, clock, comparesClocks, log, onEffect: dependencies.onEffect }),
  )
  // For commands, which ask at once and end.
  await index.firstLook
  const epoch = stack.use(
    await openRestoreDetection({
      database,
      fga,
      authority,
      clock,
      log,
      isApart: config.openfga !== undefined,
      followed: index,
    }),
  )
  const proofSecret = await loadSecret(keysDir, 'dpop.key')
  const proofs = createProofs({ sql: database, clock, secret: proofSecret })
  const verifier = createCachedVerifier({
    authority,
    clock,
    newTxn,
    proofs,
    judge: createTokenJudge({
      issuers: [
        ownIssuer({ publicUrl: config.publicUrl, keys: keys.find }),
        ...config.trustedIssuers.map((issuer) =>
          externalIssuer(issuer, { fetch: dependencies.fetch, elapsed }),
        ),
      ],
      lookUp: createRegistryLookup({ sql: database, authority }),
      clock,
      demo: config.demo,
      newTxn,
    }),
  })
  const owned = stack.move()
  return {
    keys,
    people: createPeople({ sql: database }),
    agents,
    agentAdministration,
    clients: createClients({ sql: database }),
    deniedHosts,
    persons,
    administrators,
    delegations,
    accountLinks: createAccountLinks({ database, delegations, clock }),
    revocations,
    epoch,
    proofs,
    proofSecret,
    verifier,
    isHeard: () => authority.isHeard,
    areClocksApart: () => authority.areClocksApart,
    assertOpen: () => {
      authority.assertHeard()
      epoch.assertSound()
    },
    isOpen: () => authority.isHeard && epoch.isSound,
    routes: ({ requireBearer, keepsAgents, isReader }) => [
      agentRoutes({
        agents,
        administration: agentAdministration,
        ownIssuer: ownIssuerName(config.publicUrl),
        requireBearer,
        isAdministrator: keepsAgents,
        isReader,
        now,
      }),
      hostRoutes({ hosts: deniedHosts, requireBearer, isAdministrator: keepsAgents, now }),
    ],
    tasks: {
      delegations: () => delegations.mend(),
      revocations: () => revocations.sweep(),
      used_proofs: () => proofs.sweep(),
      authority: () => authority.sweep(),
    },
    [Symbol.asyncDispose]: () => owned.disposeAsync(),
  }
}
