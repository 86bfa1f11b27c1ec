import { z } from '@hono/zod-openapi'
import { activeModelAnswer, modelPlanned, modelPlanRead, openModelPlansAnswer } from '@remit/contract/model'
import { plain, text } from '@remit/contract/text'
import { allowListMax } from '../../../authz/allow-list/read.ts'
import type { ModelChanges } from '../../../authz/model/changes.ts'
import type { Plan } from '../../../authz/model/plan-store.ts'
import { type App, createRouter, reply } from '../../env.ts'
import type { RequireBearer } from '../../middleware/bearer.ts'
import { jsonBody } from '../../middleware/json.ts'
import { bearerRoute, bodyOf, json, problems } from '../../schemas.ts'
import { assertAdministrator, type IsAdministrator } from '../writing.ts'
import { openPlan, openPlanToWire, plan, planToWire } from './model-plan-wire.ts'

export interface ModelRouteDeps {
  readonly models: ModelChanges
  /** Whether model.fga and model.allow-list.yaml are what is in force. */
  readonly matchesFile: () => boolean
  readonly requireBearer: RequireBearer
  readonly isAdministrator: IsAdministrator
  readonly now: () => number
}

// The server takes a model of 256 KiB; as a JSON string its line ends are two bytes each.
const bodyBytesMax = 512 * 1024
const modelMax = 256 * 1024

const planInput = z
  .strictObject({
    model: text(1, modelMax)
      .optional()
      .openapi({ description: 'A changed model, in OpenFGA’s language; left out: today’s' }),
    allow_list: text(1, allowListMax).optional().openapi({
      description:
        'Who may write which tuples (model.allow-list.yaml); left out: of today’s what fits the model',
    }),
    model_id: text(1, 100)
      .optional()
      .openapi({ description: 'An earlier model that was in force, with the list of then' }),
  })
  .refine(
    ({ model, allow_list, model_id }) =>
      (model ?? allow_list) === undefined ? model_id !== undefined : model_id === undefined,
    { message: 'name model, allow_list or both, or model_id', path: ['model'] },
  )
  .openapi('ModelPlanInput')

const planned = modelPlanned.extend({ plan }).openapi('ModelPlanned')
const read = modelPlanRead.extend({ plan }).openapi('ModelPlanRead')
const openPlans = openModelPlansAnswer.extend({ plans: z.array(openPlan) }).openapi('ModelPlansOpen')
const confirmed = z
  .strictObject({
    plan_id: text(1, 100),
    reason: plain(300).optional().openapi({
      description:
        'Needed where tests fail or did not run: why it may come into force all the same. On record',
    }),
  })
  .openapi('ModelApplyInput')
const applied = z
  .strictObject({
    state: z.enum(['awaiting_second', 'active']),
    plan_id: z.string(),
    approved_by: z.array(z.string()),
    model_id: z.string().optional(),
    txn: z.string(),
  })
  .openapi('ModelApplied')
const modelShown = activeModelAnswer.extend({ awaiting: z.array(plan) }).openapi('ModelShown')

/**
 * `POST /model/plan`, `GET /model/plans`, `GET /model/plans/{id}`, `POST /model/apply`, `GET /model`: for an
 * administrator.
 */
export function modelRoutes({
  models,
  matchesFile,
  requireBearer,
  isAdministrator,
  now,
}: ModelRouteDeps): App {
  const administrator = requireBearer({ kinds: ['person'], scopes: ['security.write'] })
  const planRoute = bearerRoute('post', '/model/plan', {
    summary:
      'Show who would gain and who would lose which documents under another model, and who may write what',
    middleware: [administrator, ...jsonBody(bodyBytesMax)],
    request: { body: bodyOf(planInput) },
    responses: { 200: json('The plan; it counts for 24 hours', planned), ...problems(404) },
  })
  const openRoute = bearerRoute('get', '/model/plans', {
    summary: 'Plans that can still be confirmed, the newest first',
    middleware: [administrator],
    responses: { 200: json('At most a hundred', openPlans), ...problems() },
  })
  const readRoute = bearerRoute('get', '/model/plans/{id}', {
    summary: 'Read a plan with its texts and what those change, before confirming it',
    middleware: [administrator],
    request: { params: z.strictObject({ id: text(1, 100) }) },
    responses: { 200: json('The plan and its text', read), ...problems(404) },
  })
  const applyRoute = bearerRoute('post', '/model/apply', {
    summary: 'Confirm a plan; the last person needed puts it in force',
    middleware: [administrator, ...jsonBody(bodyBytesMax)],
    request: { body: bodyOf(confirmed) },
    responses: {
      200: json('In force', applied),
      202: json('Confirmed; somebody else has to confirm it too', applied),
      ...problems(404, 409),
    },
  })
  const showRoute = bearerRoute('get', '/model', {
    summary: 'The model in force, those before it, and plans that wait for another yes',
    middleware: [administrator],
    responses: { 200: json('The model', modelShown), ...problems() },
  })

  const wire = (createdPlan: Plan) =>
    planToWire(createdPlan, models.approversOf(createdPlan), models.outdatedOf(createdPlan))

  return createRouter()
    .openapi(planRoute, async (c) => {
      const principal = c.get('principal')
      await assertAdministrator(principal, isAdministrator, now())
      const { model, allow_list, model_id } = c.req.valid('json')
      const newPlan = await models.plan(
        principal,
        model_id === undefined
          ? {
              ...(model !== undefined && { dsl: model }),
              ...(allow_list !== undefined && { allowList: allow_list }),
            }
          : { modelId: model_id },
      )
      return reply(c, { plan: wire(newPlan) })
    })
    .openapi(openRoute, async (c) => {
      await assertAdministrator(c.get('principal'), isAdministrator, now())
      const { plans, more: hasMore } = await models.open()
      return reply(c, { plans: plans.map(openPlanToWire), more: hasMore })
    })
    .openapi(readRoute, async (c) => {
      await assertAdministrator(c.get('principal'), isAdministrator, now())
      const {
        plan: existingPlan,
        text: model,
        diff,
        allowListDiff,
      } = await models.read(c.req.valid('param').id)
      return reply(c, {
        plan: wire(existingPlan),
        model,
        diff,
        allow_list: existingPlan.allowList ?? null,
        allow_list_diff: allowListDiff,
      })
    })
    .openapi(applyRoute, async (c) => {
      const principal = c.get('principal')
      await assertAdministrator(principal, isAdministrator, now())
      const { plan_id, reason } = c.req.valid('json')
      const result = await models.apply(principal, plan_id, reason, c.get('over'))
      const common = {
        plan_id: result.plan.id,
        approved_by: [...result.plan.approvedBy],
        txn: c.get('txn'),
      }
      return result.state === 'active'
        ? c.json({ state: result.state, model_id: result.modelId, ...common }, 200)
        : c.json({ state: result.state, ...common }, 202)
    })
    .openapi(showRoute, async (c) => {
      await assertAdministrator(c.get('principal'), isAdministrator, now())
      const { current, history, awaiting } = await models.show()
      return reply(c, {
        model_id: current.id,
        digest: current.digest,
        model: current.dsl ?? null,
        allow_list: current.allowList ?? null,
        matches_file: matchesFile(),
        history: history.map((version) => ({
          model_id: version.id,
          digest: version.digest,
          ...(version.plan !== undefined && { plan_id: version.plan }),
          activated_by: [...version.activatedBy],
          activated_at: version.activatedAt.toISOString(),
        })),
        awaiting: awaiting.map(wire),
      })
    })
}
