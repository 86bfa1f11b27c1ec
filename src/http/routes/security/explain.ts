import { z } from '@hono/zod-openapi'
import { explainAnswer, type neverHere } from '@remit/contract/explain'
import { instant } from '@remit/contract/instant'
import { text } from '@remit/contract/text'
import type { ExplainAnswer, Explainer } from '../../../authz/explain/explain.ts'
import type { ExplainQuestion } from '../../../authz/explain/input.ts'
import type { FgaObject } from '../../../kernel/ids.ts'
import { type App, createRouter, reply } from '../../env.ts'
import { bearerRoute, bodyOf, id, json, problems } from '../../schemas.ts'
import { type Asking, neverHereToWire, replicaToWire } from '../reading.ts'
import { reasonSchema, reasonToWire } from './explain-reasons.ts'

export interface ExplainRouteDeps extends Asking {
  readonly explain: Explainer
}

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
