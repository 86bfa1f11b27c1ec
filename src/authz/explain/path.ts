import type { Reason, Step } from '@remit/engine'

/**
 * How a subject gets what it has, in one line, from itself outwards: `member of group:eng, viewer of folder:plans,
 * parent of document:plan`. Where a rule has several sides, the first that rests on tuples.
 */
export function pathOf(reason: Reason): string | undefined {
  const steps = stepsOf(reason)
  if (steps === undefined || steps.length === 0) return undefined
  return steps
    .map(({ tuple, condition }) => `${tuple.relation} of ${tuple.object}${endOf(condition)}`)
    .toReversed()
    .join(', ')
}

/** Steps from the object down to the subject. */
function stepsOf(reason: Reason): readonly Step[] | undefined {
  if (reason.holds !== 'yes' || reason.kind === 'not') return undefined
  const children = 'because' in reason ? reason.because : []
  const below = children.map(stepsOf).find((steps) => steps !== undefined)
  if (reason.kind === 'tuple') return [reason, ...(below ?? [])]
  return below
}

function endOf(condition: Step['condition']): string {
  const expiry = condition?.parameters['expires_at']
  return typeof expiry === 'string' ? ` until ${expiry}` : ''
}
