import { z } from '@hono/zod-openapi'
import { explainAnswer, type neverHere, reasonStep } from '@remit/contract/explain'
import { instant } from '@remit/contract/instant'
import { text } from '@remit/contract/text'
import type { ExplainAnswer, Explainer } from '../../../authz/explain/explain.ts'
import type { ExplainQuestion } from '../../../authz/explain/input.ts'
import type { FgaObject } from '../../../kernel/ids.ts'
import { type App, createRouter, reply } from '../../env.ts'
import { bearerRoute, bodyOf, id, json, problems } from '../../schemas.ts'
import { type Asking, neverHereToWire, replicaToWire } from '../reading.ts'

export interface ExplainRouteDeps extends Asking {
  readonly explain: Explainer
}

type Reason = NonNullable<ExplainAnswer['explanation']>['reason']

type WireReason = z.output<typeof reasonStep> & { because: WireReason[] }

/** One step of the tree. `because` holds the path that grants, or every branch that could have. */
const reasonSchema: z.ZodType<WireReason> = z
  .lazy(() => reasonStep.extend({ because: z.array(reasonSchema) }))
  .openapi('Reason')

const body = z
  .strictObject({
    user: text(1, 600).openapi({ example: 'user:anne' }),
    agent: id.optional().openapi({ example: 'research-bot' }),
    delegation: id.optional(),
    grants: z.array(id).min(1).max(20).optional(),
    relation: text(1, 60).openapi({ example: 'can_read' }),
    object: text(1, 300).openapi({ example: 'document:handbook/travel.md' }),
    at: instant.optional().openapi({ description: 'The clock for conditions. The tuples are today’s.' }),
  })
  .openapi('ExplainRequest')

const answer = explainAnswer.extend({ reason: reasonSchema.nullable() }).openapi('ExplainAnswer')

type OwnPart = Omit<z.output<typeof answer>, keyof typeof neverHere | 'txn'>

/** `POST /explain`: why a user has a relation, or has not; for administrators, and on record. */
export function explainRoutes(dependencies: ExplainRouteDeps): App {
  const route = bearerRoute('post', '/explain', {
    summary: 'Why a user has a relation to an object, or has not',
    middleware: [...dependencies.asReader],
    request: { body: bodyOf(body) },
    responses: { 200: json('The decision and why', answer), ...problems() },
  })
  return createRouter().openapi(route, async (c) => {
    const principal = c.get('principal')
    await dependencies.assertReader(principal)
    const { signal } = c.get('deadline')
    const question = c.req.valid('json')
    const explained = await dependencies.explain(principal, toQuestion(question), { signal })
    const { user, agent, object } = question
    const notHere = await dependencies.neverHere([
      // Whom a group holds counts as the group.
      ...(user.endsWith(':*') ? [] : [user.replace(/#.*$/s, '')]),
      ...(agent === undefined ? [] : [`agent:${agent}`]),
      object,
    ])
    return reply(c, { ...toWire(explained), ...neverHereToWire(notHere) })
  })
}

function toQuestion({
  at: clockTime,
  object,
  agent,
  delegation,
  grants,
  ...fields
}: z.output<typeof body>): ExplainQuestion {
  return {
    ...fields,
    // Its form is checked with the question.
    object: object as FgaObject,
    ...(agent !== undefined && { agent }),
    ...(delegation !== undefined && { delegation }),
    ...(grants !== undefined && { grants }),
    ...(clockTime !== undefined && { at: Date.parse(clockTime) }),
  }
}

function toWire({
  decision,
  explanation,
  agrees,
  replica,
  sides: parties,
  registry,
  closed,
  inWords,
  at: clockTime,
  modelId,
}: ExplainAnswer): OwnPart {
  const { allowed, error, reason, cut } = explanation ?? {}
  return {
    decision,
    explained: error !== undefined ? 'error' : allowed === undefined ? null : allowed ? 'allowed' : 'denied',
    agrees: agrees ?? null,
    in_words: inWords,
    ...(parties !== undefined && { sides: parties }),
    ...(registry !== undefined && {
      registry: {
        collections: registry.collections === undefined ? null : [...registry.collections],
        allows: registry.allows,
        in_words: registry.inWords,
      },
    }),
    ...(closed !== undefined && { closed }),
    reason: reason === undefined ? null : reasonToWire(reason),
    cut: cut ?? 0,
    ...(error !== undefined && { error }),
    at: new Date(clockTime).toISOString(),
    tuples: 'current',
    replica: replicaToWire(replica),
    authorization_model_id: modelId,
  }
}

/** One node of an explanation as JSON, with those below it. */
export function reasonToWire(reason: Reason): WireReason {
  const { kind, holds: outcome } = reason
  const because = 'because' in reason ? reason.because.map(reasonToWire) : []
  switch (reason.kind) {
    case 'tuple':
      return { kind, holds: outcome, ...stepToWire(reason), because }
    case 'missing':
      return {
        kind,
        holds: outcome,
        relation: reason.relation,
        object: reason.object,
        users: [...reason.users],
        because,
      }
    case 'rule':
    case 'not':
      return { kind, holds: outcome, rule: reason.rule, because }
    case 'cut':
      return { kind, holds: outcome, count: reason.count, because }
    case 'self':
      return { kind, holds: outcome, because }
    default:
      return { kind, holds: outcome, relation: reason.relation, object: reason.object, because }
  }
}

function stepToWire({ tuple, contextual, writtenAt, condition: state }: Reason & { readonly kind: 'tuple' }) {
  const expiry = state?.parameters['expires_at']
  return {
    tuple: { user: tuple.user, relation: tuple.relation, object: tuple.object },
    source: contextual ? ('request' as const) : ('stored' as const),
    ...(writtenAt !== undefined && { written_at: new Date(writtenAt).toISOString() }),
    ...(state !== undefined && {
      condition: {
        name: state.name,
        expression: state.expression.trim(),
        parameters: { ...state.parameters },
        holds: state.holds,
        ...(typeof expiry === 'string' && { until: expiry }),
        ...(state.error !== undefined && { error: state.error }),
      },
    }),
  }
}
