import { expect, test } from 'vitest'
import { nameKey } from '../../../src/directory/ldap/names.ts'

test.each([
  ['cn=Staff,dc=acme', 'CN = staff ; DC=Acme'],
  ['cn=Anne B,dc=acme', 'cn=  Anne \t B  ,dc=acme'],
  ['cn=a\\,b,dc=acme', 'cn=a\\2Cb,dc=acme'],
  ['cn=\\20a\\20,dc=acme', 'cn=\\ a\\ ,dc=acme'],
  ['cn=a+uid=1,dc=acme', 'uid=1+cn=a,dc=acme'],
  ['cn=,dc=acme', 'cn=   ,dc=acme'],
])('%j and %j are one name', (one, other) => {
  expect(nameKey(one)).toBeDefined()
  expect(nameKey(other)).toBe(nameKey(one))
})

test.each([
  ['cn=a,dc=acme', 'cn=a\\ ,dc=acme'],
  ['cn=a,cn=b', 'cn=b,cn=a'],
  ['cn=a\\,cn=b', 'cn=a,cn=b'],
  ['cn=a\\+uid=1', 'cn=a+uid=1'],
])('%j and %j are two names', (one, other) => {
  expect(nameKey(one)).toBeDefined()
  expect(nameKey(other)).toBeDefined()
  expect(nameKey(other)).not.toBe(nameKey(one))
})

test.each(['', 'staff', '=staff', 'cn=a\\', 'cn=a,', 'cn=\\ff', `cn=${'a'.repeat(2_000)}`])(
  '%j is no name',
  (text) => {
    expect(nameKey(text)).toBeUndefined()
  },
)
