import { createRoute, z } from '@hono/zod-openapi'
import { isId } from '@remit/contract/id'
import { instant } from '@remit/contract/instant'
import { text } from '@remit/contract/text'
import type { MiddlewareHandler } from 'hono'
import type { OwnProgram, OwnPrograms } from '../../../delegation/administration/own-programs.ts'
import type { Lendables } from '../../../delegation/lending/lendable.ts'
import type { Lender, OwnDelegation, OwnDelegations } from '../../../delegation/lending/own-delegations.ts'
import type { Agents } from '../../../delegation/registry/agents.ts'
import { AppError } from '../../../kernel/errors.ts'
import { type FgaObject, splitObject } from '../../../kernel/ids.ts'
import { type App, type AppContext, type AppEnv, createRouter } from '../../env.ts'
import { jsonBody } from '../../middleware/json.ts'
import { createLimits } from '../../middleware/limits.ts'
import { isRecent, type RequireSession, toSignIn, wantsPage } from '../../middleware/session.ts'
import { type Done, delegationsPage, type Tried } from '../../pages/delegations.ts'
import { pageHeaders } from '../../pages/layout.ts'
import { id, problems, session } from '../../schemas.ts'
import { lendFormOf, wishOf } from './delegations-form.ts'
import type { SavedForm } from './saved-form.ts'

export interface DelegationRoutesDeps {
  readonly delegations: OwnDelegations
  readonly programs: OwnPrograms
  readonly lendables: Pick<Lendables, 'offered'>
  readonly agents: Pick<Agents, 'list'>
  readonly requireSession: RequireSession
  readonly savedForm: SavedForm
  /** A delegation's id, by what makes its form the only one. */
  readonly idOf: (value: string) => string
  readonly randomBytes: (size: number) => Buffer
  /** Requests of one person. */
  readonly perMinute: number
  readonly now: () => number
}

const bodyBytesMax = 64 * 1024

const isLendable = (value: string): boolean => {
  const { type, id } = splitObject(value)
  return ['organization', 'collection', 'folder', 'document'].includes(type) && isId(id)
}
const agent = z.string().refine(isId, 'must be an agent’s id')

const input = z
  .strictObject({
    agent,
    scope: z
      .array(
        z.string().refine(isLendable, 'must be organization:ID, collection:ID, folder:ID or document:ID'),
      )
      .min(1)
      .max(80),
    sub_agents: z.array(agent).max(10).default([]),
    expires_at: instant,
    purpose: text(1, 500),
    standing: z.boolean().default(false),
  })
  .openapi('DelegationInput')

const output = z
  .strictObject({
    id: z.string(),
    agent: z.string(),
    sub_agents: z.array(z.string()),
    scope: z.array(
      z.strictObject({
        object: z.string(),
        title: z.string().optional().openapi({ description: 'Left out where you may not read it now.' }),
      }),
    ),
    resource: z.string().optional().openapi({ description: 'Another’s API that it is for' }),
    authorization_details: z
      .array(z.looseObject({ type: z.string() }))
      .optional()
      .openapi({
        description: 'What exactly was agreed to there',
      }),
    clients: z.array(z.strictObject({ client_id: z.string(), title: z.string() })).openapi({
      description: 'Programs to which it went by a consent; empty: any program of the agent.',
    }),
    purpose: z.string(),
    standing: z.boolean(),
    created_at: z.iso.datetime(),
    expires_at: z.iso.datetime(),
  })
  .openapi('Delegation')

const program = z
  .strictObject({
    id: z.string(),
    client_id: z.string(),
    title: z.string(),
    agent: z.string().optional().openapi({ description: 'As whom it reads for you; absent: as you.' }),
    hands_to: z
      .string()
      .optional()
      .openapi({ description: 'Agent to which it hands its tokens; they open nothing by themselves.' }),
    resource: z.string().optional().openapi({ description: 'Another’s API that its tokens are for' }),
    delegation: z.string().optional().openapi({ description: 'What it reads under' }),
    signed_in_at: z.iso.datetime(),
    expires_at: z.iso.datetime(),
  })
  .openapi('Program')

