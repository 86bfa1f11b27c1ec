import { createRoute, z } from '@hono/zod-openapi'
import type { MiddlewareHandler } from 'hono'
import type { Approvals } from '../../../delegation/approvals/approvals.ts'
import type { ApprovalGrants } from '../../../delegation/approvals/grants.ts'
import type { OwnApproval, OwnApprovals } from '../../../delegation/approvals/own.ts'
import type { Subscriptions } from '../../../delegation/notify/subscriptions.ts'
import { atPages } from '../../../delegation/people/sign-ins.ts'
import type { StepUp } from '../../../delegation/people/step-up.ts'
import { AppError } from '../../../kernel/errors.ts'
import type { FgaObject } from '../../../kernel/ids.ts'
import type { Log } from '../../../kernel/log.ts'
import { type App, type AppContext, type AppEnv, createRouter } from '../../env.ts'
import { jsonBody } from '../../middleware/json.ts'
import { createLimits } from '../../middleware/limits.ts'
import { isRecent, type RequireSession, wantsPage } from '../../middleware/session.ts'
import { approvalsPage, isApprovalsDone } from '../../pages/approvals.ts'
import { pageHeaders } from '../../pages/layout.ts'
import { id, problems, session } from '../../schemas.ts'
import type { OwnCookie } from '../../sign-in/cookies.ts'
import { withoutUnverifiedReason } from './own-approvals-form.ts'
import { createApprovalPages } from './own-approvals-pages.ts'
import { refusalAsError } from './own-approvals-refusals.ts'
import {
  blockLifted,
  blockToWire,
  decisionOf,
  decisionSchema,
  grantEnded,
  grantToWire,
  listSchema,
  oneSchema,
  ownToWire,
  summaryToWire,
} from './own-approvals-wire.ts'

export interface OwnApprovalRoutesDeps {
  readonly own: OwnApprovals
  readonly approvals: Pick<Approvals, 'decide' | 'blocks'>
  readonly grants: Pick<ApprovalGrants, 'revoke'>
  readonly stepUp: StepUp
  /** By which browsers are told, and in how many somebody is. */
  readonly push: { readonly publicKey: string; readonly subscriptions: Pick<Subscriptions, 'count'> }
  readonly sessionCookie: OwnCookie
  readonly requireSession: RequireSession
  readonly publicUrl: string
  readonly log: Log
  /** Requests of one person. */
  readonly perMinute: number
  readonly now: () => number
}

/** Whoever is signed in, counted. */
export interface Approver {
  readonly person: string
  readonly subject: FgaObject
}

const bodyBytesMax = 64 * 1024
const approvalId = /^ap_[\w-]{1,100}$/

/**
 * The person's side of `/approvals`: what waits for them, one question, their answer, what they agreed to, whom they
 * blocked. Their own browser session alone; whatever brings an Authorization header is refused, or is the agent's side.
 * JSON for programs of the page's origin, pages for people.
 */
