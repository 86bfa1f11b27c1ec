import { randomBytes } from 'node:crypto'
import { z } from 'zod'
import { operator, record } from '../audit/record.ts'
import type { Erased } from '../audit/seal/erase.ts'
import { type ExportedHead, parseHeads } from '../audit/seal/heads.ts'
import type { Verified } from '../audit/seal/verify.ts'
import { readThread } from '../audit/thread.ts'
import type { Fga } from '../authz/fga.ts'
import { type Administrators, roles } from '../delegation/administrators.ts'
import type { Agents } from '../delegation/agents.ts'
import { type Client, type Clients, publicJwks, requestAlgorithms } from '../delegation/clients.ts'
import type { Delegations } from '../delegation/delegations.ts'
import type { DemoConsent } from '../delegation/issuer/demo-consent.ts'
import type { GrantLinks } from '../delegation/issuer/grants.ts'
import type { Resources } from '../delegation/issuer/resources.ts'
import type { Recovered } from '../delegation/recover.ts'
import { assertCollections, type Services } from '../delegation/services.ts'
import type { Passwords } from '../delegation/sign-in/passwords.ts'
import type { People } from '../delegation/sign-in/people.ts'
import type { Barring } from '../delegation/sign-in/sign-in-ends.ts'
import type { KeyRing } from '../delegation/signing-key.ts'
import type { VaultKeyring } from '../delegation/vault/rewrap.ts'
import { allCollections } from '../ingest/collection-list.ts'
import { AppError, invalid } from '../kernel/errors.ts'
import { isId } from '../kernel/ids.ts'
import type { Database } from '../store/sql.ts'

/** What the commands with machine rights work on. */
export interface AdminDeps {
  readonly database: Database
  readonly fga: Pick<Fga, 'read'>
  readonly services: Services
  readonly administrators: Administrators
  readonly people: People
  readonly passwords: Passwords
  readonly barring: Barring
  readonly clients: Clients
  readonly agents: Agents
  readonly delegations: Delegations
  readonly resources: Resources
  readonly grants: Pick<GrantLinks, 'endOf'>
  readonly keys: KeyRing
  readonly vault: { readonly keyring: VaultKeyring }
  /** `iss` of the built-in issuer, by which registered agents of ours are known. */
  readonly ownIssuer: string
  /** Left out: not the demo, and no command speaks for a person. */
  readonly demoConsent?: DemoConsent | undefined
  /** Address of the service. */
  readonly publicUrl: string
  readonly saveCollection: (collection: NewCollection) => Promise<void>
  /** Compares tags with OpenFGA now, mends, and says what it found. */
  readonly drift: () => Promise<object>
  /** Whether the database is older than OpenFGA, or a recovery has not ended. */
  readonly mayHaveForgotten: () => Promise<boolean>
  readonly recover: (txn: string) => Promise<Recovered>
  readonly record: Keeping
  readonly newTxn: () => string
}

export interface NewCollection {
  readonly id: string
  readonly title: string
  readonly organization?: string
  readonly publicAllowed: boolean
}

/** What commands need of the record's keeping. */
interface Keeping {
  readonly verify: (heads: readonly ExportedHead[], resumes: boolean) => Promise<Verified>
  readonly heads: (after: number, limit: number) => Promise<readonly ExportedHead[]>
  readonly erase: (subject: string) => Promise<Erased>
}

/** Checks the arguments and says what would run; the arguments are what goes on record. */
type Command = (args: unknown) => {
  readonly checked: object
  readonly run: (deps: AdminDeps) => Promise<object>
}

const id = z.string().refine(isId, {
  error: ({ path = [], input }) => `${path.join('.')}: ${JSON.stringify(input)} is not an id`,
})
/** Of a local account, or `namespace/key` of somebody at a trusted issuer. */
const personKey = z.string().refine(isId, 'is not an account key')
const optional = <T extends z.ZodType>(schema: T) => z.exactOptional(schema)

