import type { Reason } from '@remit/engine'

/**
 * What keeps a person from reading, in sentences: where they are blocked and by whom they are meant, and
 * which gate of a zone does not hold them. Of the reasons of a denial; empty where it only lacks a tuple that
 * lets them.
 */
export function whatKeepsOut(reason: Reason, user: string): readonly string[] {
  const found = new Set<string>()
  collect(reason, user, found)
  return [...found]
}

function collect(reason: Reason, user: string, found: Set<string>): void {
  if (reason.kind === 'tuple' && reason.holds === 'yes' && reason.tuple.relation === 'blocked') {
    const named = reason.tuple.user
    found.add(`Blocked at ${reason.tuple.object}${named === user ? '' : `, for ${named}`}.`)
  }
  if (reason.kind === 'relation' && reason.holds === 'no') {
    const gate = /^gate_(\d)$/.exec(reason.relation)?.[1]
    if (gate !== undefined) found.add(`Gate ${gate} of ${reason.object} does not hold them.`)
    if (reason.relation === 'audience') found.add(`They are not in the audience of ${reason.object}.`)
  }
  if ('because' in reason) for (const inner of reason.because) collect(inner, user, found)
}
