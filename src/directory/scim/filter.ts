import { type AttributeDefinition, definitionOf, isObject } from './attributes.ts'
import { ScimError } from './errors.ts'

/** What a filter asks of a resource (RFC 7644 §3.4.2.2). */
export type Filter =
  | { readonly kind: 'and' | 'or'; readonly left: Filter; readonly right: Filter }
  | { readonly kind: 'not'; readonly inner: Filter }
  | { readonly kind: 'present'; readonly path: AttributePath }
  | {
      readonly kind: 'compare'
      readonly path: AttributePath
      readonly operator: Operator
      readonly value: Literal
    }
  /** `emails[type eq "work"]`: one value holds all of it. */
  | { readonly kind: 'some'; readonly attribute: AttributeDefinition; readonly inner: Filter }

/** An attribute, or one part of it. */
export interface AttributePath {
  readonly attribute: AttributeDefinition
  readonly part: AttributeDefinition | undefined
}

const operators = ['eq', 'ne', 'co', 'sw', 'ew', 'gt', 'ge', 'lt', 'le'] as const
type Operator = (typeof operators)[number]
type Literal = string | number | boolean | null

const charactersMax = 4_000
const depthMax = 20
const termsMax = 50

/**
 * Reads a filter over these attributes. Throws `invalidFilter` for what is no filter, or is too long or too
 * deep, and for an attribute that there is not; `unknownAbsent`: that one has no value then.
 */
export function parseFilter(
  text: string,
  definitions: readonly AttributeDefinition[],
  { unknownAbsent = false }: { readonly unknownAbsent?: boolean } = {},
): Filter {
  if (text.length > charactersMax) throw wrong(`A filter has at most ${charactersMax} characters.`)
  const tokens = tokensOf(text)
  const parser = new Parser(tokens, definitions, unknownAbsent)
  const filter = parser.either()
  if (!parser.isAtEnd) throw wrong('Something stands behind the end of the filter.')
  return filter
}

const wrong = (detail: string): ScimError => new ScimError(400, detail, 'invalidFilter')

type Token =
  | { readonly kind: 'word'; readonly text: string }
  | { readonly kind: 'string'; readonly value: string }
  | { readonly kind: 'mark'; readonly text: string }

// A string as JSON has it, a bracket, or a word: an attribute, an operator, a number.
const tokenForm = /\s*(?:("(?:[^"\\]|\\.)*")|([()[\]])|([^\s()[\]"]+))/gy

function tokensOf(text: string): readonly Token[] {
  const tokens: Token[] = []
  const end = text.trimEnd().length
  for (let at = 0; at < end; at = tokenForm.lastIndex) {
    tokenForm.lastIndex = at
    const match = tokenForm.exec(text)
    if (match === null) throw wrong('A string is not closed.')
    const [, string, mark, word] = match
    if (string !== undefined) tokens.push({ kind: 'string', value: stringOf(string) })
    else if (mark !== undefined) tokens.push({ kind: 'mark', text: mark })
    else tokens.push({ kind: 'word', text: word ?? '' })
  }
  return tokens
}

function stringOf(json: string): string {
  try {
    const value: unknown = JSON.parse(json)
    // Which no stored text holds, and the database refuses.
    if (typeof value === 'string' && !value.includes('\0')) return value
  } catch {
    // Said below.
  }
  throw wrong('A string is not as JSON has it.')
}

// Also behind the URN of a schema that Remit does not keep.
const nameForm = /^[A-Za-z$][\w$:.-]*$/

/** One that Remit does not keep. No resource has a value by this name. */
const unknown: AttributeDefinition = {
  name: '',
  type: 'complex',
  multiValued: true,
  description: '',
  required: false,
  caseExact: true,
  mutability: 'readOnly',
  returned: 'default',
  uniqueness: 'none',
}

class Parser {
  readonly #tokens: readonly Token[]
  readonly #definitions: readonly AttributeDefinition[]
  readonly #unknownAbsent: boolean
  #at = 0
  #depth = 0
  #terms = 0

  constructor(tokens: readonly Token[], definitions: readonly AttributeDefinition[], unknownAbsent: boolean) {
    this.#tokens = tokens
    this.#definitions = definitions
    this.#unknownAbsent = unknownAbsent
  }