const delegationAnswer = z.strictObject({ delegation: output, txn: z.string() }).openapi('DelegationAnswer')
const list = z
  .strictObject({
    delegations: z.array(output),
    programs: z.array(program).openapi({ description: 'That get tokens for you by a consent of yours' }),
    txn: z.string(),
  })
  .openapi('DelegationList')
const revoked = z.strictObject({ id: z.string(), txn: z.string() }).openapi('DelegationRevoked')

/**
 * `/delegations`: what the person in front of this browser has lent. JSON for programs of the page's origin, a page
 * for people; the token that changes need comes with every answer to GET, in the header `X-CSRF-Token` or in the form.
 */
export function delegationRoutes(dependencies: DelegationRoutesDeps): App {
  const { delegations, programs, lendables, agents, requireSession, savedForm } = dependencies
  const limits = createLimits({ perMinute: dependencies.perMinute, now: dependencies.now })
  const routes = createRouter()
  const takes = requireSession({ write: true, recent: false })
  const json = <T extends z.ZodType>(schema: T) => ({ 'application/json': { schema } })

  function lender(c: AppContext): Lender {
    const { person, subject } = c.get('session')
    limits.take(subject)
    return { person, subject, txn: c.get('txn'), over: c.get('over') }
  }

  const show = async (c: AppContext, status: 200 | 409 | 422, attempt?: Tried) => {
    const notice = c.req.method === 'GET' ? doneIn(c.req.query('done')) : undefined
    const currentLender = lender(c)
    const { csrf, waiting } = c.get('session')
    const attemptShown = attempt ?? savedForm.take(c, currentLender.person)
    const [lentDelegations, signedIn, offered, registered] = await Promise.all([
      delegations.list(currentLender),
      programs.list(currentLender.person),
      lendables.offered(currentLender.subject),
      agents.list(),
    ])
    const page = delegationsPage({
      person: currentLender.person,
      csrf,
      waiting,
      delegations: lentDelegations,
      programs: signedIn,
      offered,
      agents: registered.filter(({ disabledAt }) => disabledAt === undefined),
      once: dependencies.randomBytes(16).toString('base64url'),
      now: dependencies.now(),
      ...(notice !== undefined && { notice }),
      ...(attemptShown !== undefined && { attempt: attemptShown }),
    })
    for (const [name, value] of Object.entries(pageHeaders())) c.header(name, value)
    return c.html(page, status)
  }

  const pageForBrowsers: MiddlewareHandler<AppEnv> = async (c, next) => {
    c.header('vary', 'Accept')
    return wantsPage(c) ? show(c, 200) : next()
  }

  const listRoute = createRoute({
    method: 'get',
    path: '/delegations',
    summary: 'What you have lent, as JSON or as a page',
    security: session,
    middleware: [requireSession({ write: false }), pageForBrowsers] as const,
    responses: {
      200: {
        description: 'Those that count now, newest first; with `X-CSRF-Token` for changes',
        content: json(list),
      },
      ...problems(),
    },
  })
  routes.openapi(listRoute, async (c) => {
    c.header('x-csrf-token', c.get('session').csrf)
    const currentLender = lender(c)
    const [lentDelegations, signedIn] = await Promise.all([
      delegations.list(currentLender),
      programs.list(currentLender.person),
    ])
    return c.json(
      { delegations: lentDelegations.map(toWire), programs: signedIn.map(programToWire), txn: c.get('txn') },
      200,
    )
  })

  const lendRoute = createRoute({
    method: 'post',
    path: '/delegations',
    summary: 'Lend an agent what you may read yourself',
    description: 'At most 14 days; a standing one 90, and one for each agent.',
    security: session,
    middleware: [requireSession({ write: true }), ...jsonBody(bodyBytesMax)] as const,
    request: { body: { required: true, content: json(input) } },
    responses: {
      201: { description: 'Lent, from now on', content: json(delegationAnswer) },
      ...problems(409),
    },
  })
  routes.openapi(lendRoute, async (c) => {
    const { scope, sub_agents: subAgents, expires_at, ...terms } = c.req.valid('json')
    const delegation = await delegations.lend(lender(c), {
      ...terms,
      scope: scope as FgaObject[],
      subAgents,
      expiresAt: new Date(expires_at),
    })
    return c.json({ delegation: toWire(delegation), txn: c.get('txn') }, 201)
  })

  const revokeRoute = createRoute({
    method: 'delete',
    path: '/delegations/{id}',
    summary: 'Take back what you have lent, with every token under it',
    security: session,
    middleware: [takes] as const,
    request: { params: z.strictObject({ id }) },
    responses: { 200: { description: 'Over', content: json(revoked) }, ...problems(404) },
  })
  routes.openapi(revokeRoute, async (c) => {
    const { id } = c.req.valid('param')
    await delegations.revoke(lender(c), id)
    return c.json({ id, txn: c.get('txn') }, 200)
  })

  const endRoute = createRoute({
    method: 'delete',
    path: '/delegations/programs/{id}',
    summary: 'Sign one program out, with every token it has, and take back what was lent by the same consent',
    security: session,
    middleware: [takes] as const,
    request: { params: z.strictObject({ id }) },
    responses: { 200: { description: 'Over', content: json(revoked) }, ...problems(404) },
  })
  routes.openapi(endRoute, async (c) => {
    const { id } = c.req.valid('param')
    await programs.end(lender(c), id)
    return c.json({ id, txn: c.get('txn') }, 200)
  })

  // The page's own forms, which can send neither JSON nor DELETE.
  routes.post('/delegations/lend', takes, async (c: AppContext) => {
    const currentLender = lender(c)
    const attempt = lendFormOf(await c.req.parseBody({ all: true }))
    if (!isRecent(c.get('session').signedInAt, dependencies.now())) {
      savedForm.keep(c, currentLender.person, attempt)
      return toSignIn(c)
    }
    try {
      await delegations.lend(
        currentLender,
        wishOf(attempt, {
          now: dependencies.now(),
          id: dependencies.idOf(`${currentLender.person} ${attempt.once}`),
        }),
      )
    } catch (error) {
      if (!(error instanceof AppError) || (error.status !== 422 && error.status !== 409)) throw error
      return show(c, error.status, { ...attempt, problem: error.public ?? 'That did not work.' })
    }
    return c.redirect('/delegations?done=lent', 303)
  })
  const ended = (notice: Done, endIt: OwnPrograms['end']) => async (c: AppContext) => {
    try {
      await endIt(lender(c), c.req.param('id') ?? '')
    } catch (error) {
      // Over already, perhaps by a second press: the page shows how it stands.
      if (!(error instanceof AppError) || error.code !== 'not_found') throw error
    }
    return c.redirect(`/delegations?done=${notice}`, 303)
  }
  routes.post('/delegations/:id/revoke', takes, ended('taken_back', delegations.revoke))
  routes.post('/delegations/programs/:id/end', takes, ended('signed_out', programs.end))

  return routes
}

