import { type Fetch, fetchJson } from './fetch-json.ts'
import { isObject } from './json.ts'

/**
 * What `read` takes of the metadata of an issuer (RFC 8414), at either of its two addresses; undefined where
 * it cannot be had.
 */
export async function readIssuerDocument<T>(
  issuer: string,
  fetch: Fetch,
  read: (document: Readonly<Record<string, unknown>>) => T | undefined,
): Promise<T | undefined> {
  const { origin, path } = partsOf(issuer)
  for (const address of [
    `${origin}/.well-known/oauth-authorization-server${path}`,
    `${origin}${path}/.well-known/openid-configuration`,
  ]) {
    const document = await fetchJson(fetch, address)
    // A document that names another issuer is not this one's (RFC 8414 §3.3).
    if (!isObject(document) || document['issuer'] !== issuer) continue
    const found = read(document)
    if (found !== undefined) return found
  }
  return undefined
}

/** Origin and path of an address, without a slash at its end. */
export function partsOf(address: string): { readonly origin: string; readonly path: string } {
  const url = new URL(address)
  return { origin: url.origin, path: url.pathname === '/' ? '' : url.pathname.replace(/\/$/, '') }
}
