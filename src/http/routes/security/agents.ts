import { z } from '@hono/zod-openapi'
import { allAgentsAnswer, hostsAnswer, oneAgentAnswer, registeredAgent } from '@remit/contract/agents'
import { text } from '@remit/contract/text'
import type { AgentAdministration } from '../../../delegation/administration/agent-administration.ts'
import type { DeniedHosts } from '../../../delegation/oauth/cimd/hosts.ts'
import type { Agent, Agents } from '../../../delegation/registry/agents.ts'
import { publicJwks } from '../../../delegation/registry/clients.ts'
import { AppError } from '../../../kernel/errors.ts'
import type { Principal } from '../../../kernel/principal.ts'
import { type App, createRouter, reply } from '../../env.ts'
import type { RequireBearer } from '../../middleware/bearer.ts'
import { jsonBody } from '../../middleware/json.ts'
import { bearerRoute, bodyOf, id, json, problems } from '../../schemas.ts'
import { assertAdministrator, type IsAdministrator } from '../writing.ts'

export interface AgentRouteDeps {
  readonly agents: Agents
  readonly administration: Pick<AgentAdministration, 'save' | 'disable'>
  /** `iss` of the built-in issuer. */
  readonly ownIssuer: string
  readonly requireBearer: RequireBearer
  /** Of the role `agents.write`. */
  readonly isAdministrator: IsAdministrator
  /** Of the role `security.read`: looks, and changes nothing. */
  readonly isReader: IsAdministrator
  readonly now: () => number
}

interface HostRouteDeps {
  readonly hosts: Pick<DeniedHosts, 'deny' | 'list'>
  readonly requireBearer: RequireBearer
  /** Of the role `agents.write`. */
  readonly isAdministrator: IsAdministrator
  readonly now: () => number
}

const params = z.strictObject({ host: z.string().max(253).openapi({ example: 'assistant.example' }) })

const disabled = z
  .strictObject({ host: z.string(), agents: z.array(z.string()), txn: z.string() })
  .openapi('HostDisabled')

const list = hostsAnswer.clone().openapi('HostList')

const bodyBytesMax = 64 * 1024

const scope = text(1, 100)
const jwks = publicJwks.describe('Public keys (RFC 7517) that verify its actor tokens')

const input = z
  .strictObject({
    id,
    owner: text(1, 300).openapi({ description: 'Who answers for it', example: 'user:anne' }),
    title: text(1, 200),
    purpose: text(1, 500).openapi({ description: 'What it is for, as people are told' }),
    scopes: z.array(scope).max(50).openapi({ description: 'Its tokens hold no other' }),
    collections: z
      .array(id)
      .max(100)
      .nullable()
      .openapi({ description: 'It reads nothing filed elsewhere; null: wherever people lend it something' }),
    actor: z
      .strictObject({ issuer: text(1, 1_024), sub: text(1, 1_024) })
      .optional()
      .openapi({ description: 'How `act` names it; left out: our own issuer, by its id' }),
    jwks: jwks.optional(),
    ends_lent: z.boolean().default(false).openapi({
      description:
        'What people lent it may end: needed where another program could act as it, or it would reach further (new actor, keys, scopes or collections)',
    }),
  })
  .openapi('AgentInput')

const agentSchema = registeredAgent.extend({ jwks: jwks.optional() }).openapi('Agent')
const agentAnswer = oneAgentAnswer.extend({ agent: agentSchema }).openapi('AgentAnswer')
const agentList = allAgentsAnswer.extend({ agents: z.array(agentSchema) }).openapi('AgentList')

/**
 * `POST /agents`, `GET /agents`, `GET /agents/{id}`, `POST /agents/{id}/disable`: for a person who is an
 * administrator with `agents.write` and signed in within 15 minutes, never for an agent; looking also with
 * `security.read`. No route enables: `remit agent enable`.
 */
