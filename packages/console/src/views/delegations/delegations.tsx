import type { AuditDelegation, AuditDelegationPage } from '@remit/contract/audit'
import { Asked } from '../../parts/async-answer.tsx'
import { AskForm, agentId, Choice, Field, type Inputs } from '../../parts/form.tsx'
import { Heading } from '../../parts/heading.tsx'
import { Id, Ids } from '../../parts/id.tsx'
import { Fact, Onwards, Part } from '../../parts/part.tsx'
import { type Column, Table } from '../../parts/table.tsx'
import { Time } from '../../parts/time.tsx'
import { usePages } from '../../parts/use-pages.tsx'
import { readsPath, viewAsPath, whatIfPath } from '../../paths.ts'
import { withQuery } from '../../router.tsx'
import { LatestEntries } from '../record/list.tsx'

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
        <Choice name="state" title="State" inputs={inputs} choices={Object.keys(states)} titles={states} />
      </AskForm>
      <DelegationTable filter={{ ...otherInputs, ...(agent !== undefined && { agent: `agent:${agent}` }) }} />
    </>
  )
}

/** Query of `GET /audit/delegations`. */
type Filter = Readonly<
  Partial<Record<'delegation' | 'subject' | 'agent' | 'state' | 'cursor' | 'limit', string>>
>

/** Where a page of delegations is asked for; they come newest first. */
export const withFilter = (filter: Filter): string => withQuery('/audit/delegations', filter)

/** Delegations that fit, a page at a time. */
export function DelegationTable(props: {
  readonly filter: Filter
  /** Said where there is none. */
  readonly none?: string
  readonly without?: 'Whose' | 'To'
}) {
  const { filter, none: emptyText = 'No delegation fits.', without } = props
  return (
    <Asked<AuditDelegationPage> path={withFilter(filter)} subject="what was lent">
      {(firstPage) =>
        firstPage.delegations.length === 0 ? (
          <p role="status">{emptyText}</p>
        ) : (
          <Pages first={firstPage} filter={filter} without={without} />
        )
      }
    </Asked>
  )
}

function Pages(props: {
  readonly first: AuditDelegationPage
  readonly filter: Filter
  readonly without: string | undefined
}) {
  const { first: firstPage, filter, without } = props
  const { pages, hasMore, problem, button } = usePages({
    first: firstPage,
    cursorOf: (page) => page.next_cursor,
    ask: (api, cursor) => api.get<AuditDelegationPage>(withFilter({ ...filter, cursor })),
    more: 'Older ones',
  })
  const rows = pages.flatMap(({ delegations }) => delegations)
  const names: Readonly<Record<string, string>> = Object.assign({}, ...pages.map((page) => page.names))
  const columns: readonly Column<AuditDelegation>[] = [
    { title: 'Delegation', cell: ({ delegation }) => <Id id={`delegation:${delegation}`} isShort /> },
    { title: 'Whose', cell: ({ subject }) => <Id id={subject} name={names[subject]} /> },
    { title: 'To', cell: ({ agent }) => <Id id={agent} name={names[agent]} isShort /> },
    { title: 'What', cell: (delegation) => <Scope of={delegation} /> },
    { title: 'Since', cell: ({ created_at }) => <Time time={created_at} /> },
    { title: 'Until', cell: ({ expires_at, revoked_at }) => <Time time={revoked_at ?? expires_at} /> },
    { title: 'State', cell: (delegation) => <State delegation={delegation} /> },
  ]
  return (
    <>
      <Table
        caption={`${rows.length}${hasMore ? ', and older ones' : ''}, of which ${rows.filter(isInForce).length} live; newest first, times in UTC`}
        rows={rows}
        keyOf={({ delegation }) => delegation}
        columns={columns.filter(({ title }) => title !== without)}
      />
      {problem}
      {hasMore && <p>{button}</p>}
    </>
  )
}

/** What is live opens nothing to an agent that is disabled. */
const isInForce = ({ state, agent_disabled }: AuditDelegation): boolean => state === 'live' && !agent_disabled

/** In words: `live, agent disabled`. */
export const standingOf = (delegation: AuditDelegation): string =>
  delegation.state === 'live' && delegation.agent_disabled ? 'live, agent disabled' : delegation.state

/** How a delegation stands, as a tag. */
export const State = ({ delegation }: { readonly delegation: AuditDelegation }) => (
  <span class={isInForce(delegation) ? 'tag good' : 'tag'}>{standingOf(delegation)}</span>
)

/** What a delegation covers: its first objects, or the API that it is for. */
const Scope = ({ of: { scope, resource } }: { readonly of: AuditDelegation }) =>
  resource === undefined ? (
    <Ids ids={scope} max={4} />
  ) : (
    <span>
      at <code>{resource}</code>
    </span>
  )

/** Who lent what to whom, when, until when, what became of it, and what was done with it. */
export const Delegation = ({ id }: { readonly id: string }) => (
  <>
    <Heading title={`Delegation ${id}`}>
      Delegation <code>{id}</code>
    </Heading>
    <Asked<AuditDelegationPage> path={withFilter({ delegation: id })} subject="the delegation">
      {({ delegations: [delegation], names }) =>
        delegation === undefined ? (
          <p role="status">There is none of this id.</p>
        ) : (
          <>
            <Facts entry={delegation} names={names} />
            <Onwards links={onwardsFrom(delegation)} />
          </>
        )
      }
    </Asked>
    <Part id="uses" title="What is on record of it">
      <LatestEntries of={{ object: `delegation:${id}` }} limit={20} subject="its uses" none="Nothing." />
    </Part>
  </>
)

function Facts(props: { readonly entry: AuditDelegation; readonly names: AuditDelegationPage['names'] }) {
  const { entry, names } = props
  const { subject, agent, sub_agents: subAgents, scope, resource, purpose } = entry
  return (
    <dl class="facts">
      <Fact title="State">
        <State delegation={entry} />
        {entry.revoked_at !== undefined && (
          <>
            {' '}
            since <Time time={entry.revoked_at} />
          </>
        )}
      </Fact>
      <Fact title="Who lent">
        <Id id={subject} name={names[subject]} />
      </Fact>
      <Fact title="To">
        <Id id={agent} name={names[agent]} />
      </Fact>
      <Fact title="May be passed on to">
        {subAgents.length === 0
          ? 'no other agent'
          : subAgents.map((inner, index) => (
              <span key={inner}>
                {index > 0 && ', '}
                <Id id={inner} name={names[inner]} />
              </span>
            ))}
      </Fact>
      <Fact title="What">
        {resource === undefined ? (
          <Ids ids={scope} />
        ) : (
          <>
            at the API <code>{resource}</code>; it opens nothing here
          </>
        )}
      </Fact>
      <Fact title="What for">{purpose}</Fact>
      <Fact title="Since">
        <Time time={entry.created_at} /> UTC
      </Fact>
      <Fact title="Until">
        <Time time={entry.expires_at} /> UTC{entry.standing && ', standing'}
      </Fact>
    </dl>
  )
}

const onwardsFrom = ({ delegation, subject, agent, created_at, resource, state }: AuditDelegation) => ({
  'What it read for them since, and what would be refused today': readsPath({
    subject,
    agent,
    since: created_at,
    today: 'true',
  }),
  ...(resource === undefined &&
    state === 'live' && {
      'What it would be given now': viewAsPath({ user: subject, agent: agentId(agent), delegation }),
      'What would be lost if it were taken back': whatIfPath({
        deletes: `${subject} delegator delegation:${delegation}`,
      }),
    }),
})
