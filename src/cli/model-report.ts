import type { Question } from '../authz/model/store-file.ts'
import type { Answer, QuestionResult, TestResult } from '../authz/model/store-test.ts'

export const isPassing = (results: readonly TestResult[]): boolean => results.every(testPasses)

/** What failed, then the counts, in the shape of OpenFGA's own tool. */
export function reportOf(results: readonly TestResult[]): string {
  const failing = results.filter((result) => !testPasses(result))
  const questionResults = results.flatMap((result) => result.results)
  const counts = kinds
    .map(({ kind, name }) => ({
      name,
      ofKind: questionResults.filter(({ question }) => question.kind === kind),
    }))
    .filter(({ ofKind }) => ofKind.length > 0)
    .map(({ name, ofKind }) => `${name} ${passing(ofKind)} passing`)
  const summary = [
    '# Test Summary #',
    `Tests ${results.length - failing.length}/${results.length} passing`,
    ...counts,
  ]
  return [...failing.map(failureOf), summary.join('\n')].join('\n---\n')
}

const kinds = [
  { kind: 'check', name: 'Checks' },
  { kind: 'list_objects', name: 'ListObjects' },
  { kind: 'list_users', name: 'ListUsers' },
] as const

const testPasses = ({ refused: refusal, results }: TestResult): boolean =>
  refusal === undefined && results.every(({ passed }) => passed)

const passing = (results: readonly QuestionResult[]): string =>
  `${results.filter(({ passed }) => passed).length}/${results.length}`

function failureOf({ name, refused: refusal, results }: TestResult): string {
  if (refusal !== undefined) return `(FAILING) ${name}: its tuples are refused: ${refusal}`
  const counts = kinds
    .map((kind) => ({ ...kind, ofKind: results.filter(({ question }) => question.kind === kind.kind) }))
    .filter(({ ofKind }) => ofKind.length > 0)
    .map(({ name: kindName, ofKind }) => `${kindName} (${passing(ofKind)} passing)`)
  const lines = results.filter(({ passed }) => !passed).map(differenceOf)
  return [`(FAILING) ${name}: ${counts.join(' | ')}`, ...lines].join('\n')
}

function differenceOf({ question, got }: QuestionResult): string {
  return `ⅹ ${questionText(question)}: expected=${answerText(question.expected)}, got=${answerText(got)}${listDifference(question.expected, got)}`
}

function questionText(question: Question): string {
  const contextText = question.context === undefined ? '' : `,context=${JSON.stringify(question.context)}`
  switch (question.kind) {
    case 'check':
      return `Check(user=${question.user},relation=${question.relation},object=${question.object}${contextText})`
    case 'list_objects':
      return `ListObjects(user=${question.user},relation=${question.relation},type=${question.type}${contextText})`
    case 'list_users': {
      const { type, relation } = question.filter
      const filter = relation === undefined ? type : `${type}#${relation}`
      return `ListUsers(object=${question.object},relation=${question.relation},user_filter=${filter}${contextText})`
    }
  }
}

function answerText(answer: Answer): string {
  if (typeof answer === 'boolean') return String(answer)
  return 'error' in answer ? `N/A, error=${answer.error}` : `[${answer.join(' ')}]`
}

/** In a list of forty nobody sees the one that is missing. */
function listDifference(expected: Question['expected'], got: Answer): string {
  if (typeof expected === 'boolean' || typeof got === 'boolean' || 'error' in got) return ''
  const missing = expected
    .filter((expectedItem) => !got.includes(expectedItem))
    .map((missingItem) => `\n    missing:    ${missingItem}`)
  const extra = got
    .filter((gotItem) => !expected.includes(gotItem))
    .map((extraItem) => `\n    unexpected: ${extraItem}`)
  return [...missing, ...extra].join('')
}
