import { afterAll, beforeAll, describe, expect, test } from 'vitest'
import {
  type Condition,
  type Fields,
  type FieldType,
  type Filter,
  filterSql,
} from '../../src/retrieval/filter.ts'
import type { Database, SqlValue } from '../../src/store/sql.ts'
import { openTestDatabase } from '../support/database.ts'
import fc from '../support/properties.ts'

const fields: Fields = new Map<string, FieldType>([
  ['team', 'string'],
  ['year', 'number'],
  ['draft', 'boolean'],
  ['due', 'date'],
  ["odd'name", 'string'],
])

/** One document a stored value: of every type that JSON has, under every field. */
const rows: Readonly<Record<string, object>> = {
  empty: {},
  red: { team: 'red', year: 2025, draft: true, due: '2025-06-01' },
  blue: { team: 'blue', year: 2026.5, draft: false, due: '2026-06-01T12:00:00+02:00' },
  quoted: { team: `'; drop table documents; --`, "odd'name": 'x' },
  text: { team: '2025', year: '2025', draft: 'true', due: 'soon' },
  number: { team: 2025, year: 0, draft: 1, due: 20_250_601 },
  null: { team: null, year: null, draft: null, due: null },
  list: { team: ['red'], year: [2025], draft: [true], due: ['2025-06-01'] },
  object: { team: { in: 'red' }, year: { gte: 1 }, draft: {}, due: {} },
  moving: { due: 'today' },
  huge: { year: 1e300, team: 'z'.repeat(500), due: '99999-01-01' },
}

