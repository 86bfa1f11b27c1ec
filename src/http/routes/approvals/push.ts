import { z } from '@hono/zod-openapi'
import { assertSubscription } from '../../../delegation/notify/subscription.ts'
import type { Subscriptions } from '../../../delegation/notify/subscriptions.ts'
import { type App, type AppContext, createRouter, reply } from '../../env.ts'
import { jsonBody } from '../../middleware/json.ts'
import { createLimits } from '../../middleware/limits.ts'
import type { RequireSession } from '../../middleware/session.ts'
import { installable, type StaticFile } from '../../pages/installable.ts'
import { answerOf, bodyOf, json, objectOf, problems, sessionRoute } from '../../schemas.ts'

export interface PushRoutesDeps {
  readonly subscriptions: Subscriptions
  readonly requireSession: RequireSession
  /** Push services that may be asked although they are http or not public. */
  readonly allowedOrigins: readonly string[]
  /** Requests of one person. */
  readonly perMinute: number
  readonly now: () => number
}

const bodyBytesMax = 4 * 1024

const endpoint = z.string().min(1).max(1_024).openapi({ description: 'Of the browser’s push service' })
const subscription = z
  .strictObject({
    endpoint,
    expirationTime: z.number().nullish().openapi({ description: 'As browsers send it; not used.' }),
    keys: z.strictObject({ p256dh: z.string().max(100), auth: z.string().max(40) }),
  })
  .openapi('PushSubscription', { description: 'As `PushSubscription.toJSON()` gives it' })
const named = objectOf('PushEndpoint', { endpoint })
const answer = answerOf('PushAnswer', {
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
  const ok = (description: string) => ({ 200: json(description, answer), ...problems() })

  function owner(c: AppContext) {
    const { person, subject, idHash } = c.get('session')
    limits.take(subject)
    return { person, session: idHash }
  }

  const saveRoute = sessionRoute('post', '/approvals/push', {
    summary: 'Be told in this browser that an answer is waited for',
    description: 'At most 10 browsers of one person: the one that was not seen for longest goes first.',
    middleware: [requireSession.write, ...jsonBody(bodyBytesMax)],
    request: { body: bodyOf(subscription) },
    responses: ok('Told from now on'),
  })
  routes.openapi(saveRoute, async (c) => {
    const { endpoint: pushEndpoint, keys } = c.req.valid('json')
    const newSubscription = { endpoint: pushEndpoint, ...keys }
    assertSubscription(newSubscription, allowed)
    await subscriptions.save(owner(c), newSubscription)
    return reply(c, { told: true })
  })

  const seenRoute = sessionRoute('post', '/approvals/push/seen', {
    summary: 'Whether this browser is told; it belongs to this session from now on, whose end ends it',
    middleware: [requireSession.takeAway, ...jsonBody(bodyBytesMax)],
    request: { body: bodyOf(named) },
    responses: ok('Whether it is'),
  })
  routes.openapi(seenRoute, async (c) =>
    reply(c, { told: await subscriptions.seen(owner(c), c.req.valid('json').endpoint) }),
  )

  const endRoute = sessionRoute('post', '/approvals/push/end', {
    summary: 'Not to be told in this browser any more',
    middleware: [requireSession.takeAway, ...jsonBody(bodyBytesMax)],
    request: { body: bodyOf(named) },
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