/** Every command that the machine's operator has, by name. Arguments and answers are JSON. */
const commands = {
  demo: command(z.strictObject({}), async (_, { demoConsent, publicUrl }) => {
    assertDemo(demoConsent)
    return { url: publicUrl }
  }),
  demo_confirm: command(
    z.strictObject({ code: z.string().max(40), user: z.string() }),
    async ({ code, user }, { demoConsent }) => {
      await assertDemo(demoConsent).confirm(code, user)
      return { user }
    },
  ),
  writer: command(
    z.strictObject({ service: optional(z.string()), collection: optional(z.string()) }),
    async (wanted, { demoConsent, services }) => {
      assertDemo(demoConsent)
      return { service: wanted.service ?? (await theWriter(services, wanted.collection)) }
    },
  ),
  collection_add: command(
    z.strictObject({
      id,
      // Left out: as it is.
      title: optional(z.string().min(1).max(1_000)),
      organization: optional(id),
      public_allowed: optional(z.boolean()),
    }),
    async (wanted, { database, fga, saveCollection }) => {
      const known = (await allCollections(database)).find((one) => one.id === wanted.id)
      const title = wanted.title ?? known?.title
      if (title === undefined) throw invalid('title', 'A new collection needs a --title.')
      const { organization } = wanted
      await saveCollection({
        id: wanted.id,
        title,
        publicAllowed: wanted.public_allowed ?? known?.publicAllowed ?? false,
        ...(organization !== undefined && { organization }),
      })
      return {
        collection: wanted.id,
        ...(organization !== undefined && { organization_known: await isNamed(fga, organization) }),
      }
    },
  ),
  collection_list: command(z.strictObject({}), async (_, { database }) => ({
    collections: (await allCollections(database)).map(({ id: collection, title, publicAllowed }) => ({
      collection,
      title,
      public_allowed: publicAllowed,
    })),
  })),
  service_list: command(z.strictObject({}), async (_, { services }) => ({
    services: (await services.list()).map(({ name: service, ...rest }) => ({ service, ...rest })),
  })),
  client_list: command(z.strictObject({}), async (_, { clients }) => ({
    clients: (await clients.list()).map(
      ({ clientId, kind, of, title, redirectUris, keys, notificationEndpoint, requestAlgorithm }) => ({
        client: clientId,
        kind,
        of,
        title,
        redirect_uris: redirectUris,
        keys,
        ...(notificationEndpoint !== null && { notification_endpoint: notificationEndpoint }),
        ...(requestAlgorithm !== null && { request_algorithm: requestAlgorithm }),
      }),
    ),
  })),
  service_add: command(
    z.strictObject({ name: id, collections: z.array(id), prefixes: z.array(z.string().min(1)).default([]) }),
    async (service, { services }) => {
      await services.save(service)
      return { service: service.name }
    },
  ),
  admin_add: command(
    z.strictObject({
      subject: z.string().regex(/^user:./, 'must be user:SUBJECT, such as user:anne'),
      roles: z.array(z.enum(roles)).min(1),
    }),
    async ({ subject, roles: added }, { administrators }) => ({
      subject,
      roles: await administrators.add(subject, added),
    }),
  ),
  admin_list: command(z.strictObject({}), async (_, { administrators }) => ({
    administrators: (await administrators.list()).map(({ subject, roles: held }) => ({
      administrator: subject,
      roles: held,
    })),
  })),
  admin_remove: command(
    z.strictObject({ subject: z.string(), roles: optional(z.array(z.enum(roles)).min(1)) }),
    async ({ subject, roles: removed }, { administrators }) => {
      if ((await administrators.rolesOf(subject)).length === 0)
        throw invalid('subject', `${subject} is no administrator.`)
      return { subject, roles: await administrators.remove(subject, removed) }
    },
  ),
  service_remove: command(z.strictObject({ name: id }), async ({ name }, { services }) => {
    if (!(await services.remove(name))) throw invalid('name', `There is no service ${name}.`)
    return { service: name }
  }),
  client_remove: command(
    z.strictObject({ client_id: id }),
    async ({ client_id: clientId }, { clients, grants, newTxn }) => {
      await clients.assertRemovable(clientId)
      const ended = await grants.endOf(clientId, newTxn())
      await clients.remove(clientId)
      return { client: clientId, consents_ended: ended }
    },
  ),
  person_add: command(
    z.strictObject({ key: z.string(), name: z.string().min(1).max(200) }),
    async (person, { people }) => {
      await people.save(person)
      return { person: person.key }
    },
  ),
  person_disable: command(
    z.strictObject({ key: personKey, unknown: z.boolean().default(false) }),
    async ({ key, unknown }, { people, barring }) => {
      // A mistyped key would bar nobody, and whoever was meant would go on.
      if (!unknown && !(await people.has(key)))
        throw invalid('key', `There is no account ${key}. To bar somebody who never signed in: --unknown`)
      await barring.bar(key)
      return { person: key }
    },
  ),
  person_enable: command(z.strictObject({ key: personKey }), async ({ key }, { barring }) => {
    if (!(await barring.admit(key))) throw invalid('key', `The person ${key} is not disabled.`)
    return { person: key }
  }),
  password: command(z.strictObject({ user: z.string() }), async ({ user }, { passwords }) => {
    const password = randomBytes(15).toString('base64url')
    await passwords.set(user, password)
    return { password }
  }),
  client_add: command(
    z.strictObject({
      client_id: id,
      kind: z.enum(['person', 'agent', 'service']),
      of: optional(id),
      title: z.string().min(1).max(200),
      redirect_uris: z.array(z.string().max(2_000)).max(20).default([]),
      jwks: optional(publicJwks),
      notification_endpoint: optional(z.string().max(2_000)),
      request_algorithm: optional(z.enum(requestAlgorithms)),
    }),
    async ({ client_id: clientId, kind, of, title, ...registration }, { clients }) => {
      const { redirect_uris: redirectUris, jwks, notification_endpoint: notificationEndpoint } = registration
      const { request_algorithm: requestAlgorithm } = registration
      await clients.register(clientOf(clientId, kind, of), {
        title,
        redirectUris,
        jwks,
        notificationEndpoint,
        requestAlgorithm,
      })
      return { client: clientId }
    },
  ),
  delegation_list: command(
    z.strictObject({ user: z.string().regex(/^user:./, 'must be user:SUBJECT, such as user:anne') }),
    async ({ user }, { delegations }) => ({
      delegations: (await delegations.listOf(user as `user:${string}`)).map(
        ({ id: delegation, agent, scope, resource, details, state, expiresAt }) => ({
          delegation,
          agent,
          scope,
          ...(resource !== undefined && { resource, authorization_details: details }),
          state,
          expires_at: expiresAt.toISOString(),
        }),
      ),
    }),
  ),
  delegation_revoke: command(z.strictObject({ id }), async ({ id: delegation }, { delegations }) => {
    if (!(await delegations.revoke(delegation)))
      throw invalid('id', `There is no live delegation ${delegation}.`)
    return { delegation }
  }),
  resource_add: command(
    z.strictObject({
      resource: z.string(),
      scopes: z.array(z.string()),
      authorization_details_types: z.array(z.string()).default([]),
      allowed_clients: optional(z.array(z.string())),
      owner_client: optional(z.string()),
    }),
    async (row, { resources }) => {
      await resources.save({
        resource: row.resource,
        scopes: row.scopes,
        authorizationDetailsTypes: row.authorization_details_types,
        ...(row.allowed_clients !== undefined && { allowedClients: row.allowed_clients }),
        ...(row.owner_client !== undefined && { ownerClient: row.owner_client }),
      })
      return { resource: row.resource }
    },
  ),
  resource_list: command(z.strictObject({}), async (_, { resources }) => ({
    resources: (await resources.list()).map(
      ({ resource, scopes, authorizationDetailsTypes, allowedClients, owner }) => ({
        resource,
        scopes,
        authorization_details_types: authorizationDetailsTypes,
        allowed_clients: allowedClients ?? null,
        owner_client: owner !== undefined && 'client' in owner ? owner.client : null,
      }),
    ),
  })),
  resource_remove: command(z.strictObject({ resource: z.string() }), async ({ resource }, { resources }) => {
    if (!(await resources.remove(resource))) throw invalid('resource', `There is no row of ${resource}.`)
    return { resource }
  }),
  agent_add: command(
    z.strictObject({
      id,
      owner: z.string(),
      title: optional(z.string()),
      purpose: z.string(),
      scopes: z.array(z.string()),
      // null: no limit. Never left out: saying nothing must not widen.
      collections: z.array(z.string()).nullable(),
      actor: optional(z.strictObject({ issuer: z.string(), sub: z.string() })),
      jwks: optional(publicJwks),
      host_clients: z.array(z.string()).max(20).default([]),
    }),
    async (
      { id: agent, title, scopes, collections, actor, jwks, host_clients: hostClients, ...rest },
      { agents, database, ownIssuer, people },
    ) => {
      await assertCollections(database, collections ?? [])
      const replaced = (await agents.get(agent)) !== undefined
      await agents.save({
        ...rest,
        id: agent,
        title: title ?? agent,
        issuer: actor?.issuer ?? ownIssuer,
        sub: actor?.sub ?? agent,
        limits: { scopes, collections: collections ?? undefined },
        jwks: jwks ?? null,
        hostClients,
      })
      return { agent, replaced, owner_known: await people.has(rest.owner.slice('user:'.length)) }
    },
  ),
  agent_list: command(z.strictObject({}), async (_, { agents }) => ({
    agents: (await agents.list()).map(({ id: agent, owner, title, purpose, limits, jwks, disabledAt }) => ({
      agent,
      owner,
      title,
      purpose,
      scopes: limits.scopes ?? null,
      collections: limits.collections ?? null,
      keys: jwks?.keys.length ?? 0,
      disabled_at: disabledAt?.toISOString() ?? null,
    })),
  })),
  agent_enable: command(
    z.strictObject({ id, keep_lent: z.boolean().default(false) }),
    async ({ id: agent, keep_lent: keepLent }, { agents, delegations }) => {
      const known = await agents.get(agent)
      if (known === undefined) throw invalid('id', `There is no agent ${agent}.`)
      // Before it may act again: whatever pulled the switch may still hold its tokens.
      const lent = keepLent || known.disabledAt === undefined ? [] : await delegations.listLive()
      const ended = lent.filter((one) => one.agent === agent)
      for (const one of ended) await delegations.revoke(one.id)
      await agents.enable(agent)
      return { agent, ended: ended.length }
    },
  ),
  agent_disable: command(z.strictObject({ id }), async ({ id: agent }, { agents }) => {
    if (!(await agents.disable(agent))) throw invalid('id', `There is no agent ${agent}.`)
    return { agent }
  }),
  keys_rotate: command(z.strictObject({}), async (_, { keys }) => ({ kid: (await keys.rotate()).kid })),
  vault_list: command(z.strictObject({}), async (_, { vault }) => ({
    accounts: await vault.keyring.counts(),
  })),
  vault_rewrap: command(z.strictObject({}), (_, { vault, newTxn }) =>
    vault.keyring.rewrap(operator(newTxn())),
  ),
  recover: command(
    z.strictObject({ anyway: z.boolean().default(false) }),
    async ({ anyway }, { mayHaveForgotten, recover, newTxn }) => {
      // It ends everybody's sessions and tokens.
      if (!anyway && !(await mayHaveForgotten()))
        throw new AppError('conflict', {
          public:
            'This database is not known to be older than OpenFGA. Recovering ends every session and token; if an older copy was put in place all the same, say --anyway.',
        })
      return recover(newTxn())
    },
  ),
  trace: command(z.strictObject({ txn: z.string().min(1).max(64) }), async ({ txn }, { database }) => ({
    steps: (await readThread(database, txn)).map(
      ({ at, event, subject, actors, trace, detail, ...rest }) => ({
        step: `${at.toISOString()} ${event}`,
        for: subject,
        by: actors,
        client: rest.client,
        delegation: rest.delegation ?? null,
        tool: rest.tool ?? null,
        trace: trace ?? null,
        ...detail,
      }),
    ),
  })),
  audit_verify: command(
    // A head holds everything before it: few of a file are enough, and they have to fit into a request.
    z.strictObject({
      heads: z.array(z.looseObject({})).max(100).default([]),
      resume: z.boolean().default(false),
    }),
    ({ heads, resume }, { record: keeping }) => keeping.verify(parseHeads(heads), resume),
    ({ heads, resume }) => ({ heads: heads.length, resume }),
  ),
  audit_heads: command(
    z.strictObject({ after: z.int().min(0).default(0), limit: z.int().min(1).max(10_000).default(10_000) }),
    async ({ after, limit }, { record: keeping }) => ({ heads: await keeping.heads(after, limit) }),
  ),
  audit_erase: command(
    z.strictObject({ subject: z.string().regex(/^user:[^*]/, 'must be user:SUBJECT, such as user:anne') }),
    ({ subject }, { record: keeping }) => keeping.erase(subject),
    // Whom it erases is what it must not keep.
    () => ({}),
  ),
  drift: command(z.strictObject({}), (_, { drift }) => drift()),
} as const satisfies Record<string, Command>

