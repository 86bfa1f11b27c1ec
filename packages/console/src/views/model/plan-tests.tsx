import type { PlanTests } from '@remit/contract/model'
import { counted } from '../../parts/counted.ts'
import { answerText } from './truth-table.tsx'

/** What the truth table says of a plan: what fails stands open, above everything that it would do. */
export function TestsOfPlan({ tests }: { readonly tests: PlanTests }) {
  const { hold, passed, failed, error, failures } = tests
  if (hold) return <p class="done">✓ The truth table holds: {counted(passed, 'test')}.</p>
  if (error !== undefined)
    return (
      <section class="problem">
        <h3>✕ The truth table did not run</h3>
        <p>{error}</p>
      </section>
    )
  return (
    <section class="problem">
      <h3>
        ✕ {failed} of {counted(passed + failed, 'test')} {failed === 1 ? 'fails' : 'fail'}
      </h3>
      <ul>
        {failures.map(({ test, question, expected, got, refused: refusal }, index) => (
          // One question may be asked twice, with other contexts.
          // biome-ignore lint/suspicious/noArrayIndexKey: the tests of one plan never change
          <li key={`${index} ${test}`}>
            {refusal === undefined ? (
              <>
                <code>{question}</code>: {answerText(got ?? false)}, expected: {answerText(expected ?? false)}
              </>
            ) : (
              `Its tuples were refused: ${refusal}`
            )}{' '}
            <span class="soft">({test})</span>
          </li>
        ))}
      </ul>
      {failures.length < failed && <p>{failed - failures.length} more</p>}
    </section>
  )
}
