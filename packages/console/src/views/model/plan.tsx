import type { Finding, Plan, PlanRead, PlanTests } from '@remit/contract/model'
import { useState } from 'preact/hooks'
import type { Api } from '../../api.ts'
import { AsyncAnswer } from '../../parts/async-answer.tsx'
import { counted } from '../../parts/counted.ts'
import { Form, type Inputs } from '../../parts/form.tsx'
import { Heading } from '../../parts/heading.tsx'
import { Fact, Part } from '../../parts/part.tsx'
import { ProblemBox } from '../../parts/problem.tsx'
import { Time } from '../../parts/time.tsx'
import { Link } from '../../router.tsx'
import { useAction, useAnswer, useConsole } from '../../use-answer.ts'
import { Effect } from '../what-if.tsx'
import { answerText } from './truth-table.tsx'

const readPlan = (api: Api, id: string, signal?: AbortSignal): Promise<PlanRead> =>
  api.get(`/model/plans/${encodeURIComponent(id)}`, signal)

/** What whoever confirms a change reads: who gains, who loses, and what changes in the text. */
export function OnePlan({ id }: { readonly id: string }) {
  const { api } = useConsole()
  // Once it is confirmed the page is about another state of it: asked for again, and shown in the same place.
  const [confirmed, setConfirmed] = useState<PlanRead>()
  const read = useAnswer(`plan ${id}`, (api, signal) => readPlan(api, id, signal))
  const answer: typeof read = confirmed === undefined ? read : { state: 'there', value: confirmed }
  return (
    <>
      <Heading title="A change of the model" />
      <p>
        <Link to="/model">To the model</Link>
      </p>
      <AsyncAnswer answer={answer} subject="the plan">
        {({ plan, diff, allow_list_diff: listDiff }) => (
          <>
            <Facts plan={plan} />
            {plan.outdated !== undefined && (
              <p class="problem">Nobody can confirm it any more. {plan.outdated} Make a new plan.</p>
            )}
            <Findings title="Blocked" kind="problem" found={plan.refusals} />
            <h2>Tests</h2>
            <TestsOfPlan tests={plan.tests} />
            <h2>{plan.state === 'active' ? 'What it did' : 'What it would do'}</h2>
            <Completeness plan={plan} />
            <Effect canRead={plan.can_read} delegated={plan.can_read_delegated} />
            <Invalid plan={plan} />
            <Findings title="Warnings" kind="note" found={plan.warnings} />
            <h2>What changes in the text</h2>
            <Diff diff={diff} />
            <h2>What changes in the allow-list</h2>
            <Diff diff={listDiff} />
            <Confirm plan={plan} onConfirmed={async () => setConfirmed(await readPlan(api, id))} />
          </>
        )}
      </AsyncAnswer>
    </>
  )
}

const Facts = ({ plan }: { readonly plan: Plan }) => (
  <dl class="facts">
    <Fact title="Planned by">{plan.planner}</Fact>
    <Fact title="Confirmed by">
      {plan.approved_by.join(', ') || 'nobody yet'}
      {plan.state !== 'active' && ` (${plan.approvers_needed} needed)`}
    </Fact>
    {plan.reasons.length > 0 && (
      <Fact title="Although tests fail">
        {plan.reasons.map(({ by: approver, reason }) => (
          <div key={approver}>
            {approver}: “{reason}”
          </div>
        ))}
      </Fact>
    )}
    {plan.state !== 'active' && (
      <Fact title="Counts until">
        <Time time={plan.expires_at} /> UTC
      </Fact>
    )}
  </dl>
)