export type CommandName = keyof typeof commands

/**
 * Runs one command. It is put on record before it runs, so that nothing happens unrecorded; its answer, which
 * may be a token, never is. Throws `not_found` for no such command and `invalid_request` for wrong arguments.
 */
export async function runCommand(name: string, args: unknown, deps: AdminDeps): Promise<object> {
  if (!isCommand(name)) throw new AppError('not_found', { public: `There is no command ${name}.` })
  const { checked, run } = commands[name](args)
  await record(deps.database, operator(deps.newTxn()), {
    event: 'command',
    command: name,
    arguments: { ...checked },
  })
  return run(deps)
}

/** Whether OpenFGA holds anything about an organization. */
async function isNamed(fga: Pick<Fga, 'read'>, organization: string): Promise<boolean> {
  for await (const _ of fga.read({ object: `organization:${organization}` })) return true
  return false
}

const isCommand = (name: string): name is CommandName => Object.hasOwn(commands, name)

function command<Args extends object>(
  schema: z.ZodType<Args>,
  run: (args: Args, deps: AdminDeps) => Promise<object>,
  /** What goes on record, where that is not all. */
  recorded: (args: Args) => object = (args) => args,
): Command {
  return (args) => {
    const parsed = schema.safeParse(args)
    if (parsed.success) return { checked: recorded(parsed.data), run: (deps) => run(parsed.data, deps) }
    const [issue] = parsed.error.issues
    throw invalid(issue?.path.join('.') ?? '', issue?.message ?? 'The arguments do not fit.')
  }
}

