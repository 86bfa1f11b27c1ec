import { existsSync, readFileSync } from 'node:fs'
import { join, resolve } from 'node:path'
import { parse } from 'yaml'
import type { JsonObject } from '../../src/core/condition-values.ts'
import { fgaCodes } from '../../src/core/errors.ts'

/** Published data of OpenFGA, beside the repository or where `REMIT_SHARED` says; never copied into it. */
export const publishedFolder = join(
  process.env['REMIT_SHARED'] ?? resolve(import.meta.dirname, '../../../../../shared'),
  'data/openfga',
)

/**
 * The matrices of the server's own version, where `.ci/services` left them; else those among the published
 * data.
 */
const matrixFolder = process.env['OPENFGA_MATRICES'] ?? publishedFolder

export const matrixFiles = ['consolidated_1_1_tests.yaml', 'abac_tests.yaml'] as const

export const hasMatrices = matrixFiles.every((file) => existsSync(join(matrixFolder, file)))

interface Assertion {
  readonly expectation?: boolean | readonly string[] | null
  readonly errorCode?: number
  readonly context?: JsonObject
  readonly contextualTuples?: readonly JsonObject[]
}

export interface CheckAssertion extends Assertion {
  readonly tuple: JsonObject
}

export interface ListObjectsAssertion extends Assertion {
  readonly request: { readonly user: string; readonly type: string; readonly relation: string }
}

export interface ListUsersAssertion extends Assertion {
  readonly request: {
    readonly object: string
    readonly relation: string
    readonly filters: readonly string[]
  }
}

export interface Stage {
  readonly name?: string
  readonly model: string
  readonly tuples?: readonly JsonObject[] | null
  readonly checkAssertions?: readonly CheckAssertion[] | null
  readonly listObjectsAssertions?: readonly ListObjectsAssertion[] | null
  readonly listUsersAssertions?: readonly ListUsersAssertion[] | null
}

export const assertionsOf = (stage: Stage): number =>
  [stage.checkAssertions, stage.listObjectsAssertions, stage.listUsersAssertions].reduce(
    (sum, assertions) => sum + (assertions?.length ?? 0),
    0,
  )

export interface MatrixTest {
  readonly name: string
  readonly stages: readonly Stage[]
}

export function readMatrix(file: string): readonly MatrixTest[] {
  const content: { tests: readonly MatrixTest[] } = parse(readFileSync(join(matrixFolder, file), 'utf8'), {
    uniqueKeys: false,
  })
  return content.tests
}

/** The string of a numeric OpenFGA error code, as the HTTP API answers it. */
export function codeName(number: number): string {
  const found = Object.entries(fgaCodes).find(([, value]) => value === number)
  return found?.[0] ?? `unknown ${number}`
}

/** The expectation of an assertion in the form of a verdict. */
export function expected(assertion: Assertion): boolean | string | readonly string[] {
  if (assertion.errorCode !== undefined && assertion.errorCode !== 0)
    return `code:${codeName(assertion.errorCode)}`
  if (typeof assertion.expectation === 'boolean') return assertion.expectation
  return [...(assertion.expectation ?? [])].sort()
}

/** Expressions inside tuples are an experiment of the server; its own DSL parser for npm cannot read them. */
export const needsExpression = (stage: Stage): boolean =>
  stage.model.includes('$expression') || JSON.stringify(stage.tuples ?? []).includes('$expression')
