import type { LdapEntry } from './connection.ts'
import { textOf } from './names.ts'
import type { LdapSettings } from './settings.ts'

/** The one value of an attribute as text; undefined: there is none, or more than one, or it is no text. */
export function oneText(entry: LdapEntry, attribute: string): string | undefined {
  const [value, ...more] = valuesOf(entry, attribute)
  if (value === undefined || more.length > 0) return undefined
  return attribute.toLowerCase() === 'objectguid' ? guidOf(value) : textOf(value) || undefined
}

/** Every value of an attribute that is text. */
export const textsOf = (entry: LdapEntry, attribute: string): readonly string[] =>
  valuesOf(entry, attribute).flatMap((value) => textOf(value) || [])

/** The immutable id of an entry; undefined: it has none that can be read. */
export const idOf = (entry: LdapEntry, attribute: string): string | undefined =>
  oneText(entry, attribute)?.toLowerCase()

const valuesOf = ({ attributes }: LdapEntry, attribute: string): readonly Buffer[] =>
  attributes.get(attribute.toLowerCase()) ?? []

/** As Active Directory writes it: the first three parts are little-endian (MS-DTYP 2.3.4.2). */
function guidOf(bytes: Buffer): string | undefined {
  if (bytes.length !== 16) return undefined
  const hex = (part: Buffer): string => part.toString('hex')
  const swapped = (from: number, to: number): string => hex(Buffer.from(bytes.subarray(from, to)).reverse())
  return `${swapped(0, 4)}-${swapped(4, 6)}-${swapped(6, 8)}-${hex(bytes.subarray(8, 10))}-${hex(bytes.subarray(10))}`
}

// ACCOUNTDISABLE (MS-ADTS 2.2.16).
const accountDisabled = 2
// Locked by an administrator until an administrator unlocks it. Any other time is that of wrong passwords
// (draft-behera-ldap-password-policy §5.3.3): nobody's rights end by what a stranger typed.
const lockedForGood = '000001010000Z'

/** Whether an account may be used, as the registered attribute says; undefined: it does not say. */
export function isActive(entry: LdapEntry, rule: LdapSettings['people']['active']): boolean | undefined {
  if (rule === 'always') return true
  if (rule === 'userAccountControl') {
    const flags = oneText(entry, rule)
    return flags !== undefined && /^-?\d{1,10}$/.test(flags)
      ? (Number(flags) & accountDisabled) === 0
      : undefined
  }
  const values = valuesOf(entry, rule).map((value) => textOf(value))
  if (rule === 'pwdAccountLockedTime') return !values.includes(lockedForGood)
  if (values.length === 0) return true
  const [word] = values
  return values.length === 1 && /^(true|false)$/i.test(word ?? '')
    ? word?.toLowerCase() === 'false'
    : undefined
}

/** The attributes that name the members of a group. */
export const memberAttributes = ['member', 'uniqueMember', 'memberUid'] as const

/** Values of one attribute of members, and where the next of them begin; undefined: those were all. */
export interface MemberPage {
  readonly values: readonly string[]
  readonly next: number | undefined
  /** The server said that a range of it is the last one. */
  readonly isWhole: boolean
}

/** What an entry says of its members by one attribute, all or a range of it (MS-ADTS 3.1.1.3.1.3.3). */
export function membersIn(entry: LdapEntry, attribute: string): MemberPage {
  const prefix = `${attribute.toLowerCase()};range=`
  const values: string[] = []
  let next: number | undefined
  let isWhole = false
  for (const [name, given] of entry.attributes) {
    const range = name.startsWith(prefix) ? name.slice(prefix.length) : undefined
    if (range === undefined && name !== attribute.toLowerCase()) continue
    for (const value of given) values.push(textOf(value) ?? '')
    const [, end] = range === undefined ? [] : (/^\d+-(\d+|\*)$/.exec(range) ?? [])
    if (range !== undefined && end === undefined) throw new Error('The server names a range that is none.')
    if (end === '*') isWhole = true
    else if (end !== undefined) next = Number(end) + 1
  }
  return { values, next, isWhole }
}