export function agentRoutes(dependencies: AgentRouteDeps): App {
  const { agents, administration, ownIssuer, requireBearer, isAdministrator, isReader, now } = dependencies
  const administrator = requireBearer({ kinds: ['person'], scopes: ['agents.write'] })
  const viewer = requireBearer({ kinds: ['person'], scopes: [], anyOf: ['agents.write', 'security.read'] })
  const assertViewer = (principal: Principal): Promise<void> => {
    const { scopes } = principal
    const mayLook: IsAdministrator = async (subject) =>
      (scopes.has('agents.write') && (await isAdministrator(subject))) ||
      (scopes.has('security.read') && (await isReader(subject)))
    return assertAdministrator(principal, mayLook, now())
  }
  const params = z.strictObject({ id })
  const saveRoute = bearerRoute('post', '/agents', {
    summary: 'Register an agent, or give it exactly these properties; never enables a disabled one',
    middleware: [administrator, ...jsonBody(bodyBytesMax)],
    request: { body: bodyOf(input) },
    responses: {
      200: json('It was there already: replaced, and as it is now', agentAnswer),
      201: json('Registered', agentAnswer),
      ...problems(409),
    },
  })
  const listRoute = bearerRoute('get', '/agents', {
    summary: 'Every registered agent',
    middleware: [viewer],
    responses: { 200: json('By id', agentList), ...problems() },
  })
  const showRoute = bearerRoute('get', '/agents/{id}', {
    summary: 'One registered agent',
    middleware: [viewer],
    request: { params },
    responses: { 200: json('The agent', agentAnswer), ...problems(404) },
  })
  const disableRoute = bearerRoute('post', '/agents/{id}/disable', {
    summary: 'The kill switch: no token in whose chain it stands counts from now on',
    middleware: [administrator],
    request: { params },
    responses: { 200: json('Disabled', agentAnswer), ...problems(404) },
  })

  return createRouter()
    .openapi(saveRoute, async (c) => {
      await assertAdministrator(c.get('principal'), isAdministrator, now())
      const body = c.req.valid('json')
      const { agent, isNew } = await administration.save(
        { ...c.get('principal'), over: c.get('over') },
        {
          id: body.id,
          owner: body.owner,
          title: body.title,
          purpose: body.purpose,
          issuer: body.actor?.issuer ?? ownIssuer,
          sub: body.actor?.sub ?? body.id,
          limits: { scopes: body.scopes, collections: body.collections ?? undefined },
          jwks: body.jwks ?? null,
        },
        { lent: body.ends_lent ? 'end' : undefined },
      )
      return c.json({ agent: toWire(agent), txn: c.get('txn') }, isNew ? 201 : 200)
    })
    .openapi(listRoute, async (c) => {
      await assertViewer(c.get('principal'))
      return reply(c, { agents: (await agents.list()).map(toWire) })
    })
    .openapi(showRoute, async (c) => {
      await assertViewer(c.get('principal'))
      const agent = await agents.get(c.req.valid('param').id)
      // To whoever may look at all of them.
      if (agent === undefined) throw new AppError('not_found', { public: 'There is no such agent.' })
      return reply(c, { agent: toWire(agent) })
    })
    .openapi(disableRoute, async (c) => {
      await assertAdministrator(c.get('principal'), isAdministrator, now())
      const agent = await administration.disable(c.get('principal'), c.req.valid('param').id)
      return reply(c, { agent: toWire(agent) })
    })
}

const toWire = (agent: Agent): z.output<typeof agentSchema> => ({
  id: agent.id,
  owner: agent.owner,
  title: agent.title,
  purpose: agent.purpose,
  scopes: agent.limits.scopes === undefined ? null : [...agent.limits.scopes],
  collections: agent.limits.collections === undefined ? null : [...agent.limits.collections],
  actor: { issuer: agent.issuer, sub: agent.sub },
  ...(agent.jwks !== undefined && { jwks: { keys: [...agent.jwks.keys] } }),
  state: agent.disabledAt === undefined ? 'enabled' : 'disabled',
  ...(agent.disabledAt !== undefined && { disabled_at: agent.disabledAt.toISOString() }),
})

/**
 * `POST /hosts/{host}/disable`, `GET /hosts`: whose programs may not come, for a person who is an
 * administrator with `agents.write` and signed in within 15 minutes. No route enables: `remit host enable`.
 */
export function hostRoutes({ hosts, requireBearer, isAdministrator, now }: HostRouteDeps): App {
  const administrator = requireBearer({ kinds: ['person'], scopes: ['agents.write'] })
  const disableRoute = bearerRoute('post', '/hosts/{host}/disable', {
    summary:
      'The kill switch for clients that nobody registered: none of this host, or a name below it, comes any more',
    middleware: [administrator],
    request: { params },
    responses: { 200: json('Disabled, with every agent that came from it', disabled), ...problems() },
  })
  const listRoute = bearerRoute('get', '/hosts', {
    summary: 'Hosts that are disabled',
    middleware: [administrator],
    responses: { 200: json('By name', list), ...problems() },
  })
  return createRouter()
    .openapi(disableRoute, async (c) => {
      await assertAdministrator(c.get('principal'), isAdministrator, now())
      const { host, agents } = await hosts.deny(c.get('principal'), c.req.valid('param').host)
      return reply(c, { host, agents: [...agents] })
    })
    .openapi(listRoute, async (c) => {
      await assertAdministrator(c.get('principal'), isAdministrator, now())
      const found = (await hosts.list()).map(({ host, since: disabledSince }) => ({
        host,
        since: disabledSince.toISOString(),
      }))
      return reply(c, { hosts: found })
    })
}
