import { type CelInput, celUint } from '@bufbuild/cel'
import { create } from '@bufbuild/protobuf'
import { DurationSchema, TimestampSchema } from '@bufbuild/protobuf/wkt'
import { parseAddress } from './ip.ts'

/** Any JSON value. */
export type Json = null | boolean | number | string | readonly Json[] | { readonly [key: string]: Json }
/** A JSON object. */
export type JsonObject = { readonly [key: string]: Json }

/** The kinds of parameter that a condition can declare. */
export const paramKinds = [
  'any',
  'bool',
  'string',
  'int',
  'uint',
  'double',
  'duration',
  'timestamp',
  'map',
  'list',
  'ipaddress',
] as const

/** One of {@link paramKinds}. */
export type ParamKind = (typeof paramKinds)[number]

/** The declared type of a condition parameter; `of` is set for `list<T>` and `map<T>` (string keys). */
export interface ParamType {
  readonly kind: ParamKind
  readonly of?: ParamType
}

/** A context value that does not convert to its declared type. */
export class ConversionError extends Error {}

/**
 * Converts a JSON context value to its CEL value, by the server's rules: numbers may be given as decimal
 * strings, an int must be whole, timestamps are RFC 3339, durations are Go's (`1h30m`).
 * Throws ConversionError.
 */
export function convert(type: ParamType, value: Json): CelInput {
  switch (type.kind) {
    case 'any':
      return fromAny(value)
    case 'bool':
      if (typeof value !== 'boolean') throw mismatch('bool', value)
      return value
    case 'string':
      if (typeof value !== 'string') throw mismatch('string', value)
      return value
    case 'int':
    case 'uint':
      return toInteger(type.kind, value)
    case 'double':
      return toDouble(value)
    case 'duration':
      return create(DurationSchema, toDuration(value))
    case 'timestamp':
      return create(TimestampSchema, toTimestamp(value))
    case 'ipaddress':
      return toAddress(value)
    case 'list':
      if (!Array.isArray(value)) throw new ConversionError(`list requires a list, found: ${kindOf(value)}`)
      return value.map((element: Json) => convert(type.of ?? { kind: 'any' }, element))
    case 'map':
      if (!isJsonObject(value)) throw new ConversionError(`map requires a map, found: ${kindOf(value)}`)
      return mapOf(value, type.of ?? { kind: 'any' })
  }
}

/** Whether a JSON value is an object, neither null nor a list. */
export const isJsonObject = (value: Json | undefined): value is JsonObject =>
  typeof value === 'object' && value !== null && !Array.isArray(value)

function mapOf(value: JsonObject, valueType: ParamType): CelInput {
  return new Map(Object.entries(value).map(([key, element]) => [key, convert(valueType, element)]))
}

function fromAny(value: Json): CelInput {
  if (Array.isArray(value)) return value.map((element: Json) => fromAny(element))
  if (isJsonObject(value))
    return new Map(Object.entries(value).map(([key, element]) => [key, fromAny(element)]))
  return value === null || typeof value === 'object' ? null : value
}

function toInteger(kind: 'int' | 'uint', value: Json): CelInput {
  const number = parseDecimal(kind, value)
  if (number.scale > 0)
    throw new ConversionError(
      `expected ${kind === 'int' ? 'an int' : 'a uint'} value, but found numeric value '${String(value)}'`,
    )
  const integer = number.digits * 10n ** BigInt(-number.scale)
  const clamped = integer > 2n ** 63n - 1n ? 2n ** 63n - 1n : integer < -(2n ** 63n) ? -(2n ** 63n) : integer
  if (kind === 'int') return clamped
  if (clamped < 0n)
    throw new ConversionError(`expected a uint value, but found int64 value '${String(value)}'`)
  return celUint(clamped)
}

function toDouble(value: Json): CelInput {
  if (typeof value === 'number') return value
  const { digits, scale } = parseDecimal('double', value)
  const fives = 5n ** BigInt(Math.max(0, scale))
  const significand = scale > 0 ? digits / fives : digits * 10n ** BigInt(-scale)
  const isHeld = Number.isFinite(Number(significand)) && BigInt(Number(significand)) === significand
  const exact = isHeld && (scale <= 0 || digits % fives === 0n)
  if (!exact) throw new ConversionError(`number cannot be represented as a float64: ${String(value)}`)
  return Number(value)
}

