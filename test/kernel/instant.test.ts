import { instant, isDate, isInstant } from '@remit/contract/instant'
import { describe, expect, test } from 'vitest'
import { openTestDatabase } from '../support/database.ts'
import fc from '../support/properties.ts'

const never = [
  '0000-01-01T00:00:00Z',
  '0001-01-01T00:00:00+14:00',
  '9999-12-31T23:59:59-14:00',
  '2026-01-01T00:00:00+14:01',
  '2026-01-01T00:00:00+23:59',
  '2026-02-30T00:00:00Z',
  '2026-01-01T24:00:00Z',
  `2026-01-01T00:00:00.${'0'.repeat(200)}Z`,
  'infinity',
]

describe('an instant', () => {
  test.each(never)('is never %s', (value) => {
    expect(isInstant(value)).toBe(false)
    expect(instant.safeParse(value).success).toBe(false)
  })

  test.each(['0001-01-01T00:00:00Z', '9999-12-31T23:59:59.999999999Z', '2026-01-31T10:00:00+14:00'])(
    'may be %s',
    (value) => {
      expect(instant.parse(value)).toBe(value)
    },
  )

  test('is the same to Postgres as to JavaScript, whatever it is', async () => {
    await using database = await openTestDatabase('pglite')
    const two = (max: number) => fc.integer({ min: 0, max }).map((one) => String(one).padStart(2, '0'))
    const written = fc
      .tuple(
        fc.constantFrom('0000', '0001', '0099', '1883', '2026', '9999'),
        two(13),
        two(32),
        two(25),
        two(61),
      )
      .chain(([year, month, day, hour, minute]) =>
        fc
          .tuple(fc.constantFrom('Z', '+14:00', '-14:00', '+15:00', '+05:30', '-23:59'), two(61))
          .map(([zone, second]) => `${year}-${month}-${day}T${hour}:${minute}:${second}${zone}`),
      )
    const taken = fc.sample(fc.oneof(written, fc.constantFrom(...never)), 2_000).filter(isInstant)
    const rows = await database.query<{ ms: number }>(
      'select (extract(epoch from at::timestamptz) * 1000)::float8 as ms from unnest($1::text[]) with ordinality as t (at, n) order by n',
      [taken],
    )
    expect(rows.map(({ ms }) => ms)).toEqual(taken.map((value) => Date.parse(value)))
    expect(taken.length).toBeGreaterThan(20)
  })
})

describe('a date', () => {
  test.each(['2026-01-31', '2026-01-31T10:00', '2026-01-31T10:00Z', '2026-01-31T10:00:00.123456789+05:30'])(
    'may be %s',
    (value) => {
      expect(isDate(value)).toBe(true)
    },
  )

  test.each([
    '',
    'now',
    'infinity',
    '2026',
    '2026-02-30T',
    '31.01.2026',
    '2026-01-31T25:00',
    'epoch',
    '2026-1-1',
  ])('may not be %j', (value) => {
    expect(isDate(value)).toBe(false)
  })
})
