import './model.css'
import type {
  ActiveModel,
  ModelCheck,
  OpenPlanList,
  PlanMade,
  TestRun,
  TextProblem,
} from '@remit/contract/model'
import { useEffect, useRef, useState } from 'preact/hooks'
import { Asked } from '../../parts/async-answer.tsx'
import { counted } from '../../parts/counted.ts'
import { Lines } from '../../parts/form.tsx'
import { Heading } from '../../parts/heading.tsx'
import { Fact, Part } from '../../parts/part.tsx'
import { ProblemBox } from '../../parts/problem.tsx'
import { Table } from '../../parts/table.tsx'
import { Time } from '../../parts/time.tsx'
import { planPath } from '../../paths.ts'
import { go, Link } from '../../router.tsx'
import { useAction, useConsole } from '../../use-answer.ts'
import type { Editor } from './editor.ts'
import { Findings } from './plan.tsx'
import { TruthTable } from './truth-table.tsx'

/** The model in force, plans for another, and those that were in force before. */
export const Model = () => (
  <>
    <Heading title="The model" />
    <Asked<ActiveModel> path="/model" subject="the model">
      {(model) => (
        <>
          <InForce shown={model} />
          <OpenPlans />
          {model.model === null ? (
            <p>Of the model in force no text was kept: a plan is made by the command line.</p>
          ) : (
            <Workbench text={model.model} allowList={model.allow_list ?? ''} />
          )}
          <History shown={model} />
        </>
      )}
    </Asked>
  </>
)

function InForce({ shown: { model_id, history, matches_file } }: { readonly shown: ActiveModel }) {
  const [now] = history
  return (
    <dl class="facts">
      <Fact title="In force">
        <code>{model_id}</code>
        {now !== undefined && (
          <>
            {' '}
            since <Time time={now.activated_at} /> UTC
          </>
        )}
        {now !== undefined && now.activated_by.length > 0 && `, by ${now.activated_by.join(' and ')}`}
      </Fact>
      <Fact title="Files">
        model.fga with model.allow-list.yaml{' '}
        {matches_file ? 'is the deployed version' : 'differs from the deployed version'}
      </Fact>
    </dl>
  )
}

const OpenPlans = () => (
  <Part id="open" title="Open plans">
    <Asked<OpenPlanList> path="/model/plans" subject="the open plans">
      {({ plans, more: hasMore }) => (
        <>
          {plans.length === 0 && <p class="soft">Nothing can be confirmed now.</p>}
          <ul class="plain">
            {plans.map(
              ({ plan_id, planner, approved_by, applicable, tests_hold, expires_at, ...summary }) => (
                <li key={plan_id}>
                  <Link to={planPath(plan_id)}>
                    Planned by {planner},{' '}
                    {applicable ? `confirmed by ${approved_by.join(', ') || 'nobody yet'}` : 'refused'}
                  </Link>
                  {!tests_hold && <span class="bad"> ✕ tests fail</span>}, until <Time time={expires_at} />{' '}
                  UTC
                  <br />
                  <small class="soft">
                    <code>{summary.digest.slice(0, 12)}</code>: people gain {summary.people.gain}, lose{' '}
                    {summary.people.lose}; agents gain {summary.agents.gain}, lose {summary.agents.lose}
                  </small>
                </li>
              ),
            )}
          </ul>
          {hasMore && <p class="soft">There are older ones, which are not shown.</p>}
        </>
      )}
    </Asked>
  </Part>
)

/** What is wrong with a text. */
type Checked = Omit<ModelCheck, 'txn'>

const waitMs = 400
const clean: Checked = { problems: [], refusals: [], warnings: [] }

