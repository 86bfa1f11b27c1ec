import type { AuditDelegation, AuditDelegationPage } from '@remit/contract/audit'
import { useState } from 'preact/hooks'
import { AsyncAnswer as AskedFor } from '../../parts/async-answer.tsx'
import { Heading } from '../../parts/heading.tsx'
import { Id } from '../../parts/id.tsx'
import { ProblemBox } from '../../parts/problem.tsx'
import { Table } from '../../parts/table.tsx'
import { Time } from '../../parts/time.tsx'
import { asProblem, useAnswer, useConsole } from '../../use-answer.ts'
import { AskForm, Field, type Inputs } from '../why/ask-form.tsx'
import { type DelegationFilter, fetchDelegations, isInForce, standingOf } from './audit-delegations.ts'
import '../why/why.css'

const states = { live: 'live', over: 'over: their time has passed', revoked: 'revoked' }

/** Who lent what to which agent, to pick from. */
export function Delegations({ inputs }: { readonly inputs: Inputs }) {
  const { agent, ...otherInputs } = inputs
  return (
    <>
      <Heading title="What people lent" />
      <AskForm path="/delegations" button="List them">
        <Field name="subject" title="Who lent" inputs={inputs} example="anybody" />
        <Field name="agent" title="To agent" inputs={inputs} example="any agent" />
        <label>
          State
          <select name="state">
            <option value="">any</option>
            {Object.entries(states).map(([state, title]) => (
              <option key={state} value={state} selected={inputs['state'] === state}>
                {title}
              </option>
            ))}
          </select>
        </label>
      </AskForm>
      <DelegationTable filter={{ ...otherInputs, ...(agent !== undefined && { agent: `agent:${agent}` }) }} />
    </>
  )
}

/** Delegations that fit, a page at a time. */
export function DelegationTable(props: {
  readonly filter: DelegationFilter
  /** Said where there is none. */
  readonly none?: string
  readonly without?: 'Whose' | 'To'
}) {
  const { filter, none: emptyText = 'No delegation fits.', without } = props
  const answer = useAnswer(`lent ${JSON.stringify(filter)}`, (api, signal) =>
    fetchDelegations(api, filter, signal),
  )
  return (
    <AskedFor answer={answer} subject="what was lent">
      {(firstPage) =>
        firstPage.delegations.length === 0 ? (
          <p role="status">{emptyText}</p>
        ) : (
          <Pages first={firstPage} filter={filter} without={without} />
        )
      }
    </AskedFor>
  )
}

function Pages(props: {
  readonly first: AuditDelegationPage
  readonly filter: DelegationFilter
  readonly without: string | undefined
}) {
  const { first: firstPage, filter, without } = props
  const { api } = useConsole()
  const [pages, setPages] = useState<readonly AuditDelegationPage[]>([firstPage])
  const [problem, setProblem] = useState<ReturnType<typeof asProblem>>()
  const [isAsking, setAsking] = useState(false)
  const next = pages.at(-1)?.next_cursor
  const rows = pages.flatMap(({ delegations }) => delegations)
  const names: Readonly<Record<string, string>> = Object.assign({}, ...pages.map((page) => page.names))
  const inForce = rows.filter(isInForce).length

  async function loadMore(): Promise<void> {
    setAsking(true)
    setProblem(undefined)
    try {
      const page = await fetchDelegations(api, { ...filter, ...(next !== undefined && { cursor: next }) })
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
        caption={`${rows.length}${next === undefined ? '' : ', and older ones'}, of which ${inForce} live; newest first, times in UTC`}
        rows={rows}
        keyOf={({ delegation }) => delegation}
        columns={[
          {
            title: 'Delegation',
            cell: ({ delegation }: AuditDelegation) => <Id id={`delegation:${delegation}`} isShort />,
          },
          {
            title: 'Whose',
            cell: ({ subject }: AuditDelegation) => <Id id={subject} name={names[subject]} />,
          },
          {
            title: 'To',
            cell: ({ agent }: AuditDelegation) => <Id id={agent} name={names[agent]} isShort />,
          },
          { title: 'What', cell: (delegation: AuditDelegation) => <Scope of={delegation} /> },
          { title: 'Since', cell: ({ created_at }: AuditDelegation) => <Time time={created_at} /> },
          {
            title: 'Until',
            cell: ({ expires_at, revoked_at }: AuditDelegation) => <Time time={revoked_at ?? expires_at} />,
          },
          { title: 'State', cell: (delegation: AuditDelegation) => <State delegation={delegation} /> },
        ].filter(({ title }) => title !== without)}
      />
      {problem !== undefined && <ProblemBox problem={problem} />}
      {next !== undefined && (
        <p>
          <button type="button" disabled={isAsking} onClick={() => void loadMore()}>
            Older ones
          </button>
        </p>
      )}
    </>
  )
}

/** How a delegation stands, as a tag. */
export const State = ({ delegation }: { readonly delegation: AuditDelegation }) => (
  <span class={isInForce(delegation) ? 'tag good' : 'tag'}>{standingOf(delegation)}</span>
)

const shownMax = 4

/** What a delegation covers: its first objects, or the API that it is for. */
export const Scope = ({ of: { scope, resource } }: { readonly of: AuditDelegation }) =>
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
