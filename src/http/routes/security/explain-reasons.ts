import { z } from '@hono/zod-openapi'
import type { ExplainAnswer } from '../../../authz/explain/explain.ts'

type Reason = NonNullable<ExplainAnswer['explanation']>['reason']

const holds = z.enum(['yes', 'no', 'cycle', 'error'])

const condition = z.strictObject({
  name: z.string(),
  expression: z.string(),
  parameters: z.record(z.string(), z.unknown()),
  holds,
  until: z.string().optional().openapi({ description: 'When it ends, or ended.' }),
  error: z.string().optional(),
})

const members = {
  kind: z.enum(['relation', 'rule', 'not', 'tuple', 'missing', 'self', 'cycle', 'depth', 'seen', 'cut']),
  holds,
  relation: z.string().optional(),
  object: z.string().optional(),
  rule: z.string().optional(),
  tuple: z.strictObject({ user: z.string(), relation: z.string(), object: z.string() }).optional(),
  source: z.enum(['stored', 'request']).optional(),
  written_at: z.string().optional(),
  condition: condition.optional(),
  users: z.array(z.string()).optional().openapi({ description: 'Whose tuple would have been needed.' }),
  count: z.int().optional(),
}

type WireReason = z.output<z.ZodObject<typeof members, z.core.$strict>> & { because: WireReason[] }

/** One step of the tree. `because` holds the path that grants, or every branch that could have. */
export const reasonSchema: z.ZodType<WireReason> = z
  .lazy(() => z.strictObject({ ...members, because: z.array(reasonSchema) }))
  .openapi('Reason')

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
