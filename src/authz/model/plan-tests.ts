import type { PlanTests as ToldTests } from '@remit/contract/model'
import { pluralize } from '../../kernel/pluralize.ts'
import type { Question } from './store-file.ts'
import type { TestResult } from './store-test.ts'

/** What the truth table says of a planned model, as it is stored with the plan. */
export interface PlanTests {
  /** sha256 of the table's text; undefined where it could not be read. */
  readonly digest: string | undefined
  /** Questions that were answered as expected. */
  readonly passed: number
  /** Those that were not, and tests whose tuples OpenFGA refused. */
  readonly failed: number
  readonly failures: readonly TestFailure[]
  /** Why it did not run. */
  readonly error?: string
}

/** Without a question and answers where OpenFGA `refused` the test's tuples. */
type TestFailure = ToldTests['failures'][number]

/** The results of a plan's tests: their failures, and the digest of what was tested. */
export function testsOfPlan(digest: string, results: readonly TestResult[]): PlanTests {
  const failures = results.flatMap(({ name, refused: refusal, results: questionResults }): TestFailure[] =>
    refusal !== undefined
      ? [{ test: name, refused: refusal }]
      : questionResults
          .filter(({ passed }) => !passed)
          .map(({ question, got }) => ({
            test: name,
            question: questionText(question),
            expected: question.expected,
            got,
          })),
  )
  const passed = results.flatMap((test) => test.results).filter((result) => result.passed).length
  const asksNothing = passed === 0 && failures.length === 0
  return {
    digest,
    passed,
    failed: failures.length,
    failures,
    ...(asksNothing && { error: 'It asks nothing.' }),
  }
}

/** Undefined: it did not run, or the plan was made before plans had tests, which counts as failed. */
export const hold = (tests: PlanTests | undefined): boolean =>
  tests !== undefined && tests.error === undefined && tests.failed === 0

/** Whether a second run shows what whoever confirmed the first one did not see. */
export function showsMore(newTests: PlanTests, oldTests: PlanTests | undefined): boolean {
  if (newTests.error !== undefined) return oldTests?.error === undefined
  const knownFailures = new Set(oldTests?.failures.map(keyOf))
  return (
    newTests.failed > (oldTests?.failed ?? 0) ||
    newTests.failures.some((failure) => !knownFailures.has(keyOf(failure)))
  )
}

// As a list: Postgres gives members back in another order.
const keyOf = ({ test, question, expected, got, refused: refusal }: TestFailure): string =>
  JSON.stringify([test, question, expected, got, refusal])

/** In a sentence, of tests that do not {@link hold}. */
export const whatFails = (tests: PlanTests | undefined): string =>
  tests === undefined || tests.error !== undefined
    ? `The truth table did not run on this model${tests?.error === undefined ? '.' : `: ${tests.error}`}`
    : `${pluralize(tests.failed, 'test')} of the truth table ${tests.failed === 1 ? 'fails' : 'fail'} under this model.`

/** For the record, which holds no questions. */
export const countsOf = ({ passed, failed, error }: PlanTests) => ({
  tests_passed: passed,
  tests_failed: failed,
  ...(error !== undefined && { tests_error: error }),
})

/** A question of a test in one line. */
export function questionText(question: Question): string {
  switch (question.kind) {
    case 'check':
      return `${question.user} ${question.relation} ${question.object}`
    case 'list_objects':
      return `${question.type}s of which ${question.user} has ${question.relation}`
    case 'list_users':
      return `${question.filter.type}s who have ${question.relation} of ${question.object}`
  }
}
