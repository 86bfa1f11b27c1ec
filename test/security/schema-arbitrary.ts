import type { Arbitrary } from 'fast-check'
import fc from '../support/properties.ts'

/** The part of a JSON Schema that the contract uses. */
export interface Schema {
  readonly $ref?: string
  readonly type?: string | readonly string[]
  readonly properties?: Readonly<Record<string, Schema>>
  readonly required?: readonly string[]
  readonly additionalProperties?: Schema | boolean
  readonly items?: Schema
  readonly enum?: readonly unknown[]
  readonly anyOf?: readonly Schema[]
  readonly format?: string
  readonly minimum?: number
  readonly maximum?: number
}

export interface ValuesOptions {
  readonly schemas: Readonly<Record<string, Schema>>
  /** Values that may be right for a member or parameter of this name. */
  readonly byName: Readonly<Record<string, readonly string[]>>
  /** Everything fits its schema, as far as that says it. */
  readonly isGentle: boolean
}

export interface Values {
  /** For a member or parameter of this name. */
  text(name: string): Arbitrary<string>
  readonly anything: Arbitrary<unknown>
  /** A value that fits the schema; where not gentle, now and then one that does not. */
  of(schema: Schema): Arbitrary<unknown>
}

/** Strings that have broken something somewhere. */
const nasty = [
  ...['', ' ', '\0', 'a\0b', '\ud800', 'x\udc00', '\u202e', '\ufeff', '😀', '\r\nX: y'],
  ...['..', '.', '/', '//', 'a/../b', 'a//b', '%', '%zz', '%00', '%2e%2e', '%25', '\\', "\\'"],
  ...['é'.repeat(201), 'x'.repeat(201), 'x'.repeat(9_000)],
  ...["'; drop table documents; --", '$1', '{{7*7}}', '<script>', "a'b & | ! ( ) <-> :*"],
  ...['null', 'NaN', '-1', '1e999', '0000-01-01', '2026-02-30', '2026-01-01T00:00:00Z', 'true'],
  ...['__proto__', 'constructor', 'toString', 'user:', ':', '#', 'user:a#b', '*', 'user:*', 'g_a'],
]
const odd = [0, -0, -1, 0.5, 101, 10_000, 2 ** 31, 2 ** 53, -(2 ** 63), 1e21, 1e308, 5e-324]
const dates = ['2026-01-01T00:00:00Z', '2099-01-01T00:00:00+01:00']
const oddDates = [
  '0000-01-01T00:00:00Z',
  '9999-12-31T23:59:59Z',
  '2026-02-30T00:00:00Z',
  '2026-01-01T00:00:00+23:59',
  'never',
]
const depthMax = 6

export function createValues({ schemas, byName, isGentle }: ValuesOptions): Values {
  const words = [...new Set(Object.values(byName).flat())]
  const hostile = fc.oneof(
    fc.constantFrom(...words),
    fc.constantFrom(...nasty),
    fc.string({ unit: 'binary', maxLength: 30 }),
  )
  const text = (name: string): Arbitrary<string> => {
    const right = fc.constantFrom(...(byName[name] ?? words))
    return isGentle ? right : fc.oneof(right, hostile)
  }
  const small = fc.integer({ min: 1, max: 20 })
  const anything = fc.oneof(
    hostile,
    fc.constantFrom(...odd),
    fc.boolean(),
    fc.constant(null),
    fc.jsonValue({ maxDepth: 3 }),
  )

  function of(schema: Schema, name: string, depth: number): Arbitrary<unknown> {
    const right = fitting(resolve(schema), name, depth)
    return isGentle ? right : fc.oneof({ weight: 12, arbitrary: right }, { weight: 1, arbitrary: anything })
  }

  function resolve(schema: Schema): Schema {
    const name = schema.$ref?.split('/').pop()
    return name === undefined ? schema : (schemas[name] ?? {})
  }

  function fitting(schema: Schema, name: string, depth: number): Arbitrary<unknown> {
    if (depth > depthMax) return fc.constant(null)
    if (schema.enum !== undefined) return fc.constantFrom(...schema.enum)
    if (schema.anyOf !== undefined)
      return fc.oneof(...schema.anyOf.map((choice) => of(choice, name, depth + 1)))
    if (schema.format === 'date-time') return fc.constantFrom(...dates, ...(isGentle ? [] : oddDates))
    switch ([schema.type].flat()[0]) {
      case 'object':
        return objectOf(schema, depth)
      case 'array':
        return fc.array(of(schema.items ?? {}, name, depth + 1), { maxLength: 3 })
      case 'string':
        return text(name)
      case 'integer':
      case 'number':
        return isGentle ? small : fc.oneof(small, fc.constantFrom(...odd))
      case 'boolean':
        return fc.boolean()
      default:
        return isGentle ? text(name) : anything
    }
  }

  function objectOf(
    { properties = {}, required = [], additionalProperties }: Schema,
    depth: number,
  ): Arbitrary<unknown> {
    const isOpen = additionalProperties !== undefined && additionalProperties !== false
    const others =
      typeof additionalProperties === 'object' ? of(additionalProperties, 'value', depth + 1) : anything
    const extra = fc.dictionary(text('key'), others, { maxKeys: isOpen ? 2 : 1 })
    const known = fc
      .subarray(Object.keys(properties), { maxLength: Math.min(3, Object.keys(properties).length) })
      .chain((chosen) => {
        // Where not gentle, what is required may be missing.
        const names = isGentle ? [...new Set([...required, ...chosen])] : chosen
        return fc.record(
          Object.fromEntries(names.map((name) => [name, of(properties[name] ?? {}, name, depth + 1)])),
        )
      })
    const more = isOpen
      ? extra
      : isGentle
        ? fc.constant({})
        : fc.oneof(fc.constant({}), fc.constant({}), extra)
    return fc.tuple(known, more).map(([members, unknown]) => ({ ...unknown, ...members }))
  }

  return { text, anything, of: (schema) => of(schema, 'value', 0) }
}
