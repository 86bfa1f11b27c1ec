import assert from 'node:assert/strict'
import { questionMembers } from '@remit/contract/retrieval-schemas'
import { AppError } from '../../../src/kernel/errors.ts'
import { type Fields, filterSql } from '../../../src/retrieval/filter.ts'
import type { SqlValue } from '../../../src/store/sql.ts'
import { textOf, unlessRefused } from '../oracles.ts'

const fields: Fields = new Map([
  ['year', 'number'],
  ['topic', 'string'],
  ['day', 'date'],
  ['open', 'boolean'],
  ['__proto__', 'string'],
])
// All that our own SQL is made of.
const ownSql = /^(?:[a-z_:=<>()[\]|\s,'!~*-]|\$\d+)*$/

/** Of what is asked nothing gets into the SQL but numbers of parameters, each of which has its value. */
export function fuzz(bytes: Uint8Array): void {
  const filter = unlessRefused([SyntaxError], () => JSON.parse(textOf(bytes)) as unknown)
  const asked = questionMembers.filter.safeParse(filter).data
  if (asked === undefined) return
  const values: SqlValue[] = []
  const predicates = unlessRefused([AppError], () => filterSql(asked, fields, values))
  if (predicates === undefined) return
  assert.equal(predicates.length, Object.keys(asked).length)
  const named = new Set<number>()
  for (const predicate of predicates) {
    assert.match(predicate, ownSql)
    for (const [, number] of predicate.matchAll(/\$(\d+)/g)) named.add(Number(number))
  }
  assert.deepEqual(
    [...named].toSorted((a, b) => a - b),
    values.map((_, index) => index + 1),
  )
}
