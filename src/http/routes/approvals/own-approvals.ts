import { z } from '@hono/zod-openapi'
import type { MiddlewareHandler } from 'hono'
import type { OwnApproval } from '../../../delegation/approvals/own.ts'
import { assertSubscription } from '../../../delegation/notify/subscription.ts'
import type { Subscriptions } from '../../../delegation/notify/subscriptions.ts'
import { atPages } from '../../../delegation/people/sign-ins.ts'
import { AppError } from '../../../kernel/errors.ts'
import type { FgaObject } from '../../../kernel/ids.ts'
import { type App, type AppContext, type AppEnv, createRouter, reply } from '../../env.ts'
import { jsonBody } from '../../middleware/json.ts'
import { createLimits } from '../../middleware/limits.ts'
import { isRecent, type RequireSession, wantsPage } from '../../middleware/session.ts'
import { approvalsPage, isApprovalsDone } from '../../pages/approvals.ts'
import { installable, type StaticFile } from '../../pages/installable.ts'
import { showPage } from '../../pages/show.ts'
import { answerOf, bodyOf, id, json, objectOf, problems, sessionRoute } from '../../schemas.ts'
import {
  type Approver,
  createApprovalPages,
  type OwnApprovalRoutesDeps,
  withoutUnverifiedReason,
} from './own-approvals-pages.ts'
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

const bodyBytesMax = 64 * 1024
const approvalId = /^ap_[\w-]{1,100}$/

/**
 * The person's side of `/approvals`: what waits for them, one question, their answer, what they agreed to,
 * whom they blocked. Their own browser session alone; whatever brings an Authorization header is refused, or
 * is the agent's side. JSON for programs of the page's origin, pages for people.
 */
