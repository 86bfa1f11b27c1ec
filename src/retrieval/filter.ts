import { isDate } from '@remit/contract/instant'
import { invalid } from '../kernel/errors.ts'
import type { SqlValue } from '../store/sql.ts'

/** A value of a metadata field. */
export type Scalar = string | number | boolean
/** Bounds of a field. An absent bound limits nothing. */
export interface Range {
  readonly gte?: Scalar | undefined
  readonly gt?: Scalar | undefined
  readonly lte?: Scalar | undefined
  readonly lt?: Scalar | undefined
}
/** What one field must be. */
export type Condition = Scalar | Range | { readonly in: readonly Scalar[] }
/** Conditions on metadata fields, all of which must hold. */
export type Filter = Readonly<Record<string, Condition>>

/** The declared type of a metadata field. */
export type FieldType = 'string' | 'number' | 'boolean' | 'date'
/** Declared fields by name. */
export type Fields = ReadonlyMap<string, FieldType>

const operators = { gte: '>=', gt: '>', lte: '<=', lt: '<' } as const

/**
 * A SQL predicate over `metadata`, with its parameters pushed to `values`. An undeclared field or a value of
 * another type is a 422 that names it. A document whose stored value has another type does not match.
 */
export function filterSql(filter: Filter, fields: Fields, values: SqlValue[]): string[] {
  return Object.entries(filter).map(([name, condition]) => {
    const type = fields.get(name)
    if (type === undefined) throw invalid(`filter.${name}`, 'This field is not declared.')
    const field = push(values, name)
    if (typeof condition !== 'object') return oneOf(field, type, [condition], `filter.${name}`, values)
    if ('in' in condition) return oneOf(field, type, condition.in, `filter.${name}.in`, values)
    return range(field, type, condition, `filter.${name}`, values)
  })
}

function oneOf(
  field: string,
  type: FieldType,
  scalars: readonly Scalar[],
  path: string,
  values: SqlValue[],
): string {
  for (const value of scalars) assertType(value, type, path)
  if (type === 'date') {
    const dates = push(values, scalars.map(String))
    return typed(field, type, `(metadata ->> ${field})::timestamptz = any(${dates}::timestamptz[])`)
  }
  const arrayParameter = push(
    values,
    scalars.map((value) => JSON.stringify(value)),
  )
  return `metadata -> ${field}::text = any(${arrayParameter}::jsonb[])`
}

function range(field: string, type: FieldType, bounds: Range, path: string, values: SqlValue[]): string {
  if (type === 'boolean') throw invalid(path, 'A boolean field has no order.')
  const cast = { string: 'text', number: 'numeric', date: 'timestamptz' }[type]
  const conditions: string[] = []
  for (const [name, operator] of Object.entries(operators)) {
    const bound = bounds[name as keyof Range]
    if (bound === undefined) continue
    assertType(bound, type, `${path}.${name}`)
    conditions.push(`(metadata ->> ${field})::${cast} ${operator} ${push(values, String(bound))}::${cast}`)
  }
  if (conditions.length === 0) throw invalid(path, 'At least one of gte, gt, lte, lt is needed.')
  return typed(field, type, conditions.join(' and '))
}

// A cast of a value of another type would fail the whole query: `case` keeps it from being tried.
function typed(field: string, type: FieldType, predicate: string): string {
  const kind = type === 'date' ? 'string' : type
  // `today` is a date to Postgres, and another one tomorrow: what matched once would not match for ever.
  const valid =
    type === 'date'
      ? ` and pg_input_is_valid(metadata ->> ${field}, 'timestamptz') and metadata ->> ${field} !~* 'now|today|tomorrow|yesterday'`
      : ''
  return `case when jsonb_typeof(metadata -> ${field}::text) = '${kind}'${valid} then ${predicate} else false end`
}

function assertType(value: Scalar, type: FieldType, path: string): void {
  const fits = type === 'date' ? typeof value === 'string' && isDate(value) : typeof value === type
  if (!fits)
    throw invalid(
      path,
      `A ${type} is needed here${type === 'date' ? ', such as 2027-02-01 or 2027-02-01T09:00:00Z' : ''}.`,
    )
}

function push(values: SqlValue[], value: SqlValue): string {
  values.push(value)
  return `$${values.length}`
}
