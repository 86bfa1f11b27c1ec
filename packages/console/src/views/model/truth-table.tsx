import type { ModelAnswer, TestRun } from '@remit/contract/model'

/** An answer of the model in words. */
export const answerText = (answer: ModelAnswer): string => {
  if (typeof answer === 'boolean') return answer ? 'yes' : 'no'
  return 'error' in answer ? answer.error : answer.join(', ') || 'nobody and nothing'
}

const fails = ({ refused: refusal, questions }: TestRun['tests'][number]): boolean =>
  refusal !== undefined || questions.some((question) => !question.passed)
const badFirst = (test: TestRun['tests'][number], otherTest: TestRun['tests'][number]): number =>
  Number(fails(otherTest)) - Number(fails(test))

/** What failed first, each answer beside what was expected; all of it folded below. */
export function TruthTable({ tested }: { readonly tested: TestRun }) {
  const { passed, failed, tests } = tested
  return (
    <section aria-label="Truth table">
      <p class={failed === 0 ? 'done' : 'problem'} role="status">
        {passed} hold, {failed} do not.
      </p>
      <ul class="plain tests">
        {tests.toSorted(badFirst).map((test) => {
          const { name, refused: refusal, questions } = test
          const isBad = fails(test)
          return (
            <li key={name}>
              <details open={isBad}>
                <summary>
                  <span class={isBad ? 'bad' : undefined}>{isBad ? '✕' : '✓'}</span> {name}
                </summary>
                {refusal !== undefined && <p class="bad">OpenFGA refused its tuples: {refusal}</p>}
                <ul>
                  {questions.map(({ question, expected, got, passed: holds }, index) => (
                    // One question may be asked twice, with other contexts.
                    // biome-ignore lint/suspicious/noArrayIndexKey: a table of one answer never changes
                    <li key={`${index} ${question}`} class={holds ? undefined : 'bad'}>
                      <code>{question}</code>: {answerText(got)}
                      {!holds && `, expected: ${answerText(expected)}`}
                    </li>
                  ))}
                </ul>
              </details>
            </li>
          )
        })}
      </ul>
    </section>
  )
}
