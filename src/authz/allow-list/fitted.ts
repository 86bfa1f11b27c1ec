import type { Model } from '@remit/engine'
import { type Problem, problemsOf } from './problems.ts'
import { readAllowList, withoutRows } from './read.ts'

/** An allow-list without what another model lacks: who could write that can no longer. */
export interface Fitted {
  readonly text: string
  readonly dropped: readonly Problem[]
}

/** Keeps of a list what still fits. What may not be written whatever the file says stays in it, to be refused. Throws AllowListError. */
export function fitted(text: string, model: Model): Fitted {
  const dropped = problemsOf(readAllowList(text), model).filter(({ kind }) => kind === 'unknown')
  if (dropped.length === 0) return { text, dropped }
  const removals = dropped.map(({ row: { key }, subject }) => ({
    key,
    ...(subject !== undefined && { subject }),
  }))
  return { text: withoutRows(text, removals), dropped }
}
