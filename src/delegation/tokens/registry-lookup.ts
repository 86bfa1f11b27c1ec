import type { Sql } from '../../store/sql.ts'
import { denyKey, type RevocationFeed } from '../revocation/revocation-feed.ts'
import { revocationKey } from '../revocation/revocations.ts'
import { createPrincipalCache } from './principal-cache.ts'
import { type RegistryEntries, type RegistryQuery, readRegistries } from './registry-query.ts'

/** What the registries say about a token, and what has to be on no list for it to count. */
export interface TokenRegistration extends RegistryEntries {
  /** Keys of the deny-list: the token, its grant, its subject, every agent of its chain. */
  readonly deniable: readonly string[]
}

/** Throws `storage_unavailable` where the database cannot be asked. */
export type RegistryLookup = (question: RegistryQuery) => Promise<TokenRegistration>

// Combinations of client, chain and delegation, of perhaps a kilobyte each.
const heldMax = 10_000

/**
 * Looks tokens up, at most once for each client, chain and delegation while nothing about them changes. What
 * is held is checked against the list in memory; while that may be old, the database is asked.
 */
export function createRegistryLookup({
  sql,
  authority,
}: {
  readonly sql: Sql
  readonly authority: RevocationFeed
}): RegistryLookup {
  const cache = createPrincipalCache<RegistryEntries>(authority, heldMax)
  return async (question) => {
    const { revocable, now, ...cacheableQuery } = question
    const key = JSON.stringify(cacheableQuery)
    const registered = cache.get(key)
    if (registered !== undefined) {
      const deniable = deniableOf(question, registered)
      // It stands as of the last change: what was said of it then is said of it now.
      const { current: version = registered.version } = authority
      return { ...registered, revoked: authority.isDenied(deniable, now), version, deniable }
    }
    const found = await readRegistries(sql, question)
    if (!awaitsDelegation(question, found)) cache.put(key, found, found.version, found.delegation?.id)
    return { ...found, deniable: deniableOf(question, found) }
  }
}

/** A delegation goes live without a word to anybody: that there is none is not held. */
const awaitsDelegation = (
  { chain, delegation, standingOf }: RegistryQuery,
  found: RegistryEntries,
): boolean =>
  chain.length > 0 &&
  (delegation !== undefined || standingOf !== undefined) &&
  found.delegation?.isLive !== true

function deniableOf({ revocable }: RegistryQuery, { agents, service, linked }: RegistryEntries): string[] {
  return [
    ...revocable.map((target) => denyKey(target.kind, revocationKey(target))),
    ...agents.flatMap((agent) => (agent === undefined ? [] : [denyKey('agent', agent.id)])),
    ...(service === undefined ? [] : [denyKey('subject', `service:${service}`)]),
    ...(linked === undefined ? [] : [denyKey('subject', `user:${linked}`)]),
  ]
}
