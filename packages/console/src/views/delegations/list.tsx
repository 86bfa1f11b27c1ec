import { useState } from 'preact/hooks'
import { Asked as AskedFor } from '../../parts/asked.tsx'
import { Heading } from '../../parts/heading.tsx'
import { Id } from '../../parts/id.tsx'
import { ProblemBox } from '../../parts/problem.tsx'
import { Table } from '../../parts/table.tsx'
import { Time } from '../../parts/time.tsx'
import { asProblem, useAnswer, useConsole } from '../../use-answer.ts'
import { type Asked, AskForm, Field } from '../why/ask-form.tsx'
import { askLent, isInForce, type Lent, type LentFilter, type LentPage, standingOf } from './lent.ts'
import '../why/why.css'

const states = { live: 'live', over: 'over: their time has passed', revoked: 'revoked' }

/** Who lent what to which agent, to pick from. */
export function Delegations({ asked }: { readonly asked: Asked }) {
  const { agent, ...rest } = asked
  return (
    <>
      <Heading title="What people lent" />
      <AskForm path="/delegations" button="List them">
        <Field name="subject" title="Who lent" asked={asked} example="anybody" />
        <Field name="agent" title="To agent" asked={asked} example="any agent" />
        <label>
          State
          <select name="state">
            <option value="">any</option>
            {Object.entries(states).map(([state, title]) => (
              <option key={state} value={state} selected={asked['state'] === state}>
                {title}
              </option>
            ))}
          </select>
        </label>
      </AskForm>
      <LentTable filter={{ ...rest, ...(agent !== undefined && { agent: `agent:${agent}` }) }} />
    </>
  )
}

/** Delegations that fit, a page at a time. */
export function LentTable(props: {
  readonly filter: LentFilter
  /** Said where there is none. */
  readonly none?: string
  readonly without?: 'Whose' | 'To'
}) {
  const { filter, none = 'No delegation fits.', without } = props
  const answer = useAnswer(`lent ${JSON.stringify(filter)}`, (api, signal) => askLent(api, filter, signal))
  return (
    <AskedFor answer={answer} what="what was lent">
      {(first) =>
        first.delegations.length === 0 ? (
          <p role="status">{none}</p>
        ) : (
          <Pages first={first} filter={filter} without={without} />
        )
      }
    </AskedFor>
  )
}

function Pages(props: {
  readonly first: LentPage
  readonly filter: LentFilter
  readonly without: string | undefined
}) {
  const { first, filter, without } = props
  const { api } = useConsole()
  const [pages, setPages] = useState<readonly LentPage[]>([first])
  const [problem, setProblem] = useState<ReturnType<typeof asProblem>>()
  const [isAsking, setAsking] = useState(false)
  const next = pages.at(-1)?.next_cursor
  const rows = pages.flatMap(({ delegations }) => delegations)
  const names: Readonly<Record<string, string>> = Object.assign({}, ...pages.map((page) => page.names))
  const live = rows.filter(isInForce).length

  async function more(): Promise<void> {
    setAsking(true)
    setProblem(undefined)
    try {
      const page = await askLent(api, { ...filter, ...(next !== undefined && { cursor: next }) })
      setPages([...pages, page])
    } catch (thrown) {
      setProblem(asProblem(thrown))
    } finally {
      setAsking(false)
    }
  }

  return (
    <>
      <Table
        caption={`${rows.length}${next === undefined ? '' : ', and older ones'}, of which ${live} live; newest first, times in UTC`}
        rows={rows}
        keyOf={({ delegation }) => delegation}
        columns={[
          {
            title: 'Delegation',
            cell: ({ delegation }: Lent) => <Id id={`delegation:${delegation}`} isShort />,
          },
          { title: 'Whose', cell: ({ subject }: Lent) => <Id id={subject} name={names[subject]} /> },
          { title: 'To', cell: ({ agent }: Lent) => <Id id={agent} name={names[agent]} isShort /> },
          { title: 'What', cell: (one: Lent) => <Scope of={one} /> },
          { title: 'Since', cell: ({ created_at }: Lent) => <Time at={created_at} /> },
          {
            title: 'Until',
            cell: ({ expires_at, revoked_at }: Lent) => <Time at={revoked_at ?? expires_at} />,
          },
          { title: 'State', cell: (one: Lent) => <State of={one} /> },
        ].filter(({ title }) => title !== without)}
      />
      {problem !== undefined && <ProblemBox problem={problem} />}
      {next !== undefined && (
        <p>
          <button type="button" disabled={isAsking} onClick={() => void more()}>
            Older ones
          </button>
        </p>
      )}
    </>
  )
}

export const State = ({ of }: { readonly of: Lent }) => (
  <span class={isInForce(of) ? 'tag good' : 'tag'}>{standingOf(of)}</span>
)

const shownMax = 4

export const Scope = ({ of: { scope, resource } }: { readonly of: Lent }) =>
  resource === undefined ? (
    <ul class="plain">
      {scope.slice(0, shownMax).map((object) => (
        <li key={object}>
          <Id id={object} />
        </li>
      ))}
      {scope.length > shownMax && <li class="soft">and {scope.length - shownMax} more</li>}
    </ul>
  ) : (
    <span>
      at <code>{resource}</code>
    </span>
  )