/** What the truth table says of a plan: what fails stands open, above everything that it would do. */
function TestsOfPlan({ tests }: { readonly tests: PlanTests }) {
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

const Completeness = ({ plan }: { readonly plan: Plan }) => (
  <>
    <p class="soft">
      Of {counted(plan.people, 'person', 'people')}, {counted(plan.documents, 'document')} and{' '}
      {counted(plan.delegations, 'live delegation')}.
    </p>
    {!plan.complete && (
      <p class="problem">Somebody may be missing: it cannot come into force as long as that is so.</p>
    )}
    {plan.unanswered > 0 && <p class="warn">{counted(plan.unanswered, 'question')} could not be answered.</p>}
  </>
)

const Invalid = ({ plan: { invalid_tuples: invalid } }: { readonly plan: Plan }) =>
  invalid.count === 0 ? null : (
    <section class="note">
      <h3>{counted(invalid.count, 'tuple')} would count no more</h3>
      <ul>
        {invalid.samples.map(({ tuple, reason }) => (
          <li key={tuple}>
            <code>{tuple}</code>: {reason}
          </li>
        ))}
      </ul>
      <p>
        They stay stored: while it is in force nobody can delete them by POST /access, and under a model that
        takes them they count again. Delete them first.
      </p>
    </section>
  )

const kinds: Readonly<Record<string, string>> = { '+': 'added', '-': 'removed', '@': 'soft' }

const Diff = ({ diff }: { readonly diff: string }) =>
  diff.trim() === '' ? (
    <p>Nothing.</p>
  ) : (
    <pre class="diff">
      {diff.split('\n').map((line, index) => (
        // Lines of one text, which never changes.
        // biome-ignore lint/suspicious/noArrayIndexKey: lines have no other name
        <span key={index} class={kinds[line.charAt(0)]}>
          {line}
          {'\n'}
        </span>
      ))}
    </pre>
  )

/**
 * One person's yes. Over failed tests it takes a reason, and its button is not the one that is meant to be
 * pressed.
 */
function Confirm(props: { readonly plan: Plan; readonly onConfirmed: () => Promise<void> }) {
  const { plan, onConfirmed } = props
  const { api, subject } = useConsole()
  const { doing, problem, run } = useAction()
  const { hold } = plan.tests

  async function confirm({ reason }: Inputs): Promise<void> {
    await api.post('/model/apply', { plan_id: plan.plan_id, ...(!hold && { reason }) })
    await onConfirmed()
  }

  return (
    <Part id="confirm" title="Confirm it">
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
        <Form onSubmit={(fields) => run(() => confirm(fields))}>
          {!hold && <Reason plan={plan} />}
          <button
            type="submit"
            class={hold ? 'main wakes' : 'bad wakes'}
            disabled={
              doing !== undefined || plan.refusals.length > 0 || !plan.complete || plan.outdated !== undefined
            }
          >
            {doing !== undefined
              ? 'Confirming …'
              : hold
                ? 'Confirm this change'
                : 'Confirm despite the tests'}
          </button>
        </Form>
      )}
      {problem !== undefined && <ProblemBox problem={problem} />}
    </Part>
  )
}

/** Why it may come into force although tests fail. */
const Reason = ({ plan }: { readonly plan: Plan }) => (
  <label>
    {plan.tests.error === undefined
      ? `${counted(plan.tests.failed, 'test fails', 'tests fail')}. Why may it come into force all the same?`
      : 'The tests did not run. Why may it come into force all the same?'}{' '}
    <small class="soft">
      Your reason is on record. {counted(plan.approvers_needed, 'person', 'people')} must give one.
    </small>
    <input name="reason" maxLength={300} required pattern=".*\S.*" />
  </label>
)

/** What the rules found in a model, as a list; nothing where they found nothing. */
export const Findings = (props: {
  readonly title: string
  readonly kind: string
  readonly found: readonly Finding[]
}) =>
  props.found.length === 0 ? null : (
    <section class={props.kind}>
      <h3>{props.title}</h3>
      <ul>
        {props.found.map(({ rule, relation, detail }) => (
          <li key={`${rule} ${relation} ${detail}`}>
            {relation !== '' && <code>{relation}</code>} {detail}
          </li>
        ))}
      </ul>
    </section>
  )
