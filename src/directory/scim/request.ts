import type { RecordActor } from '../../audit/record.ts'
import type { Directory } from '../directories.ts'
import type { AttributeDefinition } from './attributes.ts'
import { ScimError } from './errors.ts'
import { pathIn } from './filter.ts'
import { pageMax, pageUsual } from './limits.ts'

/** Whoever asks: a directory, by its token. */
export interface ScimCaller {
  readonly directory: Directory
  readonly recordedAs: RecordActor
  /** What the operations of a bulk made so far, by `bulkId`. */
  readonly bulkIds?: ReadonlyMap<string, string>
}

/** A resource as it leaves. */
export type Resource = Readonly<Record<string, unknown>>

/** What is done came to. */
export interface ScimAnswer {
  readonly status: 200 | 201 | 204
  readonly resource?: Resource
  /** ETag of the resource. */
  readonly version?: string
  readonly location?: string
}

/** Which resources are asked for, and what of them (RFC 7644 §3.4.2 and §3.9). */
export interface ScimQuery {
  readonly filter: string | undefined
  /** From 1 on. */
  readonly startIndex: number
  readonly count: number
  readonly attributes: readonly string[]
  readonly excludedAttributes: readonly string[]
}

/**
 * Reads a query from a URL or a `.search` body. A count is cut to what one answer holds; a negative one is 0,
 * a start before 1 is 1 (RFC 7644 §3.4.2.4). `sortBy` is not supported, and passed over.
 */
export function readQuery(given: Readonly<Record<string, unknown>>): ScimQuery {
  const { filter } = given
  if (filter !== undefined && typeof filter !== 'string')
    throw new ScimError(400, 'filter is a string.', 'invalidFilter')
  return {
    filter,
    startIndex: Math.max(1, wholeNumber(given, 'startIndex') ?? 1),
    count: Math.min(pageMax, Math.max(0, wholeNumber(given, 'count') ?? pageUsual)),
    attributes: names(given, 'attributes'),
    excludedAttributes: names(given, 'excludedAttributes'),
  }
}

function wholeNumber(given: Readonly<Record<string, unknown>>, name: string): number | undefined {
  const value = given[name]
  if (value === undefined) return undefined
  const number = typeof value === 'string' && /^-?\d{1,9}$/.test(value) ? Number(value) : value
  if (typeof number !== 'number' || !Number.isSafeInteger(number) || Math.abs(number) > 1_000_000_000)
    throw new ScimError(400, `${name} is a whole number.`, 'invalidValue')
  return number
}

const namesMax = 100

function names(given: Readonly<Record<string, unknown>>, name: string): readonly string[] {
  const value = given[name] ?? []
  const list: unknown[] =
    typeof value === 'string' ? value.split(',') : Array.isArray(value) ? value : [value]
  if (list.length > namesMax) throw new ScimError(400, `${name} names at most ${namesMax}.`, 'invalidValue')
  return list.map((element) => {
    if (typeof element !== 'string') throw new ScimError(400, `${name} are names.`, 'invalidValue')
    return element.trim()
  })
}

/** The part of a resource that was asked for. `id` and `schemas` are always in it (RFC 7643 §7, `always`). */
export function project(
  resource: Resource,
  definitions: readonly AttributeDefinition[],
  { attributes, excludedAttributes }: Pick<ScimQuery, 'attributes' | 'excludedAttributes'>,
): Resource {
  if (attributes.length === 0 && excludedAttributes.length === 0) return resource
  const projected: Record<string, unknown> = {}
  const wanted = partsNamed(attributes, definitions)
  const unwanted = partsNamed(excludedAttributes, definitions)
  for (const [name, value] of Object.entries(resource)) {
    const isAlways = name === 'id' || name === 'schemas'
    const parts = wanted.get(name)
    if (!isAlways && attributes.length > 0 && parts === undefined) continue
    const left =
      attributes.length > 0 && !isAlways ? pick(value, (part) => parts?.has(part) ?? false, parts) : value
    const without = isAlways ? undefined : unwanted.get(name)
    if (without?.size === 0) continue
    projected[name] = without === undefined ? left : pick(left, (part) => !without.has(part), without)
  }
  return projected
}

/** Attribute → its parts that are named; none: all of it. */
function partsNamed(
  paths: readonly string[],
  definitions: readonly AttributeDefinition[],
): ReadonlyMap<string, ReadonlySet<string>> {
  const parts = new Map<string, Set<string>>()
  const whole = new Set<string>()
  for (const text of paths) {
    const path = pathIn(text, definitions)
    if (path === undefined) continue
    const { name } = path.attribute
    const known = parts.get(name) ?? new Set<string>()
    parts.set(name, known)
    if (path.part === undefined) whole.add(name)
    else known.add(path.part.name)
  }
  for (const name of whole) parts.set(name, new Set())
  return parts
}

/** Of a complex value the parts that pass; where none is named, all of it. */
function pick(
  value: unknown,
  passes: (part: string) => boolean,
  named: ReadonlySet<string> | undefined,
): unknown {
  if (named === undefined || named.size === 0 || typeof value !== 'object' || value === null) return value
  if (Array.isArray(value)) return value.map((element) => pick(element, passes, named))
  return Object.fromEntries(Object.entries(value).filter(([part]) => passes(part)))
}

/** Throws 412 where the client has seen another version than there is (RFC 7644 §3.14). */
export function assertVersion(ifMatch: string | undefined, version: number): void {
  if (ifMatch === undefined || namesVersion(ifMatch, version)) return
  throw new ScimError(412, 'It has changed since. Read it again.')
}

/** Whether a header of ETags names this version. */
export const namesVersion = (header: string, version: number): boolean =>
  header
    .split(',')
    .map((tag) => tag.trim().replace(/^W\//, ''))
    .some((tag) => tag === '*' || tag === `"${version}"`)

/** The ETag of a version. Weak: what is the same to a client may be written in another order. */
export const etagOf = (version: number): string => `W/"${version}"`