function Workbench({ text, allowList }: { readonly text: string; readonly allowList: string }) {
  const { api } = useConsole()
  const [draft, setDraft] = useState(text)
  const [list, setList] = useState(allowList)
  const [checked, setChecked] = useState<Checked & { readonly of: string }>({ ...clean, of: text })
  const [lookAt, setLookAt] = useState<TextProblem>()
  const [tests, setTests] = useState('')
  const [tested, setTested] = useState<TestRun & { readonly of: string }>()
  const { doing, problem, fail, run } = useAction()

  // While somebody types nothing is asked, and an answer about what stands there no more is not waited for.
  useEffect(() => {
    if (draft === checked.of) return undefined
    const stop = new AbortController()
    const timer = setTimeout(() => {
      api.post<ModelCheck>('/model/check', { model: draft }, stop.signal).then(
        (found) => setChecked({ ...found, of: draft }),
        (thrown: unknown) => {
          if (!stop.signal.aborted) fail(thrown)
        },
      )
    }, waitMs)
    return () => {
      clearTimeout(timer)
      stop.abort()
    }
  }, [draft])

  async function test(): Promise<void> {
    const body = { model: draft, ...(tests.trim() !== '' && { tests }) }
    setTested({ ...(await api.post<TestRun>('/model/test', body)), of: draft })
  }
  async function plan(): Promise<void> {
    const { plan: newPlan } = await api.post<PlanMade>('/model/plan', {
      // Left out, the one is today's and the other what of today's fits.
      ...(draft !== text && { model: draft }),
      ...(list !== allowList && { allow_list: list }),
    })
    go(planPath(newPlan.plan_id))
  }

  const isWrong = checked.problems.length > 0
  const isUnsure = checked.of !== draft
  const isRed = tested !== undefined && tested.of === draft && tested.failed > 0
  return (
    <Part id="change" title="Change it">
      <p class="soft">
        Editing changes nothing. Plan a change to see which tests fail, who gains and loses access and who may
        write what; it applies once enough people confirm it.
      </p>
      <ModelEditor text={text} problems={checked.problems} lookAt={lookAt} onChange={setDraft} />
      <div role="status" class="checked">
        {isUnsure
          ? 'Looking at it …'
          : isWrong
            ? counted(checked.problems.length, 'problem')
            : 'No problem in the text.'}
      </div>
      {isWrong && (
        <ul class="plain">
          {checked.problems.map((found) => (
            <li key={`${found.line} ${found.column} ${found.message}`}>
              <button type="button" class="bad" onClick={() => setLookAt({ ...found })}>
                Line {found.line}: {found.message}
              </button>
            </li>
          ))}
        </ul>
      )}
      <Findings title="Blocked" kind="problem" found={checked.refusals} />
      <Findings title="Warnings" kind="note" found={checked.warnings} />
      <details class="more">
        <summary>Who may write which tuples: the allow-list</summary>
        <Lines
          title="The allow-list"
          hint="model.allow-list.yaml: a row for each relation"
          rows={20}
          text={list}
          onInput={setList}
        />
      </details>
      <details class="more">
        <summary>A truth table of your own</summary>
        <Lines
          title="Tests"
          hint="a store file (.fga.yaml); left empty: those of model.fga"
          rows={8}
          text={tests}
          onInput={setTests}
        />
      </details>
      <p class="buttons">
        <button type="button" disabled={isWrong || doing !== undefined} onClick={() => run(test, 'testing')}>
          {doing === 'testing' ? 'Running …' : 'Run the truth table'}
        </button>{' '}
        <button
          type="button"
          class={isRed ? undefined : 'main'}
          disabled={isWrong || isUnsure || (draft === text && list === allowList) || doing !== undefined}
          onClick={() => run(plan, 'planning')}
        >
          {doing === 'planning' ? 'Planning …' : 'Plan this change'}
        </button>
      </p>
      {problem !== undefined && <ProblemBox problem={problem} />}
      {tested !== undefined && tested.of !== draft && <p class="warn">Of the text before it was changed:</p>}
      {tested !== undefined && <TruthTable tested={tested} />}
    </Part>
  )
}

function History({ shown: { history, model_id: current } }: { readonly shown: ActiveModel }) {
  const { api } = useConsole()
  const { problem, run } = useAction()
  async function planBack(id: string): Promise<void> {
    const { plan } = await api.post<PlanMade>('/model/plan', { model_id: id })
    go(planPath(plan.plan_id))
  }
  return (
    <Part id="history" title="What was in force">
      {problem !== undefined && <ProblemBox problem={problem} />}
      <Table
        caption="The newest first, times in UTC"
        rows={history}
        keyOf={({ model_id, activated_at }) => `${model_id} ${activated_at}`}
        columns={[
          { title: 'Model', cell: ({ model_id }) => <code>{model_id}</code> },
          { title: 'Since', cell: ({ activated_at }) => <Time time={activated_at} /> },
          {
            title: 'Confirmed by',
            cell: ({ activated_by }) => activated_by.join(', ') || <span class="soft">–</span>,
          },
          {
            title: 'Change',
            cell: ({ plan_id, model_id }) => (
              <>
                {plan_id !== undefined && <Link to={planPath(plan_id)}>Its plan</Link>}{' '}
                {model_id !== current && (
                  <button type="button" onClick={() => run(() => planBack(model_id))}>
                    Plan going back
                  </button>
                )}
              </>
            ),
          },
        ]}
      />
    </Part>
  )
}

/** The text of a model with colours, and with the problems that the service found in it. */
function ModelEditor(props: {
  readonly text: string
  readonly problems: readonly TextProblem[]
  /** Where somebody wants to look. */
  readonly lookAt: TextProblem | undefined
  readonly onChange: (text: string) => void
}) {
  const { text, problems, lookAt, onChange } = props
  const container = useRef<HTMLDivElement>(null)
  const [editor, setEditor] = useState<Editor>()

  useEffect(() => {
    let isThere = true
    let opened: Editor | undefined
    const root = container.current?.shadowRoot ?? container.current?.attachShadow({ mode: 'open' })
    // Only whoever edits a model loads an editor.
    void import('./editor.ts').then(({ openEditor }) => {
      if (!isThere || root === undefined) return
      opened = openEditor({ root, text, labelledBy: 'The model’s text', onChange })
      setEditor(opened)
    })
    return () => {
      isThere = false
      opened?.destroy()
    }
  }, [text])
  useEffect(() => editor?.show(problems), [editor, problems])
  useEffect(() => {
    if (lookAt !== undefined) editor?.goTo(lookAt)
  }, [editor, lookAt])

  return <div class="editor" ref={container} />
}
