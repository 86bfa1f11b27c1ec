import type { ComponentChildren } from 'preact'
import { useState } from 'preact/hooks'
import type { Problem } from '../../api.ts'
import { Asked } from '../../parts/asked.tsx'
import { Heading } from '../../parts/heading.tsx'
import { Id } from '../../parts/id.tsx'
import { ProblemBox } from '../../parts/problem.tsx'
import { Table } from '../../parts/table.tsx'
import { Time } from '../../parts/time.tsx'
import { planPath } from '../../paths.ts'
import { go, Link } from '../../router.tsx'
import { asProblem, useAnswer, useConsole } from '../../use-answer.ts'
import './model.css'

type Verdict = 'allowed' | 'denied' | 'error'

/** `GET /model/shadow`. */
interface Report {
  readonly shadow: Shadow | null
  /** The most often seen first. */
  readonly differences: readonly Difference[]
  readonly txn: string
}

interface Shadow {
  readonly plan_id: string
  readonly state: 'running' | 'over' | 'stopped' | 'model_changed'
  readonly started_by: string
  readonly share: number
  readonly started_at: string
  readonly ends_at: string
  readonly ended_at: string | null
  readonly asked: number
  readonly gained: number
  readonly lost: number
  readonly errors: number
  readonly dropped: number
}

interface Difference {
  readonly who: string
  readonly document_id: string
  readonly active: Verdict
  readonly candidate: Verdict
  readonly count: number
  readonly first_at: string
  readonly last_at: string
}

export const shadowPath = '/model/shadow'

/** What a planned model would have answered otherwise of what was really asked, while it ran beside the one in force. */
export function ShadowReport() {
  const [turn, setTurn] = useState(0)
  const answer = useAnswer(`shadow ${turn}`, (api, signal) => api.get<Report>('/model/shadow', signal))
  return (
    <>
      <Heading title="A planned model in the shadow" />
      <p class="soft">
        It is evaluated for what is really asked, after the answer, and nobody is answered from it. That you
        look is on record.
      </p>
      <p>
        <Link to="/model">To the model</Link>
      </p>
      <Asked answer={answer} what="the report">
        {({ shadow, differences }) =>
          shadow === null ? (
            <p role="status">None has run yet. One is started from the page of a plan.</p>
          ) : (
            <>
              <Facts shadow={shadow} />
              {shadow.state === 'running' && (
                <div class="buttons">
                  <button type="button" onClick={() => setTurn(turn + 1)}>
                    Look again
                  </button>
                  <Stop onStopped={() => setTurn(turn + 1)} />
                </div>
              )}
              <Differences differences={differences} asked={shadow.asked} />
            </>
          )
        }
      </Asked>
    </>
  )
}

const states = {
  running: 'running',
  over: 'over',
  stopped: 'stopped',
  model_changed: 'ended, since another model came into force',
}

const Facts = ({ shadow }: { readonly shadow: Shadow }) => (
  <>
    <dl class="figures">
      <Figure title="Looked at" value={shadow.asked} />
      <Figure title="Would be gained" value={shadow.gained} />
      <Figure title="Would be lost" value={shadow.lost} />
      <Figure title="Not evaluated" value={shadow.errors} />
      <Figure title="Skipped (queue full)" value={shadow.dropped} />
    </dl>
    <dl class="facts">
      <dt>State</dt>
      <dd>
        <span class={shadow.state === 'running' ? 'tag good' : 'tag'}>{states[shadow.state]}</span>
      </dd>
      <dt>What runs</dt>
      <dd>
        <Link to={planPath(shadow.plan_id)}>The plan</Link>, on {Math.round(shadow.share * 100)} % of the
        questions
      </dd>
      <dt>Started</dt>
      <dd>
        <Time at={shadow.started_at} /> UTC, by <Id id={shadow.started_by} />
      </dd>
      <dt>{shadow.ended_at === null ? 'Until' : 'Ended'}</dt>
      <dd>
        <Time at={shadow.ended_at ?? shadow.ends_at} /> UTC
      </dd>
    </dl>
  </>
)

