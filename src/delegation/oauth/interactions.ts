import type { IncomingMessage, ServerResponse } from 'node:http'
import type { Provider } from 'oidc-provider'
import { AppError, invalid } from '../../kernel/errors.ts'
import type { FgaObject } from '../../kernel/ids.ts'
import type { Runtime } from '../../store/runtime.ts'
import { isRole } from '../administration/administrators.ts'
import { limitsAllow } from '../lending/collection-limits.ts'
import type { Delegations } from '../lending/delegations.ts'
import type { Lendable } from '../lending/lendable.ts'
import type { ExternalAccount } from '../people/links.ts'
import type { Proof } from '../people/sign-in-validity.ts'
import { atPages, type SignedIn, type SignIns } from '../people/sign-ins.ts'
import { type Agent, type Agents, changedSinceShown, digestOfAgent, shownAgents } from '../registry/agents.ts'
import type { Client, Clients, Registration } from '../registry/clients.ts'
import { canonicalJson, type Details, detailsOf, type ForeignDetail } from '../registry/details.ts'
import { agentIdOf, isOurs, type Resources } from '../registry/resources.ts'
import { isMetadataClient } from './cimd/metadata-clients.ts'
import type { Consents } from './consents.ts'
import { ofFlow } from './cookies.ts'
import { grantSecondsMax } from './provider.ts'
import { basisIn } from './session-basis.ts'

/** What the authorization server waits for a person to do. */
export type PendingInteraction = SignInPending | ConsentPending

interface Asking {
  readonly uid: string
  readonly client: Client & Registration
  /** Where the browser goes afterwards; undefined in the device flow. */
  readonly redirectUri: string | undefined
  /** Proves that an answer came from our page for this request. */
  readonly csrf: string
}

interface SignInPending extends Asking {
  readonly prompt: 'login'
}

/** A consent that a person is asked for, with what they can lend for it. */
export interface ConsentPending extends Asking {
  readonly prompt: 'consent'
  /** Account key of who is signed in. */
  readonly person: string
  readonly signedInAt: Date
  /** How they proved who they are (RFC 8176). */
  readonly amr: readonly string[]
  /** Who they are at the trusted issuer through which they signed in. */
  readonly upstream: ExternalAccount | undefined
  /** What they showed here when they signed in. */
  readonly proof: Proof | undefined
  readonly resource: string
  readonly scopes: readonly string[]
  /** Asked for, and nothing that this person could give: an administrator's, without the role. */
  readonly withheld: readonly string[]
  readonly oidcScopes: readonly string[]
  /** Nobody registered it: it is known by a document at its own address. */
  readonly isStranger: boolean
  /** Present for an agent's client. */
  readonly agent: Agent | undefined
  /** To whom a program of the person's own hands the token: it opens nothing but that agent's exchange. */
  readonly addressee: Agent | undefined
  /** The API is one of Remit's own: otherwise nothing here is lent, only what it may do there. */
  readonly isOurs: boolean
  /** Whether a yes takes the person in front of their device: something is done in their name elsewhere. */
  readonly takesVerification: boolean
  /** What exactly it may do at another's API, as it would be granted. */
  readonly details: readonly ForeignDetail[]
  /**
   * What this person can lend of what was asked for. Empty for a person's own client, and for another's API.
   */
  readonly lendable: readonly Lendable[]
  /** Whether the request named collections: then the token is narrowed to those that are chosen. */
  readonly isNarrowed: boolean
  /** Agents to which it asks to pass things on. */
  readonly subAgents: readonly Agent[]
  /** Of all that the page shows: a yes comes with it, and is none where it is another by then. */
  readonly shown: string
}

/** What a person chose on the page of consent. */
export interface Choice {
  /** `shown` of the page that they looked at. */
  readonly shown: string
  readonly objects: readonly string[]
  readonly subAgents: readonly string[]
  readonly seconds: number
  /**
   * How they were verified in front of this browser in the last 5 minutes (RFC 8176); left out: they were
   * not.
   */
  readonly verifiedBy?: readonly string[]
}