export function ownApprovalRoutes(dependencies: OwnApprovalRoutesDeps): App {
  const { own: ownApprovals, approvals, grants, push, requireSession } = dependencies
  const limits = createLimits({ perMinute: dependencies.perMinute, now: dependencies.now })
  const routes = createRouter()
  const json = <T extends z.ZodType>(schema: T) => ({ 'application/json': { schema } })
  const read = requireSession({ write: false })
  const write = requireSession({ write: true })
  const takes = requireSession({ write: true, recent: false })

  function approver(c: AppContext): Approver {
    const { person, subject } = c.get('session')
    limits.take(subject)
    return { person, subject }
  }
  const find = async (subject: FgaObject, requestedId: string): Promise<OwnApproval | undefined> =>
    approvalId.test(requestedId) ? ownApprovals.one(subject, requestedId) : undefined
  // A program that forgot its token is told to bring one; only a browser is led to the sign-in.
  const isAgents = (c: AppContext): boolean =>
    c.req.header('authorization') !== undefined ||
    (dependencies.sessionCookie.read(c) === undefined && !wantsPage(c))
  const actor = (c: AppContext) => atPages(c.get('session').person, c.get('txn'))
  const pages = createApprovalPages({ ...dependencies, approver, find })

  const listPage: MiddlewareHandler<AppEnv> = async (c, next) => {
    c.header('vary', 'Accept')
    if (!wantsPage(c)) return next()
    const { person, subject } = approver(c)
    const notice = c.req.query('done')
    const page = approvalsPage({
      person,
      csrf: c.get('session').csrf,
      waiting: c.get('session').waiting,
      list: await ownApprovals.list(subject),
      push: { publicKey: push.publicKey, devices: await push.subscriptions.count(person) },
      now: dependencies.now(),
      ...(isApprovalsDone(notice) && { notice }),
    })
    for (const [name, value] of Object.entries(pageHeaders([], { script: true, app: true })))
      c.header(name, value)
    return c.html(page)
  }

  const listRoute = createRoute({
    method: 'get',
    path: '/approvals',
    summary: 'What agents ask of you, what you agreed to, whom you blocked: as JSON or as a page',
    security: session,
    middleware: [read, listPage] as const,
    responses: {
      200: { description: 'Yours alone; with `X-CSRF-Token` for changes', content: json(listSchema) },
      ...problems(),
    },
  })
  routes.openapi(listRoute, async (c) => {
    const { subject } = approver(c)
    c.header('x-csrf-token', c.get('session').csrf)
    const { open: openApprovals, recent, grants: liveGrants, blocked } = await ownApprovals.list(subject)
    return c.json(
      {
        open: openApprovals.map(summaryToWire),
        recent: recent.map(summaryToWire),
        grants: liveGrants.map(grantToWire),
        blocked: blocked.map(blockToWire),
        txn: c.get('txn'),
      },
      200,
    )
  })

  // With a token it is the agents' route, which says in the contract what both answer.
  routes.get(
    '/approvals/:id',
    async (c, next) => (isAgents(c) ? next() : read(c, next)),
    async (c: AppContext, next) => {
      if (isAgents(c)) return next()
      c.header('vary', 'Accept')
      if (wantsPage(c)) return pages.show(c)
      const { subject } = approver(c)
      const found = await find(subject, c.req.param('id') ?? '')
      if (found === undefined) throw new AppError('not_found')
      c.header('x-csrf-token', c.get('session').csrf)
      const answer: z.output<typeof oneSchema> = { approval: ownToWire(found), txn: c.get('txn') }
      return c.json(answer, 200)
    },
  )

  const decisionRoute = createRoute({
    method: 'post',
    path: '/approvals/{id}/decision',
    summary: 'Say yes, no, or ask something first',
    description:
      'Of exactly what was looked at: `digest` is what `GET /approvals/{id}` gave; where anything has changed since, nothing is decided (409). A no takes no recent sign-in (its `reason` is left out without one), anything else one of the last 15 minutes. A yes to documents or to a call takes a verification of the person (a passkey, or a sign-in elsewhere by more than a password) of the last 5 minutes, else 401.',
    security: session,
    middleware: [takes, ...jsonBody(bodyBytesMax)] as const,
    request: { params: z.strictObject({ id }), body: { required: true, content: json(decisionSchema) } },
    responses: { 200: { description: 'How it stands now', content: json(oneSchema) }, ...problems(404, 409) },
  })

  const revokeRoute = createRoute({
    method: 'delete',
    path: '/approvals/grants/{id}',
    summary: 'Take back what you agreed to',
    security: session,
    middleware: [takes] as const,
    request: { params: z.strictObject({ id }) },
    responses: { 200: { description: 'Over', content: json(grantEnded) }, ...problems(404) },
  })

  const liftRoute = createRoute({
    method: 'delete',
    path: '/approvals/blocks/{id}',
    summary: 'Let an agent ask you again',
    security: session,
    middleware: [write] as const,
    request: { params: z.strictObject({ id }) },
    responses: { 200: { description: 'It may ask', content: json(blockLifted) }, ...problems(404) },
  })

  // First the pages' own forms: they pass on what is not theirs.
  routes.route('/', pages.forms)
  routes.openapi(decisionRoute, async (c) => {
    const { subject } = approver(c)
    const { id: requestedId } = c.req.valid('param')
    const sent = c.req.valid('json')
    const recent = isRecent(c.get('session').signedInAt, dependencies.now())
    if (sent.decision !== 'deny' && !recent) throw new AppError('insufficient_user_authentication')
    const result = await approvals.decide(
      subject,
      requestedId,
      withoutUnverifiedReason(decisionOf(sent), recent),
      {
        digest: sent.digest,
        session: c.get('session'),
      },
    )
    if (!result.ok) throw refusalAsError(result.reason, result.detail)
    const decided = await find(subject, requestedId)
    if (decided === undefined) throw new AppError('not_found')
    return c.json({ approval: ownToWire(decided), txn: c.get('txn') }, 200)
  })
  routes.openapi(revokeRoute, async (c) => {
    const { subject } = approver(c)
    const { id: grantId } = c.req.valid('param')
    if (!(await grants.revoke(subject, grantId, actor(c)))) throw new AppError('not_found')
    return c.json({ id: grantId, txn: c.get('txn') }, 200)
  })
  routes.openapi(liftRoute, async (c) => {
    const { subject } = approver(c)
    const { id: agent } = c.req.valid('param')
    if (!(await approvals.blocks.lift(subject, agent, { ...actor(c), over: c.get('over') })))
      throw new AppError('not_found')
    return c.json({ agent, txn: c.get('txn') }, 200)
  })
  return routes
}
