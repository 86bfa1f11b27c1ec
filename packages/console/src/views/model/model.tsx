import type { ActiveModel, ModelCheck, OpenPlanList, PlanMade, TestRun, TextProblem } from '@remit/contract/model'
import { useEffect, useState } from 'preact/hooks'
import type { Problem } from '../../api.ts'
import { AsyncAnswer } from '../../parts/async-answer.tsx'
import { counted } from '../../parts/counted.ts'
import { Heading } from '../../parts/heading.tsx'
import { ProblemBox } from '../../parts/problem.tsx'
import { Table } from '../../parts/table.tsx'
import { Time } from '../../parts/time.tsx'
import { planPath } from '../../paths.ts'
import { go, Link } from '../../router.tsx'
import type { Section } from '../../section.ts'
import { asProblem, useAnswer, useConsole } from '../../use-answer.ts'
import { Findings } from './findings.tsx'
import { ModelEditor } from './model-editor.tsx'
import { OnePlan } from './plan.tsx'
import { TruthTable } from './truth-table.tsx'
import './model.css'

/** The model in force, and one plan for another. */
export const modelViews: Section = {
  path: '/model',
  title: 'Model',
  roles: ['security.write'],
  show: (_, [section, id]) =>
    section === 'plans' && id !== undefined ? <OnePlan id={id} key={id} /> : <Model />,
}

function Model() {
  const answer = useAnswer('model', (api, signal) => api.get<ActiveModel>('/model', signal))
  return (
    <>
      <Heading title="The model" />
      <AsyncAnswer answer={answer} subject="the model">
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
      </AsyncAnswer>
    </>
  )
}

function InForce({ shown: { model_id, history, matches_file } }: { readonly shown: ActiveModel }) {
  const [now] = history
  return (
    <dl class="facts">
      <dt>In force</dt>
      <dd>
        <code>{model_id}</code>
        {now !== undefined && (
          <>
            {' '}
            since <Time time={now.activated_at} /> UTC
          </>
        )}
        {now !== undefined && now.activated_by.length > 0 && `, by ${now.activated_by.join(' and ')}`}
      </dd>
      <dt>Files</dt>
      <dd>
        model.fga with model.allow-list.yaml{' '}
        {matches_file ? 'is the deployed version' : 'differs from the deployed version'}
      </dd>
    </dl>
  )
}

function OpenPlans() {
  const answer = useAnswer('plans', (api, signal) => api.get<OpenPlanList>('/model/plans', signal))
  return (
    <section aria-labelledby="open">
      <h2 id="open">Open plans</h2>
      <AsyncAnswer answer={answer} subject="the open plans">
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
      </AsyncAnswer>
    </section>
  )
}

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
  const [problem, setProblem] = useState<Problem>()
  const [doing, setDoing] = useState<'testing' | 'planning'>()

  // While somebody types nothing is asked, and an answer about what stands there no more is not waited for.
  useEffect(() => {
    if (draft === checked.of) return undefined
    const stop = new AbortController()
    const timer = setTimeout(() => {
      api.post<ModelCheck>('/model/check', { model: draft }, stop.signal).then(
        (found) => setChecked({ ...found, of: draft }),
        (thrown: unknown) => {
          if (!stop.signal.aborted) setProblem(asProblem(thrown))
        },
      )
    }, waitMs)
    return () => {
      clearTimeout(timer)
      stop.abort()
    }
  }, [draft])

  async function during(activity: 'testing' | 'planning', run: () => Promise<void>): Promise<void> {
    setDoing(activity)
    setProblem(undefined)
    try {
      await run()
    } catch (thrown) {
      setProblem(asProblem(thrown))
    } finally {
      setDoing(undefined)
    }
  }
  const test = () =>
    during('testing', async () => {
      const body = { model: draft, ...(tests.trim() !== '' && { tests }) }
      setTested({ ...(await api.post<TestRun>('/model/test', body)), of: draft })
    })
  const plan = () =>
    during('planning', async () => {
      const { plan: newPlan } = await api.post<PlanMade>('/model/plan', {
        // Left out, the one is today's and the other what of today's fits.
        ...(draft !== text && { model: draft }),
        ...(list !== allowList && { allow_list: list }),
      })
      go(planPath(newPlan.plan_id))
    })

  const isWrong = checked.problems.length > 0
  const isUnsure = checked.of !== draft
  const isRed = tested !== undefined && tested.of === draft && tested.failed > 0
  return (
    <section aria-labelledby="change">
      <h2 id="change">Change it</h2>
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
        <label>
          The allow-list <small class="soft">model.allow-list.yaml: a row for each relation</small>
          <textarea
            rows={20}
            spellcheck={false}
            value={list}
            onInput={({ currentTarget }) => setList(currentTarget.value)}
          />
        </label>
      </details>
      <details class="more">
        <summary>A truth table of your own</summary>
        <label>
          Tests <small class="soft">a store file (.fga.yaml); left empty: those of model.fga</small>
          <textarea
            rows={8}
            spellcheck={false}
            value={tests}
            onInput={({ currentTarget }) => setTests(currentTarget.value)}
          />
        </label>
      </details>
      <p class="buttons">
        <button type="button" disabled={isWrong || doing !== undefined} onClick={() => void test()}>
          {doing === 'testing' ? 'Running …' : 'Run the truth table'}
        </button>{' '}
        <button
          type="button"
          class={isRed ? undefined : 'main'}
          disabled={isWrong || isUnsure || (draft === text && list === allowList) || doing !== undefined}
          onClick={() => void plan()}
        >
          {doing === 'planning' ? 'Planning …' : 'Plan this change'}
        </button>
      </p>
      {problem !== undefined && <ProblemBox problem={problem} />}
      {tested !== undefined && tested.of !== draft && <p class="warn">Of the text before it was changed:</p>}
      {tested !== undefined && <TruthTable tested={tested} />}
    </section>
  )
}

function History({ shown: { history, model_id: current } }: { readonly shown: ActiveModel }) {
  const { api } = useConsole()
  const [problem, setProblem] = useState<Problem>()
  async function back(id: string): Promise<void> {
    try {
      const { plan } = await api.post<PlanMade>('/model/plan', { model_id: id })
      go(planPath(plan.plan_id))
    } catch (thrown) {
      setProblem(asProblem(thrown))
    }
  }
  return (
    <section aria-labelledby="history">
      <h2 id="history">What was in force</h2>
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
                  <button type="button" onClick={() => void back(model_id)}>
                    Plan going back
                  </button>
                )}
              </>
            ),
          },
        ]}
      />
    </section>
  )
}
