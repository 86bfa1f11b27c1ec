import { z } from '@hono/zod-openapi'
import { isId } from '@remit/contract/id'
import { instant } from '@remit/contract/instant'
import { text } from '@remit/contract/text'
import type { MiddlewareHandler } from 'hono'
import type { OwnProgram, OwnPrograms } from '../../../delegation/administration/own-programs.ts'
import type { Lendables } from '../../../delegation/lending/lendable.ts'
import type { Lender, OwnDelegation, OwnDelegations } from '../../../delegation/lending/own-delegations.ts'
import {
  type Agents,
  changedSinceShown,
  digestOfAgents,
  shownAgents,
} from '../../../delegation/registry/agents.ts'
import { AppError } from '../../../kernel/errors.ts'
import { type FgaObject, splitObject } from '../../../kernel/ids.ts'
import { type App, type AppContext, type AppEnv, createRouter, reply } from '../../env.ts'
import { unlessOver } from '../../middleware/form.ts'
import { jsonBody } from '../../middleware/json.ts'
import { createLimits } from '../../middleware/limits.ts'
import { isRecent, type RequireSession, toSignIn, wantsPage } from '../../middleware/session.ts'
import { type Done, delegationsPage, type Tried } from '../../pages/delegations.ts'
import { showPage } from '../../pages/show.ts'
import { answerOf, bodyOf, id, json, objectOf, problems, sessionRoute } from '../../schemas.ts'
import { lendFormOf, type SavedForm, wishOf } from './lend-form.ts'

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

const input = objectOf('DelegationInput', {
  agent,
  scope: z
    .array(z.string().refine(isLendable, 'must be organization:ID, collection:ID, folder:ID or document:ID'))
    .min(1)
    .max(80),
  sub_agents: z.array(agent).max(10).default([]),
  expires_at: instant,
  purpose: text(1, 500),
  standing: z.boolean().default(false),
})

const output = objectOf('Delegation', {
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
    .openapi({ description: 'What exactly was agreed to there' }),
  clients: z.array(z.strictObject({ client_id: z.string(), title: z.string() })).openapi({
    description: 'Programs to which it went by a consent; empty: any program of the agent.',
  }),
  purpose: z.string(),
  standing: z.boolean(),
  created_at: z.iso.datetime(),
  expires_at: z.iso.datetime(),
})

