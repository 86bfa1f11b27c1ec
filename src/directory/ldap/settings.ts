import { FilterParser } from 'ldapts'
import { z } from 'zod'

/** Whether a filter can be read (RFC 4515). */
function isFilter(value: string): boolean {
  try {
    FilterParser.parseString(value)
    return value.startsWith('(')
  } catch {
    return false
  }
}

const attribute = z.string().regex(/^[A-Za-z][A-Za-z0-9-]{0,63}$/, 'must be the name of an attribute')
const filter = z
  .string()
  .max(4_000)
  .refine(isFilter, { message: 'must be a filter of RFC 4515, in brackets' })
const dn = z.string().min(1).max(1_000)

const loopbackHosts: ReadonlySet<string> = new Set(['127.0.0.1', '[::1]', 'localhost'])

/** Scheme, host and port, and nothing else. */
function isServer(value: string): boolean {
  const url = URL.parse(value)
  return (
    url !== null &&
    /^ldaps?:$/.test(url.protocol) &&
    url.host !== '' &&
    value === `${url.protocol}//${url.host}`
  )
}

/** Which attribute says that an account is disabled, and how. */
export const activeRules = ['userAccountControl', 'pwdAccountLockedTime', 'nsAccountLock', 'always'] as const

/** What one has to say of a directory by LDAP. */
export const ldapSettings = z
  .strictObject({
    url: z.string().refine(isServer, {
      message: 'must be ldaps://HOST or ldap://HOST, with a port or none and nothing behind it',
    }),
    start_tls: z.boolean().default(false),
    ca: z.string().startsWith('-----BEGIN CERTIFICATE-----').max(100_000).optional(),
    bind_dn: dn,
    page_size: z.int().min(1).max(10_000).default(500),
    people: z.strictObject({
      base: dn,
      filter,
      key: attribute,
      id: attribute,
      active: z.enum(activeRules),
      active_filter: filter.optional(),
    }),
    groups: z.strictObject({ base: dn, filter, id: attribute, name: attribute.default('cn') }),
    member_uid: attribute.default('uid'),
  })
  .check(({ value, issues }) => {
    const { url, start_tls: isUpgraded } = value
    const { protocol, hostname } = new URL(url)
    if (protocol === 'ldaps:' && isUpgraded)
      issues.push({ code: 'custom', input: value, path: ['start_tls'], message: 'is for ldap:// only' })
    if (protocol === 'ldap:' && !isUpgraded && !loopbackHosts.has(hostname))
      issues.push({
        code: 'custom',
        input: value,
        path: ['url'],
        message:
          'must be ldaps://, or have start_tls: a password and everybody’s groups would travel in the clear',
      })
  })

/** Settings that were read. */
export type LdapSettings = z.infer<typeof ldapSettings>
