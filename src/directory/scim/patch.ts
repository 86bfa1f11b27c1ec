import {
  type AttributeDefinition,
  type Attributes,
  type AttributeValue,
  type Complex,
  isObject,
  onePrimary,
  readSimple,
  readValue,
} from './attributes.ts'
import { invalidValue, ScimError } from './errors.ts'
import { type AttributePath, type Filter, matches, parseFilter, pathIn } from './filter.ts'

/** One operation of a PATCH (RFC 7644 §3.5.2) on one attribute. */
export interface PatchOperation {
  readonly op: 'add' | 'replace' | 'remove'
  readonly path: AttributePath
  /** Which of its values; undefined: all. */
  readonly filter: Filter | undefined
  readonly value: unknown
}

const operationsMax = 1_000
const charactersMax = 4_000

/**
 * The operations of a body, one for each attribute. Takes what Entra sends beside the RFC: `Add` for `add`,
 * and names with a dot in a value without a path. An attribute that Remit does not keep is passed over.
 */
export function readPatch(
  body: unknown,
  definitions: readonly AttributeDefinition[],
): readonly PatchOperation[] {
  const operations = isObject(body) ? body['Operations'] : undefined
  if (!Array.isArray(operations) || operations.length === 0)
    throw new ScimError(400, 'Operations: at least one is needed.', 'invalidSyntax')
  if (operations.length > operationsMax)
    throw new ScimError(413, `Operations: at most ${operationsMax} at once.`)
  return operations.flatMap((operation) => readOperation(operation, definitions))
}

function readOperation(
  operation: unknown,
  definitions: readonly AttributeDefinition[],
): readonly PatchOperation[] {
  if (!isObject(operation)) throw new ScimError(400, 'An operation is an object.', 'invalidSyntax')
  const { path, value } = operation
  const op = opOf(operation['op'])
  if (typeof path === 'string' && path !== '') {
    if (/^(id|meta|schemas)\b/i.test(path))
      throw new ScimError(400, `${path} cannot be changed.`, 'mutability')
    const target = readPath(path, definitions)
    if (target === undefined) return []
    // RFC 7644 §3.5.2.2: without a value all of them go. One may mean that by an empty list, or nobody.
    if (op === 'remove' && target.filter === undefined && Array.isArray(value) && value.length === 0)
      throw invalidValue(path, 'the list of what goes is empty. Without a value all of it goes.')
    // RFC 7644 §3.5.2.1, §3.5.2.3. To take all away one says null, or an empty list.
    if (op !== 'remove' && value === undefined) throw invalidValue(path, 'has no value.')
    return [{ op, ...target, value }]
  }
  if (path !== undefined && path !== null && path !== '')
    throw new ScimError(400, 'A path is a string.', 'invalidPath')
  if (op === 'remove') throw new ScimError(400, 'What is removed is named by a path.', 'noTarget')
  if (!isObject(value))
    throw new ScimError(400, 'Without a path the value is an object of attributes.', 'invalidValue')
  return Object.entries(value).flatMap(([name, part]) => {
    const target = readPath(name, definitions)
    return target === undefined || target.path.attribute.mutability === 'readOnly'
      ? []
      : [{ op, ...target, value: part }]
  })
}

function opOf(op: unknown): PatchOperation['op'] {
  const word = typeof op === 'string' ? op.toLowerCase() : undefined
  if (word === 'add' || word === 'replace' || word === 'remove') return word
  throw new ScimError(400, 'op is add, replace or remove.', 'invalidSyntax')
}

/** `name.familyName`, `emails[type eq "work"].value`. Undefined: not an attribute that Remit keeps. */
function readPath(
  text: string,
  definitions: readonly AttributeDefinition[],
): Pick<PatchOperation, 'path' | 'filter'> | undefined {
  if (text.length > charactersMax)
    throw new ScimError(400, `A path has at most ${charactersMax} characters.`, 'invalidPath')
  const open = text.indexOf('[')
  if (open === -1) {
    const path = pathIn(text, definitions)
    return path && { path, filter: undefined }
  }
  const close = text.lastIndexOf(']')
  const behind = text.slice(close + 1)
  if (close < open || (behind !== '' && !behind.startsWith('.')))
    throw new ScimError(400, `${text} is no path.`, 'invalidPath')
  const path = pathIn(`${text.slice(0, open)}${behind}`, definitions)
  if (path === undefined) return undefined
  const filter = parseFilter(text.slice(open + 1, close), path.attribute.subAttributes ?? [])
  return { path, filter }
}

/** The attributes after an operation. Does NOT check what is required: see `assertRequired`. */
export function applyOperation(attributes: Attributes, operation: PatchOperation): Attributes {
  const { attribute, part } = operation.path
  if ((part ?? attribute).mutability === 'readOnly')
    throw new ScimError(400, `${attribute.name} cannot be changed.`, 'mutability')
  const current = attributes[attribute.name]
  const next = attribute.multiValued
    ? changedValues(operation, listOf(current))
    : changedSingle(operation, current)
  const { [attribute.name]: _, ...others } = attributes
  return next === undefined ? others : { ...others, [attribute.name]: next }
}

