import type { Arbitrary } from 'fast-check'
import fc from '../support/properties.ts'
import { createValues, type Schema, type Values } from './schema-arbitrary.ts'

interface Operation {
  readonly parameters?: readonly {
    readonly name: string
    readonly in: string
    readonly required?: boolean
    readonly schema?: Schema
  }[]
  readonly requestBody?: { readonly content?: Readonly<Record<string, { readonly schema?: Schema }>> }
}

export interface OpenApiDocument {
  readonly paths: Readonly<Record<string, Readonly<Record<string, Operation>>>>
  readonly components?: { readonly schemas?: Readonly<Record<string, Schema>> }
}

export interface HostileRequest {
  /** `put /documents/{id}` */
  readonly operation: string
  readonly method: string
  readonly path: string
  readonly headers: Readonly<Record<string, string>>
  readonly body: string | undefined
  /** Whose token it carries. */
  readonly as: string
}

export interface Vocabulary {
  /** Values that may be right for a member or parameter of this name, in a path too. */
  readonly byName: Readonly<Record<string, readonly string[]>>
  /** Whoever may carry a token. */
  readonly everybody: readonly string[]
  /** Whose token the operation is for: half of the requests carry theirs. */
  readonly callers: (operation: string) => readonly string[]
  /**
   * Makes a body right that only fits its schema: what no schema can say. Every other right body is repaired.
   */
  readonly repair: (operation: string, body: Body) => Body
}

export type Body = Readonly<Record<string, unknown>>

/** Random requests over every operation of a contract: half of them right, half nearly right or hostile. */
export const hostileRequests = (
  document: OpenApiDocument,
  vocabulary: Vocabulary,
): Arbitrary<HostileRequest> =>
  fc.oneof(
    ...operationsOf(document).flatMap((operation) => {
      const as = fc.oneof(
        fc.constantFrom(...vocabulary.callers(operation.name)),
        fc.constantFrom(...vocabulary.everybody),
      )
      return [true, false].map((isGentle) => {
        const context = contextOf(document, operation, vocabulary, isGentle)
        return toRequests(operation, isGentle ? rightParts(context) : hostileParts(context), as)
      })
    }),
  )

/** For every operation, requests of those whom it is for that are right in all that is known of them. */
export const rightRequests = (
  document: OpenApiDocument,
  vocabulary: Vocabulary,
): readonly Arbitrary<HostileRequest>[] =>
  operationsOf(document).map((operation) =>
    toRequests(
      operation,
      repairedParts(contextOf(document, operation, vocabulary, true)),
      fc.constantFrom(...vocabulary.callers(operation.name)),
    ),
  )

interface NamedOperation {
  readonly path: string
  readonly method: string
  readonly name: string
  readonly operation: Operation
}

const operationsOf = (document: OpenApiDocument): NamedOperation[] =>
  Object.entries(document.paths).flatMap(([path, methods]) =>
    Object.entries(methods).map(([method, operation]) => ({
      path,
      method,
      name: `${method} ${path}`,
      operation,
    })),
  )

function contextOf(
  document: OpenApiDocument,
  { name, method, operation }: NamedOperation,
  { byName, repair }: Vocabulary,
  isGentle: boolean,
): Context {
  const line =
    document.paths['/documents/{id}']?.['put']?.requestBody?.content?.['application/json']?.schema ?? {}
  const values = createValues({ schemas: document.components?.schemas ?? {}, byName, isGentle })
  return { values, method, operation, line, repair: (body) => repair(name, body) }
}

const toRequests = (
  { path, method, name }: NamedOperation,
  parts: Arbitrary<Parts>,
  as: Arbitrary<string>,
): Arbitrary<HostileRequest> =>
  fc.tuple(parts, as).map(([given, who]) => ({ ...toRequest(path, method, given), operation: name, as: who }))

interface Context {
  readonly values: Values
  readonly method: string
  readonly operation: Operation
  /** What one line of NDJSON holds. */
  readonly line: Schema
  readonly repair: (body: Body) => Body
}

interface Parts {
  readonly verb: string
  readonly segment: string
  readonly query: Readonly<Record<string, string>>
  readonly type: string
  readonly body: string | undefined
  readonly headers: Readonly<Record<string, string>>
}

