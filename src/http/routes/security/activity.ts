import { z } from '@hono/zod-openapi'
import { activityAnswer } from '@remit/contract/activity'
import type { Activity, ActivityOptions } from '../../../audit/activity.ts'
import type { IndexStatus } from '../../../authz/permission-index.ts'
import { type App, createRouter, reply } from '../../env.ts'
import { bearerRoute, json, problems } from '../../schemas.ts'
import type { Reading } from '../reading.ts'

export interface ActivityRouteDeps extends Reading {
  readonly readActivity: (options: ActivityOptions) => Promise<Activity>
  /** Questions of agents that wait for somebody. */
  readonly countWaiting: () => Promise<number>
  readonly index: () => IndexStatus
  readonly now: () => number
}

const hour = 3_600_000
const query = z.strictObject({
  hours: z.coerce
    .number<string>()
    .int()
    .min(1)
    .max(168)
    .default(24)
    .openapi({ description: 'How far back. In stretches of 15 minutes; above 48 of an hour.' }),
})

const answer = activityAnswer.clone().openapi('ActivityAnswer')

/**
 * `GET /activity`: how much was asked and refused lately, and what waits; for administrators. Counts alone,
 * of everybody: the one look at the record that is not itself on record.
 */
export function activityRoutes(dependencies: ActivityRouteDeps): App {
  const route = bearerRoute('get', '/activity', {
    summary: 'How much was asked and refused lately, what waits, and how far the index is behind',
    middleware: [...dependencies.asGetReader],
    request: { query },
    responses: { 200: json('Counts', answer), ...problems() },
  })
  return createRouter().openapi(route, async (c) => {
    await dependencies.assertReader(c.get('principal'))
    const { hours } = c.req.valid('query')
    const stretchMs = hours > 48 ? hour : hour / 4
    const [{ stretches, driftMended }, waiting] = await Promise.all([
      dependencies.readActivity({
        until: new Date(dependencies.now()),
        stretchMs,
        count: (hours * hour) / stretchMs,
      }),
      dependencies.countWaiting(),
    ])
    const { state, lagMs, tuples } = dependencies.index()
    return reply(c, {
      stretch_seconds: stretchMs / 1_000,
      stretches: stretches.map(({ at: start, ...counts }) => ({ at: start.toISOString(), ...counts })),
      approvals_waiting: waiting,
      drift_mended: driftMended,
      index: { state, lag_ms: lagMs, tuples },
    })
  })
}
