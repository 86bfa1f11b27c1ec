import type { Plan, PlanRead } from '@remit/contract/model'
import { useState } from 'preact/hooks'
import type { Api } from '../../api.ts'
import { AsyncAnswer } from '../../parts/async-answer.tsx'
import { counted } from '../../parts/counted.ts'
import { Heading } from '../../parts/heading.tsx'
import { Time } from '../../parts/time.tsx'
import { Link } from '../../router.tsx'
import { useAnswer, useConsole } from '../../use-answer.ts'
import { Confirm } from './confirm.tsx'
import { Effect } from './effect.tsx'
import { Findings } from './findings.tsx'
import { TestsOfPlan } from './plan-tests.tsx'
import './model.css'

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

const Facts = ({
  plan: { planner, expires_at, approved_by, approvers_needed, reasons, state },
}: {
  readonly plan: Plan
}) => (
  <dl class="facts">
    <dt>Planned by</dt>
    <dd>{planner}</dd>
    <dt>Confirmed by</dt>
    <dd>
      {approved_by.join(', ') || 'nobody yet'}
      {state !== 'active' && ` (${approvers_needed} needed)`}
    </dd>
    {reasons.length > 0 && (
      <>
        <dt>Although tests fail</dt>
        <dd>
          {reasons.map(({ by: approver, reason }) => (
            <div key={approver}>
              {approver}: “{reason}”
            </div>
          ))}
        </dd>
      </>
    )}
    {state !== 'active' && (
      <>
        <dt>Counts until</dt>
        <dd>
          <Time time={expires_at} /> UTC
        </dd>
      </>
    )}
  </dl>
)

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
