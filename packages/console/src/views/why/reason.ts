import type { Replica } from '@remit/contract/explain'
import type { NotHere } from '../../parts/never-here.tsx'

/** One step of the tree, as `POST /explain` gives it. */
export interface Reason {
  readonly kind: string
  readonly holds: 'yes' | 'no' | 'cycle' | 'error'
  readonly relation?: string
  readonly object?: string
  readonly rule?: string
  readonly tuple?: { readonly user: string; readonly relation: string; readonly object: string }
  readonly source?: 'stored' | 'request'
  readonly written_at?: string
  readonly condition?: {
    readonly name: string
    readonly expression: string
    readonly holds: string
    readonly until?: string
    readonly error?: string
  }
  readonly users?: readonly string[]
  readonly count?: number
  readonly because: readonly Reason[]
}

/** Outcome of a check; `error` is none that could be had. */
export type Verdict = 'allowed' | 'denied' | 'error'

/** `POST /explain` answers so. */
/** `never_here`: not of an older service. */
export interface Explained extends Partial<NotHere> {
  readonly decision: Verdict
  readonly explained: Verdict | null
  readonly agrees: boolean | null
  readonly in_words: string
  readonly sides?: Readonly<Record<'person' | 'delegation' | 'scope' | 'sensitive' | 'approval', Verdict>>
  readonly registry?: { readonly in_words: string; readonly allows: boolean }
  readonly reason: Reason | null
  readonly cut: number
  readonly error?: string
  readonly at: string
  readonly replica: Replica
  readonly authorization_model_id: string
  readonly txn: string
}

/** What stands at a step that is no tuple. */
export function saidOf({ kind, holds, relation = '', object = '', rule = '', count = 0 }: Reason): string {
  switch (kind) {
    case 'not':
      return holds === 'yes' ? `not excluded by: ${rule}` : `excluded by: ${rule}`
    case 'rule':
      return rule
    case 'self':
      return 'it is the subject itself'
    case 'cycle':
      return `${relation} of ${object}: goes round in a circle`
    case 'depth':
      return `${relation} of ${object}: too deep, not looked at`
    case 'seen':
      return `${relation} of ${object}: as shown elsewhere`
    case 'missing':
      return `${relation} of ${object}: the model knows no way to it`
    case 'cut':
      return `${count} more`
    default:
      return `${relation} of ${object}`
  }
}
