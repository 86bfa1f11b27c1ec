import type { Answer, Tested } from './wire.ts'

const said = (answer: Answer): string => {
  if (typeof answer === 'boolean') return answer ? 'yes' : 'no'
  return 'error' in answer ? answer.error : answer.join(', ') || 'nobody and nothing'
}

/** What failed first, each answer beside what was expected; all of it folded below. */
export function TruthTable({ tested }: { readonly tested: Tested }) {
  const { passed, failed, tests } = tested
  return (
    <section aria-label="Truth table">
      <p class={failed === 0 ? 'done' : 'problem'} role="status">
        {passed} hold, {failed} do not.
      </p>
      <ul class="plain tests">
        {tests.map(({ name, refused, questions }) => {
          const isBad = refused !== undefined || questions.some((one) => !one.passed)
          return (
            <li key={name}>
              <details open={isBad}>
                <summary>
                  <span class={isBad ? 'bad' : undefined}>{isBad ? '✕' : '✓'}</span> {name}
                </summary>
                {refused !== undefined && <p class="bad">OpenFGA took its tuples not: {refused}</p>}
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