/** What the page says is chosen from its own words; whatever else is in the address is not shown. */
const doneIn = (value: string | undefined): Done | undefined =>
  value === 'lent' || value === 'taken_back' || value === 'signed_out' ? value : undefined

const toWire = ({ id, agent, subAgents, clients, purpose, ...delegation }: OwnDelegation) => ({
  id,
  agent,
  sub_agents: [...subAgents],
  scope: delegation.items.map(({ object, title }) => ({ object, ...(title !== undefined && { title }) })),
  ...(delegation.resource !== undefined && {
    resource: delegation.resource,
    authorization_details: delegation.details.map((detail) => ({ ...detail })),
  }),
  clients: clients.map(({ clientId, title }) => ({ client_id: clientId, title })),
  purpose,
  standing: delegation.standing,
  created_at: delegation.createdAt.toISOString(),
  expires_at: delegation.expiresAt.toISOString(),
})

const programToWire = ({
  id,
  clientId,
  title,
  agent,
  handsTo,
  elsewhere,
  delegation,
  signedInAt,
  expiresAt,
}: OwnProgram) => ({
  id,
  client_id: clientId,
  title,
  ...(agent !== undefined && { agent }),
  ...(handsTo !== undefined && { hands_to: handsTo.id }),
  ...(elsewhere !== undefined && { resource: elsewhere }),
  ...(delegation !== undefined && { delegation }),
  signed_in_at: signedInAt.toISOString(),
  expires_at: expiresAt.toISOString(),
})