function toRequest(path: string, method: string, { verb, segment, query, type, body, headers }: Parts) {
  const search = new URLSearchParams(
    Object.entries(query).map(([name, value]): [string, string] => [name, value.toWellFormed()]),
  )
  const sent =
    verb === 'GET' || verb === 'HEAD'
      ? undefined
      : (body ?? (verb === method.toUpperCase() ? undefined : '{}'))
  return {
    method: verb,
    path: path.replace(/\{\w+\}/g, () => segment) + (search.size > 0 ? `?${search}` : ''),
    headers: { ...headers, ...(sent !== undefined && { 'content-type': type }) },
    body: sent,
  }
}

const encode = (text: string): string => encodeURIComponent(text.toWellFormed())
const stringify = (value: unknown): string => JSON.stringify(value) ?? ''

const rightParts = (context: Context): Arbitrary<Parts> =>
  fc.oneof(
    fittingParts(context, (body) => body),
    repairedParts(context),
  )

const repairedParts = (context: Context): Arbitrary<Parts> => fittingParts(context, context.repair)

function fittingParts(
  { values, method, operation, line }: Context,
  finish: (body: Body) => Body,
): Arbitrary<Parts> {
  const [type = '', content] = contentOf(operation)
  const json = values.of(content?.schema ?? {}).map((body) => stringify(finish(body as Body)))
  const lines = fc.array(values.of(line).map(stringify), { maxLength: 4 }).map((all) => all.join('\n'))
  const needed = (operation.parameters ?? []).filter(
    ({ in: place, required }) => place === 'query' && required,
  )
  return fc.record({
    verb: fc.constant(method.toUpperCase()),
    segment: values.text(nameInPath(operation)).map(encode),
    query: fc.record(Object.fromEntries(needed.map(({ name }) => [name, values.text(name)]))),
    type: fc.constant(type),
    body: type === '' ? fc.constant(undefined) : type.includes('ndjson') ? lines : json,
    headers: fc.constant({}),
  })
}

const verbs = ['GET', 'POST', 'PUT', 'DELETE', 'PATCH', 'HEAD', 'OPTIONS']
const types = ['application/json', 'application/x-ndjson', 'text/plain', '', 'a/b; charset=x']
const bodies = [
  '',
  '{',
  'null',
  '"x"',
  '\0',
  '{"a":1e999}',
  `${'['.repeat(5_000)}${']'.repeat(5_000)}`,
  '{"__proto__":{"a":1}}',
]
const lastLines = ['{"end":1}', '{"end":-1}', '{"end":"x"}', '']
const oddHeaders = [
  ...['wait=1', 'wait=-1', 'wait=NaN, wait', ',;='].map((prefer) => ({ prefer })),
  ...['k1', '', 'x'.repeat(300), 'a b'].map((key) => ({ 'idempotency-key': key })),
]

function hostileParts({ values, method, operation, line }: Context): Arbitrary<Parts> {
  const [type = 'application/json', content] = contentOf(operation)
  const named = (operation.parameters ?? [])
    .filter((parameter) => parameter.in === 'query')
    .map(({ name }) => name)
  const json = fc.oneof(
    { weight: 8, arbitrary: values.of(content?.schema ?? {}).map(stringify) },
    { weight: 2, arbitrary: values.anything.map(stringify) },
    { weight: 1, arbitrary: fc.constantFrom(...bodies) },
    { weight: 1, arbitrary: fc.string() },
  )
  const oneLine = fc.oneof(values.of(line).map(stringify), json, fc.constantFrom(...lastLines))
  const lines = fc.array(oneLine, { maxLength: 4 }).map((all) => all.join('\n'))
  return fc.record({
    verb: mostly(fc.constant(method.toUpperCase()), fc.constantFrom(...verbs)),
    segment: mostly(
      values.text(nameInPath(operation)).map(encode),
      values.text(nameInPath(operation)).map((text) => text.replaceAll(/[\s\0#?]/g, '')),
    ),
    query: fc.dictionary(fc.constantFrom(...named, 'x', '__proto__'), values.text('query'), { maxKeys: 2 }),
    type: mostly(fc.constant(type), fc.constantFrom(...types)),
    body: type.includes('ndjson') ? lines : json,
    headers: mostly(fc.constant({}), fc.constantFrom(...oddHeaders)),
  })
}

/** What stands in the path is one of ours by its own name; of several, all take the first one's. */
const nameInPath = ({ parameters }: Operation): string =>
  parameters?.find((parameter) => parameter.in === 'path')?.name ?? 'id'

const contentOf = ({ requestBody }: Operation) => Object.entries(requestBody?.content ?? {})[0] ?? []

const mostly = <T>(usual: Arbitrary<T>, odd: Arbitrary<T>): Arbitrary<T> =>
  fc.oneof({ weight: 6, arbitrary: usual }, { weight: 1, arbitrary: odd })