/** What a browser in the middle of an authorization request is shown next, and what its answer does. */
export interface Interactions {
  /** Undefined where this browser has no such request open: it is over, or somebody else's. */
  find(
    request: IncomingMessage,
    response: ServerResponse,
    uid: string,
  ): Promise<PendingInteraction | undefined>
  /** Each of these answers with where the browser goes next. */
  signedIn(
    request: IncomingMessage,
    response: ServerResponse,
    signedIn: SignedIn,
    txn: string,
  ): Promise<string>
  consent(
    request: IncomingMessage,
    response: ServerResponse,
    pending: ConsentPending,
    choice: Choice,
    txn: string,
  ): Promise<string>
  refuse(
    request: IncomingMessage,
    response: ServerResponse,
    pending: PendingInteraction,
    txn: string,
  ): Promise<string>
}

export interface InteractionsDeps extends Pick<Runtime, 'seal' | 'clock' | 'publicUrl'> {
  readonly provider: () => Provider
  readonly clients: Clients
  readonly agents: Agents
  readonly delegations: Delegations
  readonly grants: Consents
  readonly signIns: SignIns
  readonly resources: Resources
  /** An administrator's roles of this person, each a scope. */
  readonly rolesOf: (person: string) => Promise<readonly string[]>
  /** Writes down a client that nobody registered, when the first person lets it in. */
  readonly introduce: (client: Client & Registration, person: string) => Promise<void>
  /** What this person may lend at all. */
  readonly lendable: (person: string) => Promise<readonly Lendable[]>
}

/** The library's interactions in our words. */
export function createInteractions(deps: InteractionsDeps): Interactions {
  const { provider, clients, seal, signIns } = deps
  return {
    async find(request, response, uid) {
      ofFlow(request, uid)
      const details = await provider()
        .interactionDetails(request, response)
        .catch(() => undefined)
      if (details === undefined || details.uid !== uid) return undefined
      const client = await clients.registered(String(details.params['client_id']))
      if (client === undefined) return undefined
      const redirectUri = details.params['redirect_uri']
      const asking: Asking = {
        uid,
        client,
        redirectUri: typeof redirectUri === 'string' ? redirectUri : undefined,
        csrf: seal.hash('interaction csrf', `${uid} ${details.prompt.name}`),
      }
      if (details.prompt.name === 'login') return { ...asking, prompt: 'login' }
      return consentPending(asking, details, deps)
    },
    async signedIn(request, response, signedIn, txn) {
      await assertAdmitted(signIns, signedIn, txn)
      await signIns.atAuthorizationServer(signedIn, txn)
      const { person, amr, upstream, proof } = signedIn
      // What ends while the library is at it is seen by whatever is asked with its session.
      const acr = basisIn.write({ upstream, proof })
      const login = { accountId: person, amr: [...amr], ...(acr && { acr }), remember: false }
      return provider().interactionResult(request, response, { login }, { mergeWithLastSubmission: false })
    },
    async refuse(request, response, pending, txn) {
      // Before anybody has signed in nobody has refused.
      if (pending.prompt === 'consent')
        await signIns.consentRefused({ person: pending.person, client: pending.client.clientId }, txn)
      return provider().interactionResult(
        request,
        response,
        { error: 'access_denied', error_description: 'The person refused.' },
        { mergeWithLastSubmission: false },
      )
    },
    async consent(request, response, pending, choice, txn) {
      const grantId = await grantFor(pending, choice, deps, txn)
      return provider().interactionResult(request, response, { consent: { grantId } })
    },
  }
}

/** The agent of a stranger, written down: all that the page showed of it, with who answers for it now. */
async function introduced({ client, agent, person }: ConsentPending, deps: InteractionsDeps) {
  await deps.introduce(client, person)
  const row = agent && (await deps.agents.get(agent.id))
  if (row && digestOfAgent({ ...row, owner: agent.owner }) !== digestOfAgent(agent)) throw changedSinceShown()
  return row
}

type Interaction = Awaited<ReturnType<Provider['interactionDetails']>>

