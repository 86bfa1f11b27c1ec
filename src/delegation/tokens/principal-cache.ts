import { createLru } from '../../kernel/lru.ts'
import type { RevocationFeed } from '../revocation/revocation-feed.ts'

/** Yes-answers that may be said again while nothing that they rest on has changed. */
export interface PrincipalCache<T> {
  /**
   * Undefined also while this process is not sure of the last change. Not checked: ends, and the deny-list.
   */
  get(key: string): T | undefined
  put(key: string, value: T, basis: CacheBasis): void
}

/** What a cached entry rests on. */
export interface CacheBasis {
  /** Number of the last change when it was judged. */
  readonly version: number
  /** The delegation that it rests on, whose changes end it; those of agents, clients and services end all. */
  readonly delegation: string | undefined
}

/** At most `max`; the one that was not asked for longest makes room. */
export function createPrincipalCache<T>({
  authority,
  max,
}: {
  readonly authority: RevocationFeed
  readonly max: number
}): PrincipalCache<T> {
  const entries = createLru<{ readonly value: T; readonly delegation: string | undefined }>({
    entriesMax: max,
  })

  authority.onChange(({ kind, key }) => {
    if (kind === 'registry' || kind === 'all') entries.clear()
    if (kind !== 'delegation') return
    for (const [name, { delegation }] of entries.entries()) if (delegation === key) entries.delete(name)
  })

  return {
    get(key) {
      return authority.current === undefined ? undefined : entries.get(key)?.value
    },
    put(key, value, { version, delegation }) {
      // Judged before or after what is known here: a change between the two may have passed it by.
      if (authority.current !== version) return
      entries.set(key, { value, delegation })
    },
  }
}
