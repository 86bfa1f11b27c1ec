import { createHash } from 'node:crypto'
import type { AuthorizationModel } from '@openfga/sdk'
import { transformer, validator } from '@openfga/syntax-transformer'
import { TextError } from '../text-error.ts'

/** A model in OpenFGA's JSON form, as it is written to a server. */
export type ModelJson = Omit<AuthorizationModel, 'id'>

/** Reads a model's text. Throws TextError. Does not check what the model means: `compileModel` does. */
export function readDsl(dsl: string): ModelJson {
  const deep = tooDeepIn(dsl)
  if (deep !== undefined) throw new TextError(`line ${deep}: ${tooDeep}`)
  return reading(() => transformer.transformDSLToJSONObject(dsl))
}

const relationsMax = 500

/**
 * Many times ours. To compile more takes the thread that serves requests longer than others should wait.
 * Throws TextError.
 */
export function assertSmall({ type_definitions: types, conditions = {} }: ModelJson): void {
  const relations = types.reduce((sum, type) => sum + Object.keys(type.relations ?? {}).length, 0)
  if (relations + Object.keys(conditions).length > relationsMax)
    throw new TextError(`A model has at most ${relationsMax} relations and conditions.`)
}

const depthMax = 12
/** What is said of a model whose parentheses nest too deep. */
export const tooDeep = `Parentheses are nested more than ${depthMax} deep.`

/**
 * The line on which parentheses are nested deeper than anybody writes, from 1. The transformer takes seconds
 * for a hundred of them, and nobody else has a turn meanwhile.
 */
export function tooDeepIn(dsl: string): number | undefined {
  for (const [index, line] of dsl.split('\n').entries()) {
    let depth = 0
    for (const character of line) {
      depth += character === '(' ? 1 : character === ')' ? -1 : 0
      if (depth > depthMax) return index + 1
    }
  }
  return undefined
}

/** Reads the files of a model in modules (`fga.mod`). Throws TextError. */
export const readModules = (
  files: readonly { readonly name: string; readonly contents: string }[],
  schema: string,
): ModelJson => reading(() => transformer.transformModuleFilesToModel([...files], schema))

/** A model's text; for one of which only the JSON was kept, as OpenFGA's own tool writes it. */
export const textOf = ({
  dsl,
  json,
}: {
  readonly dsl: string | undefined
  readonly json: ModelJson
}): string =>
  dsl ?? transformer.transformJSONToDSL(json as Parameters<typeof transformer.transformJSONToDSL>[0])

/** SHA-256 of a model's text, in hex. */
export const digestOf = (text: string): string => createHash('sha256').update(text).digest('hex')

/**
 * Of a model and who may write its tuples, as one: sha256 of both texts with a NUL between, which stands in
 * neither.
 */
export const digestOfVersion = (dsl: string, allowList: string | undefined): string =>
  digestOf(allowList === undefined ? dsl : `${dsl}\0${allowList}`)

function reading(read: () => object): ModelJson {
  try {
    // Through text: what the transformer gives is no plain JSON, it holds members that are undefined.
    return JSON.parse(JSON.stringify(read())) as ModelJson
  } catch (error) {
    if (!(error instanceof Error)) throw error
    throw new TextError(linesOf(error), error)
  }
}

/** Where something is wrong in a text. Lines and columns count from 1. */
export interface Place {
  readonly line: number
  readonly column: number
  readonly message: string
}

/**
 * Where a text is no model, or means none, as far as OpenFGA's own tools know: {@link problemsMax} places at
 * most. Reads it once more: not for the thread that serves requests.
 */
export function placesIn(dsl: string): readonly Place[] {
  if (tooDeepIn(dsl) !== undefined) return []
  try {
    validator.validateDSL(dsl)
    return []
  } catch (error) {
    return problemsOf(error).flatMap(({ msg = 'cannot be read', line, column }) =>
      line === undefined ? [] : [{ line: line.start + 1, column: (column?.start ?? 0) + 1, message: msg }],
    )
  }
}

/** Of a text that is no model: each character may be one. */
export const problemsMax = 100

interface SyntaxProblem {
  readonly msg?: string
  readonly line?: { readonly start: number }
  readonly column?: { readonly start: number }
}

const problemsOf = (error: unknown): readonly SyntaxProblem[] =>
  error instanceof Error && 'errors' in error && Array.isArray(error.errors)
    ? error.errors.slice(0, problemsMax)
    : []

/** The transformer counts lines from 0 and words its own message so; people count from 1. */
function linesOf(error: Error): string {
  const lines = problemsOf(error).map(
    ({ msg, line }) => `line ${(line?.start ?? 0) + 1}: ${msg ?? 'cannot be read'}`,
  )
  return lines.join('; ') || error.message
}