async function consentPending(
  asking: Asking,
  details: Interaction,
  deps: InteractionsDeps,
): Promise<ConsentPending | undefined> {
  const person = details.session?.accountId
  const session =
    details.session?.uid && (await deps.provider().Session.findByUid(String(details.session.uid)))
  const signedInAt = session ? session.loginTs : undefined
  if (person === undefined || signedInAt === undefined) return undefined
  const { upstream, proof } = basisIn.read(session ? session.acr : undefined)
  const signedInTime = new Date(signedInAt * 1_000)
  // Revoked since, or signed in by what is over since: nothing more is lent in their name.
  if (!(await deps.signIns.stillCounts({ person, upstream, proof, at: signedInTime }))) return undefined
  const { missingResourceScopes = {}, missingOIDCScope = [] } = details.prompt.details as {
    readonly missingResourceScopes?: Readonly<Record<string, readonly string[]>>
    readonly missingOIDCScope?: readonly string[]
  }
  const [missing, ...otherResources] = Object.entries(missingResourceScopes)
  // A token is for one API: a request that names several, or nothing of one, is not shown at all.
  if (missing === undefined || otherResources.length > 0) return undefined
  const { client } = asking
  const agent = client.kind === 'agent' ? await deps.agents.get(client.agent) : undefined
  // As a person's own program it would get all that the person may.
  if (client.kind === 'agent' && agent === undefined) return undefined
  const grantable = missing[0] === deps.publicUrl ? await deps.rolesOf(person) : missing[1]
  const withheld = missing[1].filter((scope) => isRole(scope) && !grantable.includes(scope))
  const detailsParam = details.params['authorization_details']
  // The library has validated each. Together they may be nothing that can be shown.
  const asksFor = detailsOf(typeof detailsParam === 'string' ? JSON.parse(detailsParam) : undefined)
  if (!asksFor.ok) return undefined
  const { others: foreignDetails } = asksFor.value
  const narrowed = narrowedTo(asksFor.value)
  const handedTo = agent === undefined ? agentIdOf(missing[0], deps.publicUrl) : undefined
  // Every API at which something may be done: what an agent is handed names those that it carries it on to.
  const apis = [missing[0], ...foreignDetails.flatMap(({ locations = [] }) => locations)]
  const ours = isOurs(missing[0], deps.publicUrl)
  const subAgents =
    agent === undefined || isMetadataClient(client)
      ? []
      : await knownAgents(details.params['sub_agents'], agent, deps)
  const pending = {
    ...asking,
    prompt: 'consent' as const,
    person,
    signedInAt: signedInTime,
    amr: (session ? session.amr : undefined) ?? [],
    upstream,
    proof,
    resource: missing[0],
    scopes: missing[1].filter((scope) => !withheld.includes(scope)),
    withheld,
    oidcScopes: missingOIDCScope,
    isStranger: isMetadataClient(client),
    agent,
    addressee: handedTo === undefined ? undefined : await deps.agents.get(handedTo),
    isOurs: ours,
    takesVerification: await takesVerification(apis, deps),
    details: foreignDetails,
    lendable: agent === undefined || !ours ? [] : lendableOf(await deps.lendable(person), narrowed, agent),
    isNarrowed: narrowed !== undefined,
    subAgents,
  }
  return { ...pending, shown: deps.seal.hash('consent shown', canonicalJson(shownOf(pending))) }
}

/** All but what is the session's own, and what may be lent: what is chosen of that is looked at anew. */
function shownOf(pending: Omit<ConsentPending, 'shown'>): object {
  const { client, redirectUri, agent, addressee, subAgents, details } = pending
  const { resource, scopes, withheld, oidcScopes, takesVerification, isNarrowed } = pending
  return {
    client,
    redirectUri: redirectUri ?? null,
    agents: [agent, addressee].map((one) => (one === undefined ? null : digestOfAgent(one))),
    subAgents: subAgents.map(digestOfAgent),
    access: { details, resource, scopes, withheld, oidcScopes, takesVerification, isNarrowed },
  }
}

async function takesVerification(
  apis: readonly string[],
  { resources, publicUrl }: Pick<InteractionsDeps, 'resources' | 'publicUrl'>,
): Promise<boolean> {
  const foreign = apis.filter((api) => !isOurs(api, publicUrl))
  const foreignDetails = await Promise.all(foreign.map((api) => resources.get(api)))
  return foreignDetails.some((resource) => resource?.takesVerification ?? true)
}

function narrowedTo({ documents }: Details): ReadonlySet<string> | undefined {
  const [narrowing] = documents
  return narrowing && new Set(narrowing.collections.map((id) => `collection:${id}`))
}

const lendableOf = (
  lendables: readonly Lendable[],
  narrowed: ReadonlySet<string> | undefined,
  { limits }: Agent,
) => lendables.filter(({ object }) => limitsAllow(limits, object) && (narrowed?.has(object) ?? true))

async function knownAgents(param: unknown, agent: Agent, { agents }: InteractionsDeps): Promise<Agent[]> {
  const ids = typeof param === 'string' ? [...new Set(param.split(' '))] : []
  const found = await Promise.all(ids.slice(0, 10).map((id) => agents.get(id)))
  return found.flatMap((lendable) =>
    lendable === undefined || lendable.disabledAt !== undefined || lendable.id === agent.id ? [] : [lendable],
  )
}

