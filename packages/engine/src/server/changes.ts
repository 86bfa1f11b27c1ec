import { typeOf } from '../core/names.ts'
import type { ChangeQuery, ChangeRow } from './journal.ts'

/** The change log of one store, as far as memory holds it. */
export interface ChangeLog {
  append(changes: readonly ChangeRow[]): void
  /** Undefined when the answer begins before what memory holds: ask the journal. */
  read(query: ChangeQuery): readonly ChangeRow[] | undefined
}

/** `keep` = how many changes stay at least; twice as many may, so that dropping is rare. */
export function createChangeLog(rows: readonly ChangeRow[], keep: number, isComplete: boolean): ChangeLog {
  let log = [...rows].sort((a, b) => (a.ulid < b.ulid ? -1 : 1))
  let hasEverything = isComplete
  return {
    append(changes) {
      log.push(...changes)
      if (log.length <= keep * 2) return
      log = log.slice(-keep)
      hasEverything = false
    },
    read({ after: afterUlid, type, limit }) {
      if (!hasEverything && afterUlid < (log[0]?.ulid ?? '~')) return undefined
      const found: ChangeRow[] = []
      for (let i = firstAfter(log, afterUlid); i < log.length && found.length < limit; i++) {
        const change = log[i]
        if (change !== undefined && (type === undefined || typeOf(change.key.object) === type))
          found.push(change)
      }
      return found
    },
  }
}

function firstAfter(log: readonly ChangeRow[], ulid: string): number {
  let low = 0
  let high = log.length
  while (low < high) {
    const middle = (low + high) >> 1
    if ((log[middle]?.ulid ?? '') > ulid) high = middle
    else low = middle + 1
  }
  return low
}
