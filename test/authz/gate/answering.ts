import type { Check, Fga, Verdict } from '../../../src/authz/fga.ts'
import { type GateParts, gateOf } from '../parts.ts'

/** One check that was sent. */
export interface AskedCheck {
  readonly relation: string
  readonly id: string
  /** The delegation and the grants that came with it. */
  readonly presented: readonly string[]
  readonly consistency: string | undefined
  readonly signal: AbortSignal | undefined
}

/** What OpenFGA says of one check. */
export type Saying = (relation: string, id: string, presented: readonly string[]) => Verdict | 'too deep'

/** A gate before an OpenFGA that says what a test wants. `calls`: what it was asked, call by call. */
export function answering(answer: Saying, { index }: Pick<GateParts, 'index'> = {}) {
  const calls: AskedCheck[][] = []
  const fga = {
    storeId: '01ARZ3NDEKTSV4RRFFQ69G5FAV',
    modelId: 'model-1',
    async batchCheck(checks: readonly Check[], options: Parameters<Fga['batchCheck']>[1]) {
      const asked = checks.map(({ relation, object, contextual = [] }) => ({
        relation,
        id: object.slice('document:'.length),
        presented: contextual.flatMap((tuple) => (tuple.relation === 'presented' ? [tuple.object] : [])),
        consistency: options.consistency,
        signal: options.signal,
      }))
      calls.push(asked)
      const answers = asked.map(({ relation, id, presented }) => answer(relation, id, presented))
      return {
        verdicts: answers.map((one): Verdict => (one === 'too deep' ? 'error' : one)),
        tooDeep: checks.filter((_, place) => answers[place] === 'too deep'),
        requestIds: [`r-${calls.length}`],
      }
    },
  } as unknown as Fga
  return { calls, gate: gateOf({ fga, now: () => 0, ...(index && { index }) }) }
}