const program = objectOf('Program', {
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

const delegationAnswer = answerOf('DelegationAnswer', { delegation: output })
const list = answerOf('DelegationList', {
  delegations: z.array(output),
  programs: z.array(program).openapi({ description: 'That get tokens for you by a consent of yours' }),
})
const revoked = answerOf('DelegationRevoked', { id: z.string() })

/**
 * `/delegations`: what the person in front of this browser has lent. JSON for programs of the page's origin,
 * a page for people; the token that changes need comes with every answer to GET, in the header `X-CSRF-Token`
 * or in the form.
 */
export function delegationRoutes(dependencies: DelegationRoutesDeps): App {
  const { delegations, programs, lendables, agents, requireSession, savedForm } = dependencies
  const limits = createLimits({ perMinute: dependencies.perMinute, now: dependencies.now })
  const routes = createRouter()
  const { read, takeAway, write } = requireSession

  function lender(c: AppContext): Lender {
    const { person, subject } = c.get('session')
    limits.take(subject)
    return { person, subject, txn: c.get('txn'), over: c.get('over') }
  }

  const enabledAgents = async () => (await agents.list()).filter(({ disabledAt }) => disabledAt === undefined)

  const show = async (c: AppContext, status: 200 | 409 | 422, attempt?: Tried) => {
    const notice = c.req.method === 'GET' ? doneIn(c.req.query('done')) : undefined
    const currentLender = lender(c)
    const attemptShown = attempt ?? savedForm.take(c, currentLender.person)
    const [lentDelegations, signedIn, offered, registered] = await Promise.all([
      delegations.list(currentLender),
      programs.list(currentLender.person),
      lendables.offered(currentLender.subject),
      enabledAgents(),
    ])
    const page = delegationsPage({
      ...c.get('session'),
      delegations: lentDelegations,
      programs: signedIn,
      offered,
      agents: registered,
      once: dependencies.randomBytes(16).toString('base64url'),
      now: dependencies.now(),
      notice,
      attempt: attemptShown,
    })
    return showPage(c, page, { status })
  }

  const pageForBrowsers: MiddlewareHandler<AppEnv> = async (c, next) => {
    c.header('vary', 'Accept')
    return wantsPage(c) ? show(c, 200) : next()
  }

  const listRoute = sessionRoute('get', '/delegations', {
    summary: 'What you have lent, as JSON or as a page',
    middleware: [read, pageForBrowsers],
    responses: {
      200: json('Those that count now, newest first; with `X-CSRF-Token` for changes', list),
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
    return reply(c, { delegations: lentDelegations.map(toWire), programs: signedIn.map(programToWire) })
  })

  const lendRoute = sessionRoute('post', '/delegations', {
    summary: 'Lend an agent what you may read yourself',
    description: 'At most 14 days; a standing one 90, and one for each agent.',
    middleware: [write, ...jsonBody(bodyBytesMax)],
    request: { body: bodyOf(input) },
    responses: { 201: json('Lent, from now on', delegationAnswer), ...problems(409) },
  })
  routes.openapi(lendRoute, async (c) => {
    const { scope, sub_agents: subAgents, expires_at, ...terms } = c.req.valid('json')
    const draft = { ...terms, scope: scope as FgaObject[], subAgents, expiresAt: new Date(expires_at) }
    const delegation = await delegations.lend(lender(c), draft)
    return c.json({ delegation: toWire(delegation), txn: c.get('txn') }, 201)
  })

  const mountEnd = (path: string, summary: string, endIt: OwnPrograms['end']) => {
    const route = sessionRoute('delete', path, {
      summary,
      middleware: [takeAway],
      request: { params: z.strictObject({ id }) },
      responses: { 200: json('Over', revoked), ...problems(404) },
    })
    routes.openapi(route, async (c) => {
      const { id } = c.req.valid('param')
      await endIt(lender(c), id)
      return reply(c, { id })
    })
  }
  mountEnd('/delegations/{id}', 'Take back what you have lent, with every token under it', delegations.revoke)
  mountEnd(
    '/delegations/programs/{id}',
    'Sign one program out, with every token it has, and take back what was lent by the same consent',
    programs.end,
  )

  // The page's own forms, which can send neither JSON nor DELETE.
  routes.post('/delegations/lend', takeAway, async (c: AppContext) => {
    const currentLender = lender(c)
    const attempt = lendFormOf(await c.req.parseBody({ all: true }))
    if (!isRecent(c.get('session').signedInAt, dependencies.now())) {
      savedForm.keep(c, currentLender.person, attempt)
      return toSignIn(c)
    }
    try {
      const id = dependencies.idOf(`${currentLender.person} ${attempt.once}`)
      const registered = await enabledAgents()
      if (attempt.shown !== digestOfAgents(registered)) throw changedSinceShown()
      const wish = wishOf(attempt, { now: dependencies.now(), id })
      await delegations.lend(currentLender, { ...wish, shownAgents: shownAgents(registered) })
    } catch (error) {
      if (!(error instanceof AppError) || (error.status !== 422 && error.status !== 409)) throw error
      return show(c, error.status, { ...attempt, problem: error.public ?? 'That did not work.' })
    }
    return c.redirect('/delegations?done=lent', 303)
  })
  const ended = (notice: Done, endIt: OwnPrograms['end']) => async (c: AppContext) => {
    await unlessOver(endIt(lender(c), c.req.param('id') ?? ''))
    return c.redirect(`/delegations?done=${notice}`, 303)
  }
  routes.post('/delegations/:id/revoke', takeAway, ended('taken_back', delegations.revoke))
  routes.post('/delegations/programs/:id/end', takeAway, ended('signed_out', programs.end))

  return routes
}

/** What the page says is chosen from its own words; whatever else is in the address is not shown. */
const doneIn = (value: string | undefined): Done | undefined =>
  value === 'lent' || value === 'taken_back' || value === 'signed_out' ? value : undefined

const toWire = (delegation: OwnDelegation) => ({
  id: delegation.id,
  agent: delegation.agent,
  sub_agents: [...delegation.subAgents],
  scope: delegation.items.map(({ object, title }) => ({ object, title })),
  ...(delegation.resource !== undefined && {
    resource: delegation.resource,
    authorization_details: delegation.details.map((detail) => ({ ...detail })),
  }),
  clients: delegation.clients.map(({ clientId, title }) => ({ client_id: clientId, title })),
  purpose: delegation.purpose,
  standing: delegation.standing,
  created_at: delegation.createdAt.toISOString(),
  expires_at: delegation.expiresAt.toISOString(),
})

const programToWire = (program: OwnProgram) => ({
  id: program.id,
  client_id: program.clientId,
  title: program.title,
  agent: program.agent,
  hands_to: program.handsTo?.id,
  resource: program.elsewhere,
  delegation: program.delegation,
  signed_in_at: program.signedInAt.toISOString(),
  expires_at: program.expiresAt.toISOString(),
})
