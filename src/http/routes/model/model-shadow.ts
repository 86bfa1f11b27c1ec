import { createRoute, z } from '@hono/zod-openapi'
import { text } from '@remit/contract/text'
import type { ModelShadow } from '../../../authz/model/shadow.ts'
import type { Shadow, StoredDifference } from '../../../authz/model/shadow-store.ts'
import { type App, createRouter } from '../../env.ts'
import type { RequireBearer } from '../../middleware/bearer.ts'
import { jsonBody } from '../../middleware/json.ts'
import { bearer, problems } from '../../schemas.ts'
import { assertAdministrator, type IsAdministrator } from '../writing.ts'

export interface ModelShadowRouteDeps {
  readonly shadow: ModelShadow
  readonly requireBearer: RequireBearer
  /** Of the role `security.write`. */
  readonly isAdministrator: IsAdministrator
  readonly now: () => number
}

const bodyBytesMax = 16 * 1024

const wanted = z
  .strictObject({
    plan_id: text(1, 100),
    minutes: z.int().min(1).max(1_440).default(60),
    share: z.number().gt(0).max(1).default(1).openapi({ description: 'Of the questions' }),
  })
  .openapi('ModelShadowInput')

const shadowSchema = z
  .strictObject({
    shadow_id: z.string(),
    plan_id: z.string(),
    base_model: z.string(),
    state: z.enum(['running', 'over', 'stopped', 'model_changed']),
    started_by: z.string(),
    share: z.number(),
    started_at: z.string(),
    ends_at: z.string(),
    ended_at: z.string().nullable(),
    asked: z.int().openapi({ description: 'Pairs of somebody and a document that the gate considered' }),
    gained: z.int(),
    lost: z.int(),
    errors: z.int().openapi({ description: 'What the changed model could not evaluate, which denies' }),
    dropped: z.int().openapi({ description: 'Questions that no process had room for' }),
  })
  .openapi('ModelShadow')
const verdict = z.enum(['allowed', 'denied', 'error'])
const difference = z.strictObject({
  who: z.string(),
  document_id: z.string(),
  active: verdict,
  candidate: verdict,
  count: z.int(),
  first_at: z.string(),
  last_at: z.string(),
})

const answer = z.strictObject({ shadow: shadowSchema, txn: z.string() }).openapi('ModelShadowAnswer')
const report = z
  .strictObject({
    shadow: shadowSchema.nullable(),
    differences: z.array(difference).openapi({ description: 'At most 200, the most often seen first' }),
    txn: z.string(),
  })
  .openapi('ModelShadowReport')

const json = <T extends z.ZodType>(description: string, schema: T) => ({
  description,
  content: { 'application/json': { schema } },
})

/** `POST`, `GET` and `DELETE /model/shadow`: a changed model beside the one in force; for an administrator. */
export function modelShadowRoutes({
  shadow,
  requireBearer,
  isAdministrator,
  now,
}: ModelShadowRouteDeps): App {
  const administrator = requireBearer({ kinds: ['person'], scopes: ['security.write'] })
  const startRoute = createRoute({
    method: 'post',
    path: '/model/shadow',
    summary: 'Evaluate what is asked under a planned model as well, for a while',
    security: bearer,
    middleware: [administrator, ...jsonBody(bodyBytesMax)] as const,
    request: { body: { required: true, content: { 'application/json': { schema: wanted } } } },
    responses: { 200: json('It runs, in every process within a second', answer), ...problems(404, 409) },
  })
  const stopRoute = createRoute({
    method: 'delete',
    path: '/model/shadow',
    summary: 'Stop it before its end',
    security: bearer,
    middleware: [administrator] as const,
    responses: { 200: json('It is stopped', answer), ...problems(404) },
  })
  const readRoute = createRoute({
    method: 'get',
    path: '/model/shadow',
    summary: 'Where the planned model would have answered otherwise; each look is on record',
    security: bearer,
    middleware: [administrator] as const,
    responses: { 200: json('The one that runs, or the last', report), ...problems() },
  })
  return createRouter()
    .openapi(startRoute, async (c) => {
      const principal = c.get('principal')
      await assertAdministrator(principal, isAdministrator, now())
      const { plan_id, ...rest } = c.req.valid('json')
      const begun = await shadow.start(principal, { plan: plan_id, ...rest })
      return c.json({ shadow: toWire(begun), txn: c.get('txn') }, 200)
    })
    .openapi(stopRoute, async (c) => {
      const principal = c.get('principal')
      await assertAdministrator(principal, isAdministrator, now())
      return c.json({ shadow: toWire(await shadow.stop(principal)), txn: c.get('txn') }, 200)
    })
    .openapi(readRoute, async (c) => {
      const principal = c.get('principal')
      await assertAdministrator(principal, isAdministrator, now())
      const found = await shadow.report(principal)
      return c.json(
        {
          shadow: found === undefined ? null : toWire(found.shadow),
          differences: (found?.differences ?? []).map(differenceToWire),
          txn: c.get('txn'),
        },
        200,
      )
    })
}

const toWire = (shadow: Shadow): z.output<typeof shadowSchema> => ({
  shadow_id: shadow.id,
  plan_id: shadow.plan,
  base_model: shadow.baseModel,
  state: shadow.endedBecause ?? 'running',
  started_by: shadow.startedBy,
  share: shadow.share,
  started_at: shadow.startedAt.toISOString(),
  ends_at: shadow.endsAt.toISOString(),
  ended_at: shadow.endedAt?.toISOString() ?? null,
  ...shadow.counts,
})

const differenceToWire = ({
  document,
  firstAt,
  lastAt,
  ...rest
}: StoredDifference): z.output<typeof difference> => ({
  ...rest,
  document_id: document,
  first_at: firstAt.toISOString(),
  last_at: lastAt.toISOString(),
})
