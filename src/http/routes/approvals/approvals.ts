import { createRoute, z } from '@hono/zod-openapi'
import {
  approvalAnswerInput,
  approvalAsked,
  approvalInput,
  approvalBody as approvalSchema,
  approvalDetail as detailSchema,
} from '@remit/contract/approval-schemas'
import type { Approval } from '../../../delegation/approvals/approval.ts'
import { approvalToWire, requesterOf } from '../../../delegation/approvals/approval.ts'
import type { Approvals } from '../../../delegation/approvals/approvals.ts'
import type { ResolveDetail } from '../../../delegation/approvals/resolve.ts'
import { AppError, invalid } from '../../../kernel/errors.ts'
import { type App, type AppContext, createRouter } from '../../env.ts'
import type { RequireBearer } from '../../middleware/bearer.ts'
import { jsonBody } from '../../middleware/json.ts'
import { bearer, bearerRoute, bodyOf, id, json, problems, session } from '../../schemas.ts'
import { preferredWait } from '../writing.ts'
import { oneSchema } from './own-approvals-wire.ts'

export interface ApprovalRoutesDeps {
  readonly approvals: Pick<Approvals, 'ask' | 'of' | 'wait' | 'answer'>
  readonly resolve: ResolveDetail
  readonly requireBearer: RequireBearer
  readonly publicUrl: string
}

// A body that is shown, every character of it escaped.
const bodyBytesMax = 64 * 1024
// Made anew: only what is made after the library extended zod can be named in the contract.
const approvalDetail = detailSchema.clone().openapi('ApprovalDetail')
const approvalBody = approvalSchema.clone().openapi('Approval')
/** Seconds between two looks of a client that does not wait. */
const interval = 5

const input = approvalInput
  .extend({ authorization_details: z.array(approvalDetail).length(1) })
  .openapi('ApprovalInput')
const approvalAskedSchema = approvalAsked.clone().openapi('ApprovalAsked')
const answerInput = approvalAnswerInput.clone().openapi('ApprovalAnswerInput')
const params = z.strictObject({ id })
const prefer = z.object({
  prefer: z
    .string()
    .optional()
    .openapi({ description: '`wait=N` (RFC 7240): up to 30 seconds.', example: 'wait=30' }),
})

/**
 * The agents' side of `/approvals`: ask, look or wait, answer the person's question. What is not the caller's
 * own, under the same client, person and delegation, is the 404 of what does not exist. No route here decides
 * anything.
 */
export function approvalRoutes({ approvals, resolve, requireBearer, publicUrl }: ApprovalRoutesDeps): App {
  const routes = createRouter()
  const agents = requireBearer({ kinds: ['agent'], scopes: ['approvals.request'] })

  const askRoute = bearerRoute('post', '/approvals', {
    summary: 'Ask the person for more than was lent',
    description:
      'An equal question that is open is answered with, whoever of the agent’s instances asked it.',
    middleware: [agents, ...jsonBody(bodyBytesMax)],
    request: { body: bodyOf(input) },
    responses: { 201: json('Asked', approvalAskedSchema), ...problems(409) },
  })
  routes.openapi(askRoute, async (c) => {
    const { authorization_details: details, resource, purpose, requested_expiry } = c.req.valid('json')
    if (resource !== undefined && resource !== publicUrl)
      throw invalid('resource', `What can be asked for here is for ${publicUrl}.`)
    const [detail] = details
    if (detail === undefined) throw invalid('authorization_details', 'Exactly one is needed.')
    const principal = c.get('principal')
    const approval = await approvals.ask(requesterOf(principal), await resolve(principal, detail), {
      purpose,
      seconds: requested_expiry,
      front: 'rest',
    })
    c.header('location', `/approvals/${approval.id}`)
    const { id, state, expiresAt } = approval
    if (state === 'approved' || state === 'expired') throw new AppError('conflict')
    return c.json({ id, state, expires_at: expiresAt.toISOString(), interval }, 201)
  })

  const lookRoute = createRoute({
    method: 'get',
    path: '/approvals/{id}',
    summary: 'How a question to the person stands; with `Prefer: wait`, once that changes',
    description:
      'With an `Authorization` header the agent’s side. Without one the person’s own, in their browser: what exactly is asked, as JSON with `X-CSRF-Token`, or as a page.',
    security: [...bearer, ...session],
    middleware: [agents],
    request: { params, headers: prefer },
    responses: {
      200: json('How it stands. `Retry-After` while it is not over', z.union([approvalBody, oneSchema])),
      ...problems(404),
    },
  })
  routes.openapi(lookRoute, async (c) => {
    const asker = requesterOf(c.get('principal'))
    const { id } = c.req.valid('param')
    const ms = preferredWait(c.req.header('prefer')) ?? 0
    if (ms > 0) c.header('preference-applied', `wait=${ms / 1_000}`)
    const found = ms > 0 ? await approvals.wait(asker, id, waiting(c, ms)) : await approvals.of(asker, id)
    return c.json(respond(c, found), 200)
  })

  const answerRoute = bearerRoute('post', '/approvals/{id}/answers', {
    summary: 'Answer what the person asked back',
    description: 'Shown to them as the agent’s own words. The first answer gives them as long again.',
    middleware: [agents, ...jsonBody(bodyBytesMax)],
    request: { params, body: bodyOf(answerInput) },
    responses: { 200: json('How it stands now', approvalBody), ...problems(404, 409) },
  })
  routes.openapi(answerRoute, async (c) => {
    const { id } = c.req.valid('param')
    const answered = await approvals.answer(requesterOf(c.get('principal')), id, c.req.valid('json').text)
    return c.json(respond(c, answered), 200)
  })

  return routes
}

/**
 * Ends with the wait, and when the client goes away. The request's own deadline is for what has to be worked
 * for.
 */
const waiting = (c: AppContext, ms: number): AbortSignal =>
  AbortSignal.any([AbortSignal.timeout(ms), c.req.raw.signal])

function respond(c: AppContext, approval: Approval | undefined): z.output<typeof approvalBody> {
  if (approval === undefined) throw new AppError('not_found')
  if (approval.state === 'pending' || approval.state === 'info_requested')
    c.header('retry-after', String(interval))
  return approvalToWire(approval)
}
