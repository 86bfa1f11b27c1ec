import type { Reason } from '@remit/contract/explain'

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
