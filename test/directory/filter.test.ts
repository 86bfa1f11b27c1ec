import { describe, expect, test } from 'vitest'
import { matches, parseFilter } from '../../src/directory/scim/filter.ts'
import { filterable } from '../../src/directory/scim/schemas.ts'

const directory = {
  name: 'acme',
  issuer: 'https://id.test',
  namespace: 'acme',
  prefix: 'acme/',
  keyAttribute: 'externalId',
  preset: 'generic',
} as const
const definitions = filterable('Users', directory)
const anne = {
  id: 'u_1',
  userName: 'Anne@acme.test',
  externalId: 'A-1',
  displayName: 'Anne "the" Ant',
  active: true,
  name: { familyName: 'Ant', givenName: 'Anne' },
  emails: [
    { value: 'anne@acme.test', type: 'work', primary: true },
    { value: 'anne@home.test', type: 'home' },
  ],
  meta: { resourceType: 'User', created: '2026-05-01T10:00:00.000Z' },
}
const finds = (filter: string): boolean => matches(parseFilter(filter, definitions), anne)

describe('a filter', () => {
  test.each([
    // RFC 7644 §3.4.2.2, figure 2 and its table of operators.
    ['userName eq "anne@ACME.test"', true],
    ['USERNAME Eq "anne@acme.test"', true],
    ['userName ne "anne@acme.test"', false],
    ['externalId eq "a-1"', false],
    ['externalId eq "A-1"', true],
    ['name.familyName co "N"', true],
    ['userName sw "ann"', true],
    ['userName ew "acme.test"', true],
    ['displayName eq "Anne \\"the\\" Ant"', true],
    ['title pr', undefined],
    ['name pr', true],
    ['emails pr', true],
    ['name.formatted pr', false],
    ['name.formatted eq null', true],
    ['active eq true', true],
    ['active eq "True"', true],
    ['active ne true', false],
    ['meta.created gt "2026-05-01T09:59:59Z"', true],
    ['meta.created ge "2026-05-01T12:00:00+02:00"', true],
    ['meta.created lt "2026-05-01T10:00:00Z"', false],
    ['meta.created le "2026-05-01T10:00:00Z"', true],
    ['userName sw "zzz" or userName sw "ann" and active eq false', false],
    ['(userName sw "zzz" or userName sw "ann") and active eq true', true],
    ['userName sw "ann" or userName sw "zzz" and active eq false', true],
    ['not (userName sw "ann")', false],
    ['not(active eq false) and emails co "home"', true],
    ['emails[type eq "work" and value co "@acme.test"]', true],
    ['emails[type eq "home" and value co "@acme.test"]', false],
    ['emails.type eq "home" and emails.value co "@acme.test"', true],
    ['emails[not (type eq "work")]', true],
    ['urn:ietf:params:scim:schemas:core:2.0:User:userName sw "ann"', true],
  ])('%s', (filter, expected) => {
    if (expected === undefined) expect(() => finds(filter)).toThrow('names an attribute')
    else expect(finds(filter)).toBe(expected)
  })

  test.each([
    '',
    'userName',
    'userName eq',
    'userName eq anne',
    'userName eq "anne',
    'userName like "a"',
    'userName eq "a" and',
    '(userName eq "a"',
    'userName eq "a")',
    'not userName eq "a"',
    'emails[type eq "work"',
    'name.a.b pr',
    'userName[value eq "a"]',
    'active gt true',
    'password eq "x"',
    'userName eq "\\x"',
    'urn:ietf:params:scim:schemas:extension:enterprise:2.0:User:userName eq "a"',
    '__proto__ pr',
    'constructor.name eq "Object"',
  ])('that is none is refused as invalidFilter: %s', (filter) => {
    expect(() => parseFilter(filter, definitions)).toThrow(
      expect.objectContaining({ status: 400, scimType: 'invalidFilter' }),
    )
  })

  test.each([
    ['id eq "u_1" and manager eq "u_2"', false],
    ['id eq "u_1" or manager.value eq "u_2"', true],
    ['id eq "u_1" and manager ne "u_2"', true],
    ['title pr', false],
    ['title eq null', true],
    ['addresses[type eq "work"].country eq "DE"', false],
    ['urn:ietf:params:scim:schemas:extension:enterprise:2.0:User:manager eq "u_2"', false],
    ['constructor pr', false],
    ['emails[type eq "work"].value eq "anne@acme.test"', true],
    ['emails[type eq "home"].value eq "anne@acme.test"', false],
    ['emails[type eq "work"].value eq "anne@acme.test" and active eq true', true],
    ['emails[type eq "work"].nothing pr', false],
  ])('of a search finds no value in what Remit does not keep: %s', (filter, expected) => {
    expect(matches(parseFilter(filter, definitions, { unknownAbsent: true }), anne)).toBe(expected)
  })

  test.each(['__proto__ pr', 'userName eq "a\\u0000"', 'emails[type eq "work"].', 'emails[type eq "w"]x'])(
    'of a search that is none is refused all the same: %s',
    (filter) => {
      expect(() => parseFilter(filter, definitions, { unknownAbsent: true })).toThrow(
        expect.objectContaining({ status: 400, scimType: 'invalidFilter' }),
      )
    },
  )

  test('is refused beyond its bounds, and reading one takes no longer the longer it is', () => {
    const deep = `${'('.repeat(30)}active eq true${')'.repeat(30)}`
    const many = Array.from({ length: 60 }, () => 'active eq true').join(' or ')
    const long = `userName eq "${'a'.repeat(5_000)}"`
    // Of the processor, not by the clock: others may have it for a while.
    const before = process.threadCpuUsage()
    for (const filter of [
      deep,
      many,
      long,
      '('.repeat(4_000),
      '"'.repeat(4_000),
      ' '.repeat(4_000),
      `${'\\'.repeat(3_999)}"`,
    ])
      expect(() => parseFilter(filter, definitions)).toThrow(expect.objectContaining({ status: 400 }))
    const { user, system } = process.threadCpuUsage(before)
    expect((user + system) / 1_000).toBeLessThan(1_000)
  })
})
