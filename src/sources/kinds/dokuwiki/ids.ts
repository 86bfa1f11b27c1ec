import { createHash } from 'node:crypto'
import { isId } from '@remit/contract/is-id'

/** Forty-three characters that ids take. */
export const digestOf = (text: string): string => createHash('sha256').update(text).digest('base64url')

/**
 * The id in Remit of what the wiki calls `hr:plan`: `hr/plan` behind a prefix. What ids do not take is
 * percent-encoded (RFC 3986, UTF-8). A name that would be too long has its digest, behind a `+` that no other
 * has.
 */
export function idOf(prefix: string, name: string, lengthMax = 200): string {
  const id = `${prefix}${name.replace(/[^A-Za-z0-9._@=:-]/gu, percent).replaceAll(':', '/')}`
  return isId(id) && id.length <= lengthMax ? id : `${prefix}+${digestOf(name)}`
}

const percent = (character: string): string =>
  Buffer.from(character).toString('hex').toUpperCase().replace(/../g, '%$&')
