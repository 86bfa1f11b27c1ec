import { expect, test } from 'vitest'
import {
  isUserVerified,
  isVerifiedNow,
  verificationMs,
} from '../../src/delegation/people/user-verification.ts'

test.each<[string, readonly string[]]>([
  ['several factors, by the provider’s own word', ['pwd', 'mfa']],
  ['a finger', ['fpt']],
  ['a face', ['face', 'user']],
  ['a key with presence', ['hwk', 'user']],
  ['a key with a PIN', ['swk', 'pin']],
  ['a password and a one-time code', ['pwd', 'otp']],
])('%s verifies', (_, amr) => {
  expect(isUserVerified(amr)).toBe(true)
})

test.each<[string, readonly string[]]>([
  ['nothing said', []],
  ['a password', ['pwd']],
  ['a PIN', ['pin']],
  ['a one-time code alone', ['otp']],
  ['a key that nobody touched', ['hwk']],
  ['a text message', ['pwd', 'sms']],
  ['a call', ['tel']],
  ['presence alone', ['user']],
  ['a one-time code that somebody was there for', ['otp', 'user']],
  ['Windows’ own sign-in', ['wia']],
  ['more than one channel', ['mca', 'pwd']],
  ['the risk that somebody saw', ['rba', 'geo']],
  ['questions', ['kba']],
  ['a word of the provider’s own', ['urn:example:very-secure']],
])('%s does not', (_, amr) => {
  expect(isUserVerified(amr)).toBe(false)
})

test('a verification counts for five minutes, and none does not', () => {
  const verifiedAt = new Date(1_000_000)
  expect(isVerifiedNow({ verifiedAt }, 1_000_000 + verificationMs)).toBe(true)
  expect(isVerifiedNow({ verifiedAt }, 1_000_000 + verificationMs + 1)).toBe(false)
  expect(isVerifiedNow({}, 1_000_000)).toBe(false)
})

test('a verification that is to come, since the clock was set back, does not count', () => {
  const verifiedAt = new Date(100_000_000)
  expect(isVerifiedNow({ verifiedAt }, 100_000_000 - 3_600_000)).toBe(false)
})
