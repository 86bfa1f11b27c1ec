import { z } from '@hono/zod-openapi'
import { reasonStep } from '@remit/contract/explain'
import type { ExplainAnswer } from '../../../authz/explain/explain.ts'

type Reason = NonNullable<ExplainAnswer['explanation']>['reason']

type WireReason = z.output<typeof reasonStep> & { because: WireReason[] }

/** One step of the tree. `because` holds the path that grants, or every branch that could have. */
export const reasonSchema: z.ZodType<WireReason> = z
  .lazy(() => reasonStep.extend({ because: z.array(reasonSchema) }))
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