describe('a filter', () => {
  let database: Database
  beforeAll(async () => {
    database = await openTestDatabase()
    await database.query(`insert into collections (id, title) values ('c', 'C')`)
    for (const [id, metadata] of Object.entries(rows)) {
      await database.query(`insert into documents (id, collection, metadata) values ($1, 'c', $2)`, [
        id,
        metadata,
      ])
    }
  })
  afterAll(() => database?.close())

  async function matches(filter: Filter): Promise<string[]> {
    // Parameters before the filter's own, as the search has them.
    const values: SqlValue[] = [['ignored']]
    const conditions = ['$1::text[] is not null', ...filterSql(filter, fields, values)]
    const found = await database.query<{ id: string }>(
      `select id from documents where ${conditions.join(' and ')} order by doc_no`,
      values,
    )
    return found.map(({ id }) => id)
  }

  test.each<[string, Filter, string[]]>([
    ['a string', { team: 'red' }, ['red']],
    ['a string that looks like a number', { team: '2025' }, ['text']],
    ['no string stored', { team: 'green' }, []],
    ['one of some strings', { team: { in: ['red', 'blue', 'green'] } }, ['red', 'blue']],
    ['strings from on', { team: { gte: 'blue', lt: 'r' } }, ['blue']],
    ['a number', { year: 2025 }, ['red']],
    ['a number with a fraction', { year: 2026.5 }, ['blue']],
    ['zero', { year: 0 }, ['number']],
    ['one of some numbers', { year: { in: [0, 2025] } }, ['red', 'number']],
    ['numbers from and to, ends included', { year: { gte: 2025, lte: 2026.5 } }, ['red', 'blue']],
    ['numbers between, ends excluded', { year: { gt: 2025, lt: 2026.5 } }, []],
    ['numbers by value, not by letters', { year: { gt: 300 } }, ['red', 'blue', 'huge']],
    ['true', { draft: true }, ['red']],
    ['false', { draft: false }, ['blue']],
    ['either', { draft: { in: [true, false] } }, ['red', 'blue']],
    ['a date', { due: '2025-06-01' }, ['red']],
    ['the same instant in another zone', { due: '2026-06-01T10:00:00Z' }, ['blue']],
    ['one of some dates', { due: { in: ['2025-06-01', '2026-06-01T10:00:00Z'] } }, ['red', 'blue']],
    ['no word for a day that moves', { due: { gte: '2000-01-01', lt: '3000-01-01' } }, ['red', 'blue']],
    ['dates from on', { due: { gte: '2026-01-01', lt: '2027-01-01' } }, ['blue']],
    ['all conditions together', { team: { in: ['red', 'blue'] }, draft: false }, ['blue']],
    ['no document for contradictions', { team: 'red', draft: false }, []],
    ['everything when there is no condition', {}, Object.keys(rows)],
    ['a field with a quote in its name', { "odd'name": 'x' }, ['quoted']],
  ])('matches %s', async (_, filter, expected) => {
    expect(await matches(filter)).toEqual(expected)
  })

  const wrong: readonly (readonly [string, Condition, string])[] = [
    ['team', 1, 'filter.team'],
    ['team', true, 'filter.team'],
    ['team', { in: ['red', 1] }, 'filter.team.in'],
    ['team', { gte: 1 }, 'filter.team.gte'],
    ['year', '2025', 'filter.year'],
    ['year', { in: ['2025'] }, 'filter.year.in'],
    ['year', { gte: 2025, lt: '2026' }, 'filter.year.lt'],
    ['draft', 'true', 'filter.draft'],
    ['draft', { in: [0] }, 'filter.draft.in'],
    ['draft', { gte: true }, 'filter.draft'],
    ['due', 'soon', 'filter.due'],
    ['due', 20_250_601, 'filter.due'],
    ['due', { lt: '2025-13-01' }, 'filter.due.lt'],
    ['due', { in: ['2025-06-01', ''] }, 'filter.due.in'],
    ['year', {}, 'filter.year'],
    ['unknown', 1, 'filter.unknown'],
    ['__proto__', 1, 'filter.__proto__'],
    ["team' is not null or '", 'x', "filter.team' is not null or '"],
  ]

  test.each(wrong)('on %s with %j is a 422 that names %s', (name, condition, field) => {
    const filter = Object.fromEntries([[name, condition]])
    expect(() => filterSql(filter, fields, [])).toThrow(
      expect.objectContaining({ code: 'invalid_request', status: 422, field }),
    )
  })

  test('on a date says how one is written', () => {
    expect(() => filterSql({ due: 'soon' }, fields, [])).toThrow(
      expect.objectContaining({ public: expect.stringContaining('such as 2027-02-01') }),
    )
  })

  test.each([
    `'; drop table documents; --`,
    `red' or '1'='1`,
    '$1',
    '\\',
    '"',
    'null',
    '{"a":1}',
    `\\'; select pg_sleep(9); --`,
  ])('takes %s as a value and nothing else', async (value) => {
    const own = Object.entries(rows).filter(([, metadata]) => 'team' in metadata && metadata.team === value)
    expect(await matches({ team: value })).toEqual(own.map(([id]) => id))
    expect(await matches({ team: { in: [value] } })).toEqual(own.map(([id]) => id))
    await matches({ team: { gte: value } })
    expect(await matches({})).toHaveLength(Object.keys(rows).length)
  })

  test('puts neither names nor values into the text of the statement', () => {
    const [text] = filterSql({ "odd'name": `o'clock` }, fields, [])
    expect(text).not.toContain('odd')
    expect(text).not.toContain('clock')
  })

  test('never fails and never matches a value of another type, whatever is asked and stored', async () => {
    const date = fc.date({ min: new Date('0001-01-01'), max: new Date('9999-12-31'), noInvalidDate: true })
    const scalars = {
      team: fc.string({ unit: 'grapheme' }).filter((value) => !value.includes('\0') && value.isWellFormed()),
      year: fc.double({ noNaN: true, noDefaultInfinity: true }),
      due: date.map((value) => value.toISOString()),
    }
    const bounds = <T>(value: fc.Arbitrary<T>) =>
      fc.oneof(
        value,
        fc.record({ in: fc.array(value, { minLength: 1, maxLength: 3 }) }),
        value.map((gte) => ({ gte })),
        value.map((lt) => ({ lt })),
      )
    const filters = fc.oneof(
      bounds(scalars.team).map((team) => ({ team })),
      bounds(scalars.year).map((year) => ({ year })),
      bounds(scalars.due).map((due) => ({ due })),
    )
    const typed: Readonly<Record<string, readonly string[]>> = {
      team: ['red', 'blue', 'quoted', 'text', 'huge'],
      year: ['red', 'blue', 'number', 'huge'],
      due: ['red', 'blue', 'huge'],
    }
    await fc.assert(
      fc.asyncProperty(filters, async (filter) => {
        const [name = ''] = Object.keys(filter)
        const found = await matches(filter as Filter)
        expect(found.filter((id) => !typed[name]?.includes(id))).toEqual([])
      }),
      { numRuns: 150 },
    )
  })
})
