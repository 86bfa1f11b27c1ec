import { createLru } from '../../kernel/lru.ts'
import type { RevocationFeed } from '../revocation/revocation-feed.ts'

/**
 * Yes-answers that may be said again while nothing that they rest on has changed. At most `max`; the one that
 * was not asked for longest makes room.
 */
export function createPrincipalCache<T>(authority: RevocationFeed, max: number) {
  const entries = createLru<{ readonly value: T; readonly delegation: string | undefined }>({
    entriesMax: max,
  })

  authority.onChange(({ kind, key }) => {
    if (kind === 'registry' || kind === 'all') entries.clear()
    if (kind !== 'delegation') return
    for (const [name, { delegation }] of entries.entries()) if (delegation === key) entries.delete(name)
  })

  return {
    /**
     * Undefined also while this process is not sure of the last change. Not checked: ends, and the deny-list.
     */
    get: (key: string): T | undefined =>
      authority.current === undefined ? undefined : entries.get(key)?.value,
    /**
     * `version`: number of the last change when it was judged. `delegation`: the one that it rests on, whose
     * changes end it; those of agents, clients and services end all.
     */
    put(key: string, value: T, version: number, delegation: string | undefined): void {
      // Judged before or after what is known here: a change between the two may have passed it by.
      if (authority.current === version) entries.set(key, { value, delegation })
    },
  }
}