const Figure = ({ title, value }: { readonly title: string; readonly value: ComponentChildren }) => (
  <div>
    <dt>{title}</dt>
    <dd>{value}</dd>
  </div>
)

const words: Readonly<Record<Verdict, string>> = {
  allowed: 'allowed',
  denied: 'denied',
  error: 'not evaluated',
}

function Differences({
  differences,
  asked,
}: {
  readonly differences: readonly Difference[]
  readonly asked: number
}) {
  if (differences.length === 0)
    return (
      <p role="status">
        {asked === 0 ? 'Nothing was asked yet.' : 'No difference: it would have answered the same.'}
      </p>
    )
  return (
    <Table
      caption={`${differences.length === 200 ? 'The first 200 differences' : `Differences: ${differences.length}`}, the most often seen first, times in UTC`}
      rows={differences}
      keyOf={({ who, document_id }) => `${who} ${document_id}`}
      columns={[
        { title: 'Who', cell: ({ who }) => <Asker who={who} /> },
        { title: 'Document', cell: ({ document_id }) => <Id id={`document:${document_id}`} /> },
        { title: 'In force', cell: ({ active }) => words[active] },
        {
          title: 'In the shadow',
          cell: ({ candidate }) => (
            <span class={candidate === 'allowed' ? 'tag warn' : 'tag bad'}>{words[candidate]}</span>
          ),
        },
        { title: 'Times', cell: ({ count }) => count, isNumber: true },
        { title: 'Last', cell: ({ last_at }) => <Time at={last_at} /> },
      ]}
    />
  )
}

/** `user:anne`, or `agent:research-bot for user:anne`. */
const Asker = ({ who }: { readonly who: string }) => (
  <>{who.split(/(\s+)/).map((part) => (part.includes(':') ? <Id key={part} id={part} /> : part))}</>
)

function Stop({ onStopped }: { readonly onStopped: () => void }) {
  const { api } = useConsole()
  const [problem, setProblem] = useState<Problem>()
  async function stop(): Promise<void> {
    setProblem(undefined)
    try {
      await api.delete('/model/shadow')
      onStopped()
    } catch (thrown) {
      setProblem(asProblem(thrown))
    }
  }
  return (
    <>
      <button type="button" class="bad" onClick={() => void stop()}>
        Stop it
      </button>
      {problem !== undefined && <ProblemBox problem={problem} />}
    </>
  )
}

/** On the page of a plan: lets it run beside the model in force for a while, before anybody confirms it. */
export function StartShadow({ plan }: { readonly plan: string }) {
  const { api } = useConsole()
  const [problem, setProblem] = useState<Problem>()
  const [isSending, setSending] = useState(false)
  async function start(form: FormData): Promise<void> {
    setSending(true)
    setProblem(undefined)
    try {
      await api.post('/model/shadow', {
        plan_id: plan,
        minutes: Number(form.get('minutes')),
        share: Number(form.get('share')) / 100,
      })
      go(shadowPath)
    } catch (thrown) {
      setProblem(asProblem(thrown))
    } finally {
      setSending(false)
    }
  }
  return (
    <section aria-labelledby="shadow">
      <h2 id="shadow">Try it on what is really asked</h2>
      <p class="soft">
        It runs beside the model in force for a while; nobody is answered from it. What it would have answered
        otherwise is <Link to={shadowPath}>counted and shown</Link>.
      </p>
      <form
        class="line"
        onSubmit={(event) => {
          event.preventDefault()
          void start(new FormData(event.currentTarget))
        }}
      >
        <label>
          Minutes
          <input type="number" name="minutes" min={1} max={1_440} defaultValue="60" required />
        </label>
        <label>
          Share of the questions, in %
          <input type="number" name="share" min={1} max={100} defaultValue="100" required />
        </label>
        <button type="submit" disabled={isSending}>
          {isSending ? 'Starting …' : 'Run it in the shadow'}
        </button>
      </form>
      {problem !== undefined && <ProblemBox problem={problem} />}
    </section>
  )
}