  get isAtEnd(): boolean {
    return this.#at >= this.#tokens.length
  }

  /** `and` binds closer than `or`. */
  either(within?: AttributeDefinition): Filter {
    this.#depth += 1
    if (this.#depth > depthMax) throw wrong(`A filter is at most ${depthMax} deep.`)
    let filter = this.#both(within)
    while (this.#takeWord('or')) filter = { kind: 'or', left: filter, right: this.#both(within) }
    this.#depth -= 1
    return filter
  }

  #both(within: AttributeDefinition | undefined): Filter {
    let filter = this.#term(within)
    while (this.#takeWord('and')) filter = { kind: 'and', left: filter, right: this.#term(within) }
    return filter
  }

  #term(within: AttributeDefinition | undefined): Filter {
    this.#terms += 1
    if (this.#terms > termsMax) throw wrong(`A filter has at most ${termsMax} terms.`)
    if (this.#takeWord('not')) {
      this.#expect('(')
      return { kind: 'not', inner: this.#closed(')', within) }
    }
    if (this.#takeMark('(')) return this.#closed(')', within)
    const name = this.#tokens[this.#at++]
    if (name?.kind !== 'word') throw wrong('The name of an attribute is missing.')
    const path = this.#pathOf(name.text, within)
    if (within === undefined && this.#takeMark('[')) {
      const { attribute } = path
      if (path.part !== undefined || attribute.type !== 'complex')
        throw wrong('[ ] follows a complex attribute.')
      const inner = this.#closed(']', attribute)
      const part = this.#takePart()
      if (part === undefined) return { kind: 'some', attribute, inner }
      const right = this.#condition(this.#pathOf(part, attribute))
      return { kind: 'some', attribute, inner: { kind: 'and', left: inner, right } }
    }
    return this.#condition(path)
  }

  #pathOf(text: string, within: AttributeDefinition | undefined): AttributePath {
    const path = pathIn(text, within === undefined ? this.#definitions : (within.subAttributes ?? []))
    if (path !== undefined) return path
    if (!this.#unknownAbsent || !nameForm.test(text)) throw wrong('It names an attribute that there is not.')
    return { attribute: unknown, part: undefined }
  }

  /** Of `emails[type eq "work"].value` the last part. */
  #takePart(): string | undefined {
    const token = this.#tokens[this.#at]
    if (token?.kind !== 'word' || !token.text.startsWith('.')) return undefined
    this.#at += 1
    return token.text.slice(1)
  }

  #condition(path: AttributePath): Filter {
    if (this.#takeWord('pr')) return { kind: 'present', path }
    const word = this.#tokens[this.#at++]
    const operator = operators.find((known) => word?.kind === 'word' && word.text.toLowerCase() === known)
    if (operator === undefined) throw wrong('An operator is missing.')
    const value = literalOf(this.#tokens[this.#at++])
    if (typeof value === 'boolean' && operator !== 'eq' && operator !== 'ne')
      throw wrong('true and false are compared by eq and ne only.')
    return { kind: 'compare', path, operator, value }
  }

  #closed(mark: ')' | ']', within: AttributeDefinition | undefined): Filter {
    const inner = this.either(within)
    this.#expect(mark)
    return inner
  }

  #expect(mark: string): void {
    if (!this.#takeMark(mark)) throw wrong(`${mark} is missing.`)
  }

  #takeMark(mark: string): boolean {
    const token = this.#tokens[this.#at]
    if (token?.kind !== 'mark' || token.text !== mark) return false
    this.#at += 1
    return true
  }

  #takeWord(word: string): boolean {
    const token = this.#tokens[this.#at]
    if (token?.kind !== 'word' || token.text.toLowerCase() !== word) return false
    this.#at += 1
    return true
  }
}

function literalOf(token: Token | undefined): Literal {
  if (token?.kind === 'string') return token.value
  if (token?.kind !== 'word') throw wrong('A value is missing.')
  const { text } = token
  if (text === 'null') return null
  // Entra asks `active eq "True"` and `active eq True` alike.
  if (/^(true|false)$/i.test(text)) return text.toLowerCase() === 'true'
  if (/^-?\d{1,15}(\.\d{1,15})?$/.test(text)) return Number(text)
  throw wrong('A value is a string in quotes, a number, true, false or null.')
}

/**
 * The attribute that a path names, without the filter that may stand in it: `userName`, `name.familyName`,
 * also behind the schema's URN. Undefined: there is none.
 */
export function pathIn(text: string, definitions: readonly AttributeDefinition[]): AttributePath | undefined {
  const [name = '', partName, ...rest] = withoutUrn(text).split('.')
  const attribute = definitionOf(definitions, name)
  if (attribute === undefined || rest.length > 0) return undefined
  if (partName === undefined) return { attribute, part: undefined }
  const part = definitionOf(attribute.subAttributes ?? [], partName)
  return part && { attribute, part }
}

// Another schema's attribute is not ours, even where it has the name of one.
const ownUrn = /^urn:ietf:params:scim:schemas:core:2\.0:(?:user|group):/i
/** Of `urn:ietf:params:scim:schemas:core:2.0:User:name.familyName` what stands behind the schema. */
const withoutUrn = (text: string): string => text.replace(ownUrn, '')

/** Whether a resource is one that the filter asks for. */
export function matches(filter: Filter, resource: Readonly<Record<string, unknown>>): boolean {
  switch (filter.kind) {
    case 'and':
      return matches(filter.left, resource) && matches(filter.right, resource)
    case 'or':
      return matches(filter.left, resource) || matches(filter.right, resource)
    case 'not':
      return !matches(filter.inner, resource)
    case 'present':
      return valuesAt(filter.path, resource).length > 0
    case 'some':
      return complexAt(filter.attribute, resource).some((value) => matches(filter.inner, value))
    case 'compare': {
      const { path, operator, value } = filter
      const found = valuesAt(path, resource)
      if (value === null) return (operator === 'eq') === (found.length === 0)
      if (found.length === 0) return operator === 'ne'
      const { caseExact, type } = definitionCompared(path)
      const asCompared = type === 'dateTime' ? instantOf : caseExact ? asItIs : inLowerCase
      return found.some((candidate) => compares(asCompared(candidate), operator, asCompared(value)))
    }
  }
}

/** A multi-valued attribute named alone is compared by its `value` (RFC 7644 §3.4.2.2). */
const definitionCompared = ({ attribute, part }: AttributePath): AttributeDefinition =>
  part ?? definitionOf(attribute.subAttributes ?? [], 'value') ?? attribute

function complexAt(
  { name }: AttributeDefinition,
  resource: Readonly<Record<string, unknown>>,
): Readonly<Record<string, unknown>>[] {
  const value = resource[name]
  return (Array.isArray(value) ? value : [value]).filter(isObject)
}

function valuesAt(path: AttributePath, resource: Readonly<Record<string, unknown>>): unknown[] {
  const { attribute } = path
  if (attribute.type !== 'complex') return [resource[attribute.name]].filter(isSomething)
  const compared = definitionCompared(path)
  const values = complexAt(attribute, resource)
  // `emails pr`, `name pr`: any value at all.
  return compared === attribute ? values : values.map((value) => value[compared.name]).filter(isSomething)
}

const isSomething = (value: unknown): boolean => value !== undefined && value !== null && value !== ''

const asItIs = (value: unknown): unknown => value
const inLowerCase = (value: unknown): unknown => (typeof value === 'string' ? value.toLowerCase() : value)
/** Two ways to write one moment are one moment. */
const instantOf = (value: unknown): unknown => {
  const time = typeof value === 'string' ? Date.parse(value) : Number.NaN
  return Number.isNaN(time) ? undefined : new Date(time).toISOString()
}

function compares(left: unknown, operator: Operator, right: unknown): boolean {
  if (typeof left === 'boolean') {
    // Entra asks for "True".
    const wanted = typeof right === 'string' ? right === 'true' : right
    return operator === 'ne' ? left !== wanted : operator === 'eq' && left === wanted
  }
  if (typeof left !== 'string' || typeof right !== 'string') return operator === 'ne'
  switch (operator) {
    case 'eq':
      return left === right
    case 'ne':
      return left !== right
    case 'co':
      return left.includes(right)
    case 'sw':
      return left.startsWith(right)
    case 'ew':
      return left.endsWith(right)
    case 'gt':
      return left > right
    case 'ge':
      return left >= right
    case 'lt':
      return left < right
    case 'le':
      return left <= right
  }
}