/** `of`: the agent or the service that the client is. */
function clientOf(clientId: string, kind: Client['kind'], of: string | undefined): Client {
  if (kind === 'person') return { clientId, kind }
  if (of === undefined) throw invalid('of', `Name the ${kind} that the client is.`)
  return kind === 'agent' ? { clientId, kind, agent: of } : { clientId, kind, service: of }
}

function assertDemo(consent: DemoConsent | undefined): DemoConsent {
  if (consent !== undefined) return consent
  throw new AppError('forbidden', {
    public:
      'Tokens are given out like this in the demo only. Elsewhere sign in (remit login), exchange, or ask an issuer of TRUSTED_ISSUERS.',
  })
}

/** The service that writes to a collection, or the only one there is; never one of several. */
async function theWriter(services: Services, collection: string | undefined): Promise<string> {
  const able = (await services.list()).filter(
    ({ collections }) => collection === undefined || collections.includes(collection),
  )
  const [only, ...others] = able.map(({ name }) => name)
  const where = collection === undefined ? '' : ` that writes to ${collection}`
  if (only === undefined)
    throw invalid('service', `There is no service${where}. Add one: remit service add NAME --collection X.`)
  if (others.length > 0)
    throw invalid(
      'service',
      `Several services fit: ${[only, ...others].join(', ')}. Name one with --service.`,
    )
  return only
}
