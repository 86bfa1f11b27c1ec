import type { Client } from '../registry/clients.ts'
import { isOurs, type ResourceEntry } from '../registry/resources.ts'
import type { ExaminedToken } from '../tokens/verify.ts'

/** The API that a token is for, before it is exchanged. */
export interface TokenOrigin {
  readonly resource: string
  readonly isOurs: boolean
}

/** What another issuer's token is shown with here, it was issued for us or for an agent of ours. */
export const originOf = (
  { audience, issuer }: Pick<ExaminedToken, 'audience' | 'issuer'>,
  publicUrl: string,
): TokenOrigin => ({ resource: audience, isOurs: issuer.kind === 'external' || isOurs(audience, publicUrl) })

/**
 * Whether a token for one API may be exchanged by this client for one to another. Scopes and details mean
 * what their API says, so that between two of them nothing passes by default: into another's API only where
 * its row names the client in `allowed_clients`; out of another's API never into ours. NOT asked here: who
 * may show the token at all (`owns`), and what of it passes.
 */
export function mayCross(
  origin: TokenOrigin,
  target: ResourceEntry,
  { client, publicUrl }: { readonly client: Client; readonly publicUrl: string },
): boolean {
  if (origin.resource === target.resource) return true
  if (!isOurs(target.resource, publicUrl)) return target.allowedClients?.includes(client.clientId) ?? false
  return origin.isOurs
}

/**
 * Those scopes of a token for one API that count at another. Ours mean the same at ours; any other is a word
 * of its API, so that it passes only where the other's row says as what.
 */
export function scopesCrossing(
  origin: TokenOrigin,
  target: ResourceEntry,
  { held: tokenScopes, publicUrl }: { readonly held: readonly string[]; readonly publicUrl: string },
): readonly string[] {
  if (origin.resource === target.resource || (origin.isOurs && isOurs(target.resource, publicUrl)))
    return tokenScopes
  const as = new Map(Object.entries(new Map(Object.entries(target.accepts)).get(origin.resource) ?? {}))
  return tokenScopes.flatMap((scope) => as.get(scope) ?? [])
}