/**
 * Lends first: a grant without its delegation gives no token, a delegation without its grant nothing to
 * anybody.
 */
async function grantFor(
  pending: ConsentPending,
  choice: Choice,
  deps: InteractionsDeps,
  txn: string,
): Promise<string> {
  const { provider, grants, clock, seal, delegations } = deps
  const { client, person, agent, signedInAt, upstream, proof } = pending
  if (choice.shown !== pending.shown) throw changedSinceShown()
  const amr = amrOf(pending, choice)
  await assertAdmitted(
    deps.signIns,
    { person, amr, ...(upstream && { upstream }), ...(proof && { proof }) },
    txn,
  )
  const seconds = checkedSeconds(choice.seconds)
  const expiresAt = new Date(clock.now() + seconds * 1_000)
  const objects = chosen(pending, choice)
  const subAgents = pending.subAgents.filter(({ id }) => choice.subAgents.includes(id))
  const lender = pending.isStranger ? await introduced(pending, deps) : agent
  const delegation =
    agent === undefined
      ? undefined
      : await delegations.lend(
          {
            // The same request answered twice lends once.
            id: `d_${seal.hash('delegation of', pending.uid)}`,
            subject: `user:${person}`,
            agent: agent.id,
            scope: objects,
            ...(!pending.isOurs && { resource: pending.resource, details: pending.details }),
            subAgents: subAgents.map(({ id }) => id),
            shownAgents: shownAgents([lender ?? agent, ...subAgents]),
            purpose: agent.purpose,
            expiresAt,
          },
          atPages(person, txn),
        )
  const { Grant } = provider()
  const grant = new Grant({ accountId: person, clientId: client.clientId, expiresIn: seconds } as never)
  if (pending.scopes.length > 0) grant.addResourceScope(pending.resource, pending.scopes.join(' '))
  if (pending.withheld.length > 0) grant.rejectResourceScope(pending.resource, pending.withheld.join(' '))
  if (pending.oidcScopes.length > 0) grant.addOIDCScope(pending.oidcScopes.join(' '))
  if (pending.isNarrowed)
    grant.addRar({
      type: 'document_access',
      collections: objects.map((object) => object.slice('collection:'.length)),
    })
  for (const detail of pending.details) grant.addRar({ ...detail })
  const grantId = await grant.save()
  const { clientId } = client
  const consent = {
    grantId,
    clientId,
    subject: person,
    delegation: delegation?.id,
    signedInAt,
    amr,
    upstream,
    proof,
  }
  try {
    await grants.save(
      { ...consent, expiresAt },
      { resource: pending.resource, scope: pending.scopes.join(' '), txn },
    )
  } catch (error) {
    // What was lent in a name that counts no more must not stand without its consent.
    if (delegation !== undefined) await delegations.revoke(delegation.id, atPages(person, txn))
    throw error
  }
  return grantId
}

/** Of what is done elsewhere, the API is told that they were verified. */
function amrOf({ takesVerification, amr }: ConsentPending, { verifiedBy }: Choice): readonly string[] {
  if (!takesVerification) return amr
  if (verifiedBy === undefined)
    throw new AppError('insufficient_user_authentication', {
      public: 'First show that it is you who sits there.',
    })
  return [...new Set([...amr, ...verifiedBy])]
}

/** Also here: somebody may be shut out between two pages. */
async function assertAdmitted(signIns: SignIns, signedIn: SignedIn, txn: string): Promise<void> {
  if (await signIns.isBarred(signedIn, txn)) throw new AppError('forbidden')
}

function chosen({ agent, lendable, isOurs }: ConsentPending, { objects }: Choice): FgaObject[] {
  if (agent === undefined || !isOurs) return []
  const wantedObjects = new Set(objects)
  const found = lendable.map(({ object }) => object).filter((object) => wantedObjects.has(object))
  if (found.length === 0 || found.length < wantedObjects.size)
    throw invalid('objects', 'Choose at least one of the things that are offered.')
  return found
}

function checkedSeconds(seconds: number): number {
  if (!Number.isInteger(seconds) || seconds < 60 || seconds > grantSecondsMax)
    throw invalid('seconds', 'The end is out of range.')
  return seconds
}
