import { invalidValue } from './errors.ts'

/** One attribute of a schema (RFC 7643 §7), as far as Remit keeps it. */
export interface AttributeDefinition {
  readonly name: string
  readonly type: 'string' | 'boolean' | 'dateTime' | 'reference' | 'complex'
  readonly multiValued: boolean
  readonly description: string
  readonly required: boolean
  readonly caseExact: boolean
  readonly mutability: 'readOnly' | 'readWrite' | 'immutable'
  readonly returned: 'default'
  readonly uniqueness: 'none' | 'server'
  readonly canonicalValues?: readonly string[]
  readonly referenceTypes?: readonly string[]
  readonly subAttributes?: readonly AttributeDefinition[]
}

/** Value of a part of an attribute, or of a simple one. */
export type Simple = string | boolean
/** A complex value: its parts by name. */
export type Complex = Readonly<Record<string, Simple>>
/** What an attribute holds. Several values are always complex ones here. */
export type AttributeValue = Simple | Complex | readonly Complex[]
/** A resource's attributes by their canonical names. */
export type Attributes = Readonly<Record<string, AttributeValue>>

/** A JSON object. */
export const isObject = (value: unknown): value is Readonly<Record<string, unknown>> =>
  typeof value === 'object' && value !== null && !Array.isArray(value)

// Nothing here is a text: a name, an address.
const charactersMax = 1_000
const valuesMax = 50

/** The definition of a name, whatever its case (RFC 7643 §2.1). */
export const definitionOf = (
  definitions: readonly AttributeDefinition[],
  name: string,
): AttributeDefinition | undefined => {
  const wanted = name.toLowerCase()
  return definitions.find((definition) => definition.name.toLowerCase() === wanted)
}

/**
 * The attributes of a body that Remit keeps, by their canonical names. Others, and those that only Remit
 * writes, are left out (RFC 7644 §3.3); `null` and an empty list are as good as absent (RFC 7643 §2.5).
 */
export function readAttributes(
  definitions: readonly AttributeDefinition[],
  body: Readonly<Record<string, unknown>>,
): Attributes {
  const attributes: Record<string, AttributeValue> = {}
  for (const [name, value] of Object.entries(body)) {
    const definition = definitionOf(definitions, name)
    if (definition === undefined || definition.mutability === 'readOnly') continue
    const read = readValue(definition, value)
    if (read !== undefined) attributes[definition.name] = read
  }
  return attributes
}

/** One attribute's value as it is kept; undefined: none. */
export function readValue(definition: AttributeDefinition, value: unknown): AttributeValue | undefined {
  if (value === null || value === undefined) return undefined
  if (!definition.multiValued)
    return definition.type === 'complex' ? readComplex(definition, value) : readSimple(definition, value)
  const given: readonly unknown[] = Array.isArray(value) ? value : [value]
  const values = given
    .map((element) => readComplex(definition, element))
    .filter((complex) => complex !== undefined)
  if (values.length > valuesMax) throw invalidValue(definition.name, `has at most ${valuesMax} values.`)
  return values.length === 0 ? undefined : onePrimary(values)
}

function readComplex(definition: AttributeDefinition, value: unknown): Complex | undefined {
  // Some directories send the bare value where a complex one belongs.
  const parts = typeof value === 'string' && definition.multiValued ? { value } : value
  if (!isObject(parts)) throw invalidValue(definition.name, 'must be an object.')
  const complex: Record<string, Simple> = {}
  for (const [name, part] of Object.entries(parts)) {
    const partDefinition = definitionOf(definition.subAttributes ?? [], name)
    if (partDefinition === undefined || part === null || part === undefined) continue
    complex[partDefinition.name] = readSimple(partDefinition, part)
  }
  return Object.keys(complex).length === 0 ? undefined : complex
}

/** Microsoft Entra ID sends "True" and "False" for booleans. */
export function readSimple({ name, type }: AttributeDefinition, value: unknown): Simple {
  if (type === 'boolean') {
    if (typeof value === 'boolean') return value
    const word = typeof value === 'string' ? value.toLowerCase() : undefined
    if (word === 'true' || word === 'false') return word === 'true'
    throw invalidValue(name, 'must be true or false.')
  }
  if (typeof value !== 'string') throw invalidValue(name, 'must be a string.')
  if (value.length > charactersMax || !value.isWellFormed() || value.includes('\0'))
    throw invalidValue(name, `must be at most ${charactersMax} characters of Unicode.`)
  return value
}

/** At most one is `primary` (RFC 7643 §2.4): the last one that says so. */
export function onePrimary(values: readonly Complex[]): readonly Complex[] {
  const last = values.findLastIndex(({ primary }) => primary === true)
  return values.map((value, index) =>
    value['primary'] === true && index !== last ? { ...value, primary: false } : value,
  )
}
