/** An e-mail address that can be compared whole. */
export interface PlainAddress {
  /** In small letters. */
  readonly address: string
  readonly domain: string
}

const charactersMax = 254
const local = /^[a-z0-9.!#$%&'*+/=?^_`{|}~-]{1,64}$/
const labels = /^(?:[a-z0-9](?:[a-z0-9-]{0,61}[a-z0-9])?\.)+[a-z0-9](?:[a-z0-9-]{0,61}[a-z0-9])?$/

/** Whether it is a domain in small ASCII letters, with two labels at least and no dot at its end. */
export const isDomain = (text: string): boolean => text.length <= charactersMax && labels.test(text)

/**
 * An address of ASCII alone (RFC 5321 §4.1.2, without quotes and literals). Capitals are made small and
 * nothing else is folded: neither other scripts, nor what follows a `+`, nor a dot at the end. Undefined for
 * every other text. NOT checked: whether anybody has it.
 */
export function plainAddress(text: string): PlainAddress | undefined {
  // Before it is made small: a letter of another script may have an ASCII one as its small form.
  if (text.length > charactersMax || !/^[!-~]+$/.test(text)) return undefined
  const address = text.toLowerCase()
  const [name = '', domain = '', ...rest] = address.split('@')
  return rest.length === 0 && local.test(name) && isDomain(domain) ? { address, domain } : undefined
}
