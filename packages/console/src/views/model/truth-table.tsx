import type { Answer, Tested } from './wire.ts'

export const said = (answer: Answer): string => {
  if (typeof answer === 'boolean') return answer ? 'yes' : 'no'
  return 'error' in answer ? answer.error : answer.join(', ') || 'nobody and nothing'
}

const fails = ({ refused, questions }: Tested['tests'][number]): boolean =>
  refused !== undefined || questions.some((one) => !one.passed)
const badFirst = (one: Tested['tests'][number], other: Tested['tests'][number]): number =>
  Number(fails(other)) - Number(fails(one))

/** What failed first, each answer beside what was expected; all of it folded below. */
export function TruthTable({ tested }: { readonly tested: Tested }) {
  const { passed, failed, tests } = tested
  return (
    <section aria-label="Truth table">
      <p class={failed === 0 ? 'done' : 'problem'} role="status">
        {passed} hold, {failed} do not.
      </p>
      <ul class="plain tests">
        {tests.toSorted(badFirst).map((test) => {
          const { name, refused, questions } = test
          const isBad = fails(test)
          return (
            <li key={name}>
              <details open={isBad}>
                <summary>
                  <span class={isBad ? 'bad' : undefined}>{isBad ? '✕' : '✓'}</span> {name}
                </summary>
                {refused !== undefined && <p class="bad">OpenFGA refused its tuples: {refused}</p>}
                <ul>
                  {questions.map(({ question, expected, got, passed: holds }, place) => (
                    // One question may be asked twice, with other contexts.
                    // biome-ignore lint/suspicious/noArrayIndexKey: a table of one answer never changes
                    <li key={`${place} ${question}`} class={holds ? undefined : 'bad'}>
                      <code>{question}</code>: {said(got)}
                      {!holds && `, expected: ${said(expected)}`}
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
