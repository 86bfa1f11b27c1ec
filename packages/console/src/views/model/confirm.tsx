import type { Plan } from '@remit/contract/model'
import { useState } from 'preact/hooks'
import type { Problem } from '../../api.ts'
import { counted } from '../../parts/counted.ts'
import { ProblemBox } from '../../parts/problem.tsx'
import { Time } from '../../parts/time.tsx'
import { Link } from '../../router.tsx'
import { asProblem, useConsole } from '../../use-answer.ts'

/** One person's yes. Over failed tests it takes a reason, and its button is not the one that is meant to be pressed. */
export function Confirm(props: { readonly plan: Plan; readonly onConfirmed: () => Promise<void> }) {
  const { plan, onConfirmed } = props
  const { api, subject } = useConsole()
  const [problem, setProblem] = useState<Problem>()
  const [isSending, setSending] = useState(false)
  const { hold, failed, error } = plan.tests

  async function confirm(form: FormData): Promise<void> {
    setSending(true)
    setProblem(undefined)
    try {
      await api.post('/model/apply', {
        plan_id: plan.plan_id,
        ...(!hold && { reason: String(form.get('reason')).trim() }),
      })
      await onConfirmed()
    } catch (thrown) {
      setProblem(asProblem(thrown))
    } finally {
      setSending(false)
    }
  }

  return (
    <section aria-labelledby="confirm">
      <h2 id="confirm">Confirm it</h2>
      {plan.state === 'active' ? (
        <p class="done" role="status">
          It came into force. What is in force now: <Link to="/model">the model</Link>
        </p>
      ) : plan.approved_by.includes(subject) ? (
        <p class="done" role="status">
          You have confirmed it. You cannot confirm it a second time: somebody else has to. Send them the
          address of this page; it counts until <Time time={plan.expires_at} /> UTC.
        </p>
      ) : (
        <form
          onSubmit={(event) => {
            event.preventDefault()
            void confirm(new FormData(event.currentTarget))
          }}
        >
          {!hold && (
            <label>
              {error === undefined
                ? `${counted(failed, 'test fails', 'tests fail')}. Why may it come into force all the same?`
                : 'The tests did not run. Why may it come into force all the same?'}{' '}
              <small class="soft">
                Your reason is on record. {counted(plan.approvers_needed, 'person', 'people')} must give one.
              </small>
              <input name="reason" maxLength={300} required pattern=".*\S.*" />
            </label>
          )}
          <button
            type="submit"
            class={hold ? 'main wakes' : 'bad wakes'}
            disabled={isSending || plan.refusals.length > 0 || !plan.complete || plan.outdated !== undefined}
          >
            {isSending ? 'Confirming …' : hold ? 'Confirm this change' : 'Confirm despite the tests'}
          </button>
        </form>
      )}
      {problem !== undefined && <ProblemBox problem={problem} />}
    </section>
  )
}
