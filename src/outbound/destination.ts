/** Where a request may go: judged as the parser of URLs reads it, which also makes the request. */
export interface Destination {
  readonly url: URL
  /** Name or address to resolve, without the brackets of IPv6. */
  readonly host: string
  /** Named in the settings: may be http, and may be ours. */
  readonly isAllowed: boolean
}

const lengthMax = 8_192

/**
 * Undefined: not to be asked. https only, but for an origin that the settings name exactly; no user or
 * password; at most 8192 characters. Spellings of one address (decimal, octal, hex, short, full-width) are
 * one here already: the URL standard has written them with dots. NOT checked: what a name resolves to.
 */
export function destinationOf(address: string, allowedOrigins: ReadonlySet<string>): Destination | undefined {
  const url = address.length > lengthMax ? null : URL.parse(address)
  if (url === null || url.hostname === '' || url.username !== '' || url.password !== '') return undefined
  const isAllowed = allowedOrigins.has(url.origin)
  if (url.protocol !== 'https:' && !(url.protocol === 'http:' && isAllowed)) return undefined
  return { url, host: url.hostname.replace(/^\[(.*)\]$/, '$1'), isAllowed }
}