const listOf = (value: AttributeValue | undefined): readonly Complex[] =>
  Array.isArray(value) ? value.filter(isComplex) : []

const isComplex = (value: unknown): value is Complex => isObject(value)

function changedSingle(
  { op, path: { attribute, part }, filter, value }: PatchOperation,
  current: AttributeValue | undefined,
): AttributeValue | undefined {
  if (filter !== undefined)
    throw new ScimError(400, `${attribute.name} has one value; no filter selects it.`, 'invalidPath')
  if (part === undefined) {
    const next = op === 'remove' ? undefined : readValue(attribute, value)
    return isComplex(next) && isComplex(current) ? { ...current, ...next } : next
  }
  return withPart(isComplex(current) ? current : {}, part, op === 'remove' ? null : value)
}

/** null: without it. Undefined: nothing is left. */
function withPart(complex: Complex, part: AttributeDefinition, value: unknown): Complex | undefined {
  const { [part.name]: _, ...others } = complex
  const next =
    value === null || value === undefined ? others : { ...others, [part.name]: readSimple(part, value) }
  return Object.keys(next).length === 0 ? undefined : next
}

function changedValues(
  operation: PatchOperation,
  current: readonly Complex[],
): readonly Complex[] | undefined {
  const { op, path, filter } = operation
  const next =
    filter === undefined && path.part === undefined
      ? changedWhole(operation, current)
      : changedSelected(operation, current)
  const isNewPrimary = op !== 'remove' && next.filter(({ primary }) => primary === true).length > 1
  const kept = isNewPrimary ? withoutOldPrimary(next, current) : next
  return kept.length === 0 ? undefined : kept
}

/** A new primary value takes the place of the old one (RFC 7644 §3.5.2). */
function withoutOldPrimary(next: readonly Complex[], current: readonly Complex[]): readonly Complex[] {
  const old = new Set(current.filter(({ primary }) => primary === true))
  return onePrimary(next.map((value) => (old.has(value) ? { ...value, primary: false } : value)))
}

function changedWhole(
  { op, path: { attribute }, value }: PatchOperation,
  current: readonly Complex[],
): readonly Complex[] {
  const given = listOf(readValue(attribute, value))
  if (op === 'replace') return given
  // Without a value all of them go; with one, as Entra sends it, those that it names.
  if (op === 'remove') {
    if (value === undefined || value === null) return []
    if (given.length === 0)
      throw invalidValue(attribute.name, 'what goes is not named. Without a value all of it goes.')
    return current.filter(({ value: own }) => !given.some((gone) => gone['value'] === own))
  }
  const known = new Set(current.map((complex) => canonical(complex)))
  return [...current, ...given.filter((complex) => !known.has(canonical(complex)))]
}

const canonical = (complex: Complex): string =>
  JSON.stringify(Object.entries(complex).sort(([a], [b]) => (a < b ? -1 : 1)))

function changedSelected(
  { op, path: { attribute, part }, filter, value }: PatchOperation,
  current: readonly Complex[],
): readonly Complex[] {
  const isChosen = (complex: Complex) => filter === undefined || matches(filter, complex)
  const change = (complex: Complex): Complex | undefined => {
    if (part !== undefined) return withPart(complex, part, op === 'remove' ? null : value)
    return op === 'remove' ? undefined : { ...complex, ...oneOf(attribute, value) }
  }
  if (op !== 'remove' && !current.some(isChosen)) {
    // RFC 7644 §3.5.2.3. To add where nothing is yet makes one that the filter finds: so Entra means it.
    if (op === 'replace') throw new ScimError(400, `${attribute.name} has no such value.`, 'noTarget')
    const made = change(filter === undefined ? {} : wantedBy(filter))
    return made === undefined ? current : [...current, made]
  }
  return current
    .map((complex) => (isChosen(complex) ? change(complex) : complex))
    .filter((complex) => complex !== undefined)
}

function oneOf(attribute: AttributeDefinition, value: unknown): Complex {
  const [complex, ...more] = listOf(readValue(attribute, value))
  if (complex === undefined || more.length > 0)
    throw invalidValue(attribute.name, 'takes one value where a filter selects.')
  return complex
}

/** Of `type eq "work"` the value that it would find. */
function wantedBy(filter: Filter): Complex {
  if (filter.kind === 'and') return { ...wantedBy(filter.left), ...wantedBy(filter.right) }
  if (filter.kind !== 'compare' || filter.operator !== 'eq') return {}
  const { path, value } = filter
  return typeof value === 'string' || typeof value === 'boolean' ? { [path.attribute.name]: value } : {}
}