/** digits × 10^-scale, with the scale as small as it goes, so that `scale > 0` means "not whole". */
function parseDecimal(kind: string, value: Json): { digits: bigint; scale: number } {
  if (typeof value !== 'number' && typeof value !== 'string') throw mismatch(kind, value)
  const match = /^([+-]?)(\d*)(?:\.(\d*))?(?:[eE]([+-]?\d{1,4}))?$/.exec(String(value))
  const [, sign = '', integerDigits = '', fraction = '', exponent = '0'] = match ?? []
  if (match === null || integerDigits + fraction === '')
    throw new ConversionError(`expected a ${kind} value, but found invalid string value '${String(value)}'`)
  let digits = BigInt(`${integerDigits}${fraction}`) * (sign === '-' ? -1n : 1n)
  let scale = fraction.length - Number(exponent)
  for (; scale > 0 && digits % 10n === 0n && digits !== 0n; scale--) digits /= 10n
  return digits === 0n ? { digits, scale: 0 } : { digits, scale }
}

const nanosOf: Readonly<Record<string, bigint>> = {
  ns: 1n,
  us: 1_000n,
  µs: 1_000n,
  μs: 1_000n,
  ms: 1_000_000n,
  s: 1_000_000_000n,
  m: 60_000_000_000n,
  h: 3_600_000_000_000n,
}

function toDuration(value: Json): { seconds: bigint; nanos: number } {
  if (typeof value !== 'string')
    throw new ConversionError(`expected a duration string, but found: ${kindOf(value)} '${String(value)}'`)
  const nanos = parseDuration(value)
  if (nanos === undefined)
    throw new ConversionError(`expected a valid duration string, but found: '${value}'`)
  return { seconds: nanos / 1_000_000_000n, nanos: Number(nanos % 1_000_000_000n) }
}

/** Go's time.ParseDuration, in nanoseconds; undefined where Go answers an error. */
function parseDuration(text: string): bigint | undefined {
  const signed = /^([+-]?)(0|(?:(?:\d+(?:\.\d*)?|\.\d+)(?:ns|us|µs|μs|ms|s|m|h))+)$/.exec(text)
  if (signed === null) return undefined
  let total = 0n
  for (const [, number = '', unit = ''] of (signed[2] ?? '').matchAll(/([\d.]+)(ns|us|µs|μs|ms|s|m|h)/gy)) {
    const [integerDigits = '', fraction = ''] = number.split('.')
    const scale = nanosOf[unit] ?? 0n
    total +=
      BigInt(integerDigits || '0') * scale +
      (BigInt(fraction || '0') * scale) / 10n ** BigInt(fraction.length)
  }
  return total >= 2n ** 63n ? undefined : signed[1] === '-' ? -total : total
}

function toTimestamp(value: Json): { seconds: bigint; nanos: number } {
  if (typeof value !== 'string')
    throw new ConversionError(
      `expected RFC 3339 formatted timestamp string, but found: ${kindOf(value)} '${String(value)}'`,
    )
  const time = parseTimestamp(value)
  if (time === undefined)
    throw new ConversionError(`expected RFC 3339 formatted timestamp string, but found '${value}'`)
  return time
}

/** As Go reads RFC 3339: an hour may have one digit, a zone 24 hours or 60 minutes. undefined: it is none. */
export function parseTimestamp(
  text: string,
): { readonly seconds: bigint; readonly nanos: number } | undefined {
  const match =
    /^(\d{4}-\d\d-\d\d)T(\d{1,2}):(\d\d:\d\d)(?:[.,](\d+))?(Z|[+-](?:[01]\d|2[0-4]):[0-6]\d)$/.exec(text)
  const [, date = '', hour = '', minutes = '', fraction = '', zone = ''] = match ?? []
  const time = `${date}T${hour.padStart(2, '0')}:${minutes}`
  const local = Date.parse(`${time}Z`)
  const offsetMinutes = zone === 'Z' ? 0 : Number(zone.slice(4))
  if (Number.isNaN(local) || !new Date(local).toISOString().startsWith(time) || offsetMinutes > 60)
    return undefined
  const offset =
    zone === 'Z' ? 0 : Number(`${zone[0]}1`) * (Number(zone.slice(1, 3)) * 3600 + offsetMinutes * 60)
  return { seconds: BigInt(local / 1000 - offset), nanos: Number(fraction.slice(0, 9).padEnd(9, '0')) }
}

function toAddress(value: Json): string {
  if (typeof value !== 'string')
    throw new ConversionError(`expected an ipaddress string, but found: ${kindOf(value)} '${String(value)}'`)
  const address = parseAddress(value)
  if (address === undefined)
    throw new ConversionError(`expected a well-formed IP address, but found: '${value}'`)
  return address.text
}

const kindOf = (value: Json): string =>
  value === null
    ? '<nil>'
    : Array.isArray(value)
      ? '[]interface {}'
      : typeof value === 'object'
        ? 'map[string]interface {}'
        : typeof value

const mismatch = (expected: string, value: Json): ConversionError =>
  new ConversionError(`expected type value '${expected}', but found '${kindOf(value)}'`)