export function ownApprovalRoutes(dependencies: OwnApprovalRoutesDeps): App {
  const { own: ownApprovals, approvals, grants, push, requireSession } = dependencies
  const limits = createLimits({ perMinute: dependencies.perMinute, now: dependencies.now })
  const routes = createRouter()
  const { read, takeAway, write } = requireSession

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
      ...c.get('session'),
      list: await ownApprovals.list(subject),
      push: { publicKey: push.publicKey, devices: await push.subscriptions.count(person) },
      now: dependencies.now(),
      notice: isApprovalsDone(notice) ? notice : undefined,
    })
    return showPage(c, page, { script: true, app: true })
  }

  const listRoute = sessionRoute('get', '/approvals', {
    summary: 'What agents ask of you, what you agreed to, whom you blocked: as JSON or as a page',
    middleware: [read, listPage],
    responses: { 200: json('Yours alone; with `X-CSRF-Token` for changes', listSchema), ...problems() },
  })
  routes.openapi(listRoute, async (c) => {
    const { subject } = approver(c)
    c.header('x-csrf-token', c.get('session').csrf)
    const { open: openApprovals, recent, grants: liveGrants, blocked } = await ownApprovals.list(subject)
    return reply(c, {
      open: openApprovals.map(summaryToWire),
      recent: recent.map(summaryToWire),
      grants: liveGrants.map(grantToWire),
      blocked: blocked.map(blockToWire),
    })
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

  const decisionRoute = sessionRoute('post', '/approvals/{id}/decision', {
    summary: 'Say yes, no, or ask something first',
    description:
      'Of exactly what was looked at: `digest` is what `GET /approvals/{id}` gave; where anything has changed since, nothing is decided (409). A no takes no recent sign-in (its `reason` is left out without one), anything else one of the last 15 minutes. A yes to documents or to a call takes a verification of the person (a passkey, or a sign-in elsewhere by more than a password) of the last 5 minutes, else 401.',
    middleware: [takeAway, ...jsonBody(bodyBytesMax)],
    request: { params: z.strictObject({ id }), body: bodyOf(decisionSchema) },
    responses: { 200: json('How it stands now', oneSchema), ...problems(404, 409) },
  })

  const revokeRoute = sessionRoute('delete', '/approvals/grants/{id}', {
    summary: 'Take back what you agreed to',
    middleware: [takeAway],
    request: { params: z.strictObject({ id }) },
    responses: { 200: json('Over', grantEnded), ...problems(404) },
  })

  const liftRoute = sessionRoute('delete', '/approvals/blocks/{id}', {
    summary: 'Let an agent ask you again',
    middleware: [write],
    request: { params: z.strictObject({ id }) },
    responses: { 200: json('It may ask', blockLifted), ...problems(404) },
  })

  // First the pages' own forms: they pass on what is not theirs.
  routes.route('/', pages.forms)
  routes.openapi(decisionRoute, async (c) => {
    const { subject } = approver(c)
    const { id: requestedId } = c.req.valid('param')
    const sent = c.req.valid('json')
    const recent = isRecent(c.get('session').signedInAt, dependencies.now())
    if (sent.decision !== 'deny' && !recent) throw new AppError('insufficient_user_authentication')
    const decision = withoutUnverifiedReason(decisionOf(sent), recent)
    const looked = { digest: sent.digest, session: c.get('session') }
    const result = await approvals.decide(subject, requestedId, decision, looked)
    if (!result.ok) throw refusalAsError(result.reason, result.detail)
    const decided = await find(subject, requestedId)
    if (decided === undefined) throw new AppError('not_found')
    return reply(c, { approval: ownToWire(decided) })
  })
  routes.openapi(revokeRoute, async (c) => {
    const { subject } = approver(c)
    const { id: grantId } = c.req.valid('param')
    if (!(await grants.revoke(subject, grantId, actor(c)))) throw new AppError('not_found')
    return reply(c, { id: grantId })
  })
  routes.openapi(liftRoute, async (c) => {
    const { subject } = approver(c)
    const { id: agent } = c.req.valid('param')
    if (!(await approvals.blocks.lift(subject, agent, { ...actor(c), over: c.get('over') })))
      throw new AppError('not_found')
    return reply(c, { agent })
  })
  return routes
}

export interface PushRoutesDeps {
  readonly subscriptions: Subscriptions
  readonly requireSession: RequireSession
  /** Push services that may be asked although they are http or not public. */
  readonly allowedOrigins: readonly string[]
  /** Requests of one person. */
  readonly perMinute: number
  readonly now: () => number
}

const subscriptionBytesMax = 4 * 1024

const endpoint = z.string().min(1).max(1_024).openapi({ description: 'Of the browser’s push service' })
const subscription = z
  .strictObject({
    endpoint,
    expirationTime: z.number().nullish().openapi({ description: 'As browsers send it; not used.' }),
    keys: z.strictObject({ p256dh: z.string().max(100), auth: z.string().max(40) }),
  })
  .openapi('PushSubscription', { description: 'As `PushSubscription.toJSON()` gives it' })
const pushEndpoint = objectOf('PushEndpoint', { endpoint })
const pushAnswer = answerOf('PushAnswer', {
  told: z.boolean().openapi({ description: 'Whether this browser is told from now on' }),
})

/**
 * `/approvals/push`: a person is told in this browser, or not any more; and the files by which a phone takes
 * the page for an app. Only the person's own session, as for `/delegations`. That one is told is not said of
 * anybody else's endpoint.
 */
export function pushRoutes(dependencies: PushRoutesDeps): App {
  const { subscriptions, requireSession } = dependencies
  const allowed = new Set(dependencies.allowedOrigins)
  const limits = createLimits({ perMinute: dependencies.perMinute, now: dependencies.now })
  const routes = createRouter()
  const ok = (description: string) => ({ 200: json(description, pushAnswer), ...problems() })

  function owner(c: AppContext) {
    const { person, subject, idHash } = c.get('session')
    limits.take(subject)
    return { person, session: idHash }
  }

  const saveRoute = sessionRoute('post', '/approvals/push', {
    summary: 'Be told in this browser that an answer is waited for',
    description: 'At most 10 browsers of one person: the one that was not seen for longest goes first.',
    middleware: [requireSession.write, ...jsonBody(subscriptionBytesMax)],
    request: { body: bodyOf(subscription) },
    responses: ok('Told from now on'),
  })
  routes.openapi(saveRoute, async (c) => {
    const { endpoint: address, keys } = c.req.valid('json')
    const newSubscription = { endpoint: address, ...keys }
    assertSubscription(newSubscription, allowed)
    await subscriptions.save(owner(c), newSubscription)
    return reply(c, { told: true })
  })

  const seenRoute = sessionRoute('post', '/approvals/push/seen', {
    summary: 'Whether this browser is told; it belongs to this session from now on, whose end ends it',
    middleware: [requireSession.takeAway, ...jsonBody(subscriptionBytesMax)],
    request: { body: bodyOf(pushEndpoint) },
    responses: ok('Whether it is'),
  })
  routes.openapi(seenRoute, async (c) =>
    reply(c, { told: await subscriptions.seen(owner(c), c.req.valid('json').endpoint) }),
  )

  const endRoute = sessionRoute('post', '/approvals/push/end', {
    summary: 'Not to be told in this browser any more',
    middleware: [requireSession.takeAway, ...jsonBody(subscriptionBytesMax)],
    request: { body: bodyOf(pushEndpoint) },
    responses: ok('Not told any more, or it was not before'),
  })
  routes.openapi(endRoute, async (c) => {
    await subscriptions.end(owner(c).person, c.req.valid('json').endpoint)
    return reply(c, { told: false })
  })

  // The page's own form, which works without a script: for a phone that was lost.
  routes.post('/approvals/push/end-all', requireSession.takeAway, async (c: AppContext) => {
    await subscriptions.endAll(owner(c).person)
    return c.redirect('/approvals', 303)
  })

  for (const [path, file] of Object.entries(installable)) routes.get(path, (c) => serve(c, file))
  return routes
}

const serve = (c: AppContext, { body, headers }: StaticFile) => c.body(body, 200, { ...headers })
