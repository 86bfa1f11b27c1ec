import { createHash } from 'node:crypto'
import type { FgaObject } from '../../kernel/ids.ts'

const keyBytesMax = 120
const digestForm = /^h\.[A-Za-z0-9_-]{43}$/
const escapedKey = /^(?:[A-Za-z0-9._@+=-]|%[0-9A-F]{2})+$/

/**
 * The subject key of an external issuer's `sub`: every byte outside `[A-Za-z0-9._@+=-]` as `%XX`; over 120
 * bytes, `h.` + base64url(sha256). A `sub` that is itself written like such a digest is digested too, so that
 * nobody can register as somebody else's digest. Undefined for what has no faithful bytes (lone surrogates
 * would all become one) or is empty.
 */
export function subjectKey(sub: string): string | undefined {
  if (sub === '' || !sub.isWellFormed()) return undefined
  const escaped = Array.from(Buffer.from(sub, 'utf8'), escapeByte).join('')
  if (escaped.length <= keyBytesMax && !digestForm.test(escaped)) return escaped
  return `h.${createHash('sha256').update(sub, 'utf8').digest('base64url')}`
}

/** The `sub` of which this is the key; undefined: it was too long, and its key is a digest. */
export function subjectOf(key: string): string | undefined {
  if (digestForm.test(key)) return undefined
  const bytes = key.replace(
    /%([0-9A-F]{2})|[^%]/g,
    (character, hex?: string) => hex ?? character.charCodeAt(0).toString(16),
  )
  return Buffer.from(bytes, 'hex').toString('utf8')
}

/**
 * Who an account at a trusted issuer is here, as an account key: the local person that it is linked to
 * (`linked`), or `namespace/key`, the same by whichever door they come. The one rule for tokens, exchange and
 * sign-in. Undefined for a `sub` that is no person's key.
 */
export function accountKey(namespace: string, sub: string, linked: string | undefined): string | undefined {
  const key = subjectKey(sub)
  return key === undefined ? undefined : (linked ?? `${namespace}/${key}`)
}

/**
 * The user of our own issuer's `sub`, which is the subject key as it stands: `key` for local accounts,
 * `namespace/key` for people of a trusted issuer, whose namespace must be one of `namespaces`.
 */
export function ownUser(sub: string, namespaces: ReadonlySet<string>): FgaObject | undefined {
  const slash = sub.indexOf('/')
  if (slash === -1) return isKey(sub) ? `user:${sub}` : undefined
  const namespace = sub.slice(0, slash)
  if (!namespaces.has(namespace) || !isKey(sub.slice(slash + 1))) return undefined
  return `user:${sub}`
}

/** A key that stands after `user:` as it is. */
export const isKey = (key: string): boolean =>
  key.length <= keyBytesMax && escapedKey.test(key) && key !== '.' && key !== '..'

const safeBytes = new Set(Buffer.from('ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz0123456789._@+=-'))

const escapeByte = (byte: number): string =>
  safeBytes.has(byte) ? String.fromCharCode(byte) : `%${byte.toString(16).toUpperCase().padStart(2, '0')}`
