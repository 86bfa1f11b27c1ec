import type { errors } from '@openfga/syntax-transformer'
import { validator } from '@openfga/syntax-transformer'
import { compileModel } from '@remit/engine'
import { isTextError } from '../text-error.ts'
import { assertSmall, problemsMax, readDsl, tooDeep, tooDeepIn } from './dsl.ts'
import { type Finding, refusalsOf, warningsOf } from './invariants.ts'
import { withMarks } from './with-marks.ts'

/**
 * What is wrong in a model's text, and where: lines and columns count from 1, `endColumn` is the first behind
 * it.
 */
export interface TextProblem {
  readonly line: number
  readonly column: number
  readonly endLine: number
  readonly endColumn: number
  readonly message: string
}

/** What is wrong with the text of a model, and what must not come into force. */
export interface ModelCheck {
  readonly problems: readonly TextProblem[]
  /** Of a text without problems: none of these may come into force. */
  readonly refusals: readonly Finding[]
  readonly warnings: readonly Finding[]
}

/** What a text alone shows, for whoever is writing it. Asks nobody and looks at no tuple: a plan does. */
export function checkText(dsl: string): ModelCheck {
  const problems = problemsOf(dsl)
  if (problems.length > 0) return { problems, refusals: [], warnings: [] }
  try {
    const json = readDsl(dsl)
    assertSmall(json)
    const model = compileModel(withMarks({ dsl: undefined, json }).json)
    return { problems, refusals: refusalsOf(model), warnings: warningsOf(model) }
  } catch (error) {
    if (!isTextError(error)) throw error
    // What OpenFGA's own reading lets pass has no place in the text.
    return { problems: [problemAtStart(error.message)], refusals: [], warnings: [] }
  }
}

type Found = errors.DSLSyntaxError['errors'][number] | errors.ModelValidationError['errors'][number]

function problemsOf(dsl: string): readonly TextProblem[] {
  const deep = tooDeepIn(dsl)
  if (deep !== undefined) return [{ ...problemAtStart(tooDeep), line: deep, endLine: deep }]
  try {
    validator.validateDSL(dsl)
    return []
  } catch (error) {
    if (!(error instanceof Error)) throw error
    const found = 'errors' in error && Array.isArray(error.errors) ? (error.errors as readonly Found[]) : []
    return found.length === 0 ? [problemAtStart(error.message)] : found.slice(0, problemsMax).map(toProblem)
  }
}

/** Its reader counts lines and columns from 0. */
const toProblem = ({ msg, line, column }: Found): TextProblem => ({
  line: (line?.start ?? 0) + 1,
  column: (column?.start ?? 0) + 1,
  endLine: (line?.end ?? 0) + 1,
  endColumn: (column?.end ?? 0) + 1,
  message: msg,
})

/** A problem of the text as a whole, shown at its first character. */
export const problemAtStart = (message: string): TextProblem => ({
  line: 1,
  column: 1,
  endLine: 1,
  endColumn: 1,
  message,
})
