import type { Agent, AgentAnswer } from '@remit/contract/agents'
import type { Reach as ReachAnswer } from '@remit/contract/record-questions'
import { useState } from 'preact/hooks'
import { Asked, AsyncAnswer } from '../../parts/async-answer.tsx'
import { Field, Form } from '../../parts/form.tsx'
import { Heading } from '../../parts/heading.tsx'
import { Id } from '../../parts/id.tsx'
import { NeverHere } from '../../parts/never-here.tsx'
import { Fact, Part } from '../../parts/part.tsx'
import { ProblemBox } from '../../parts/problem.tsx'
import { Table } from '../../parts/table.tsx'
import { Time } from '../../parts/time.tsx'
import { agentPath, readsPath, recordPath } from '../../paths.ts'
import { go, Link, withQuery } from '../../router.tsx'
import { type Answer, useAction, useAnswer, useConsole } from '../../use-answer.ts'
import { DelegationTable } from '../delegations/delegations.tsx'
import { LatestEntries } from '../record/list.tsx'

/** What an agent is, its switch, whether it reads more than usual, what people lend to it, what it read. */
export function OneAgent({ id, endTime }: { readonly id: string; readonly endTime: string | undefined }) {
  const actor = `agent:${id}`
  const { roles } = useConsole()
  const [changed, setChanged] = useState<AgentAnswer>()
  const read: Answer<AgentAnswer> = useAnswer(`agent ${id}`, (api, signal) =>
    api.get(`/agents/${encodeURIComponent(id)}`, signal),
  )
  const isNone = read.state === 'failed' && read.problem.status === 404
  return (
    <>
      <Heading title={`Agent ${id}`} />
      {isNone ? (
        <NeverHere of={{ never_here: [actor] }} />
      ) : (
        <AsyncAnswer
          answer={changed === undefined ? read : { state: 'there', value: changed }}
          subject="the agent"
        >
          {({ agent }) => (
            <>
              <Facts agent={agent} />
              {roles.includes('agents.write') && (
                <Part id="switch" title="Kill switch">
                  {agent.state === 'disabled' ? (
                    <PulledSwitch agent={agent} />
                  ) : (
                    <KillSwitch agent={agent} onDone={setChanged} />
                  )}
                </Part>
              )}
            </>
          )}
        </AsyncAnswer>
      )}
      {roles.includes('security.read') && !isNone && (
        <>
          <Reach agent={id} endTime={endTime} />
          <ReadFor agent={actor} />
          <LentTo agent={actor} key={changed?.agent.state} />
          <Part id="read" title="What it did last">
            <LatestEntries of={{ actor }} limit={10} subject="what it did" none="Nothing is on record." />
          </Part>
        </>
      )}
    </>
  )
}

/** Whether an agent is enabled, as a tag. */
export const State = ({ state }: Pick<Agent, 'state'>) => (
  <span class={state === 'enabled' ? 'tag' : 'tag bad'}>{state}</span>
)

function Facts({ agent }: { readonly agent: Agent }) {
  const { title, purpose, owner, scopes, collections, actor, jwks, state } = agent
  return (
    <dl class="facts">
      <Fact title="State">
        <State state={state} />
        {agent.disabled_at !== undefined && (
          <>
            {' '}
            since <Time time={agent.disabled_at} />
          </>
        )}
      </Fact>
      <Fact title="Title">{title}</Fact>
      <Fact title="What it is for">{purpose}</Fact>
      <Fact title="Answers for it">
        <Id id={owner} />
      </Fact>
      <Fact title="Scopes at most">
        {scopes === null ? 'those of every agent' : scopes.join(', ') || 'none'}
      </Fact>
      <Fact title="Reads at most">
        {collections === null ? 'wherever people lend it something' : collections.join(', ') || 'nothing'}
      </Fact>
      <Fact title="Named in tokens">
        {actor.sub} of {actor.issuer}
      </Fact>
      <Fact title="Keys of its own">{jwks?.keys.length ?? 0}</Fact>
    </dl>
  )
}

/** By typing its name: what is pulled here is put back at the machine only. */
function KillSwitch(props: { readonly agent: Agent; readonly onDone: (answer: AgentAnswer) => void }) {
  const { agent, onDone } = props
  const { api } = useConsole()
  const [typed, setTyped] = useState('')
  const { doing, problem, run } = useAction()
  const disable = () =>
    run(async () => onDone(await api.post<AgentAnswer>(`/agents/${encodeURIComponent(agent.id)}/disable`)))
  return (
    <>
      <p>
        Takes effect on the next request. Every token issued to this agent, or through it, is rejected. It is
        re-enabled by a command at the machine only. Whoever runs it says whether what people lent to this
        agent ends for good.
      </p>
      <Form class="line" onSubmit={disable}>
        <label>
          Type <code>{agent.id}</code> to confirm
          <input
            type="text"
            autocomplete="off"
            spellcheck={false}
            value={typed}
            onInput={({ currentTarget }) => setTyped(currentTarget.value)}
          />
        </label>
        <button type="submit" class="bad" disabled={typed !== agent.id || doing !== undefined}>
          Disable this agent
        </button>
      </Form>
      {problem !== undefined && <ProblemBox problem={problem} />}
    </>
  )
}

const PulledSwitch = ({ agent }: { readonly agent: Agent }) => (
  <>
    <p role="status" class="done">
      Disabled. No token in whose chain it stands counts any more, none is made, and nobody can lend to it.
    </p>
    <p>Only whoever runs this service enables it, at the machine:</p>
    <pre>
      <code>npm run remit -- agent enable {agent.id}</code>
    </pre>
    <p>
      Where people have lent to it: with <code>--end-lent</code>, and they lend anew, or{' '}
      <code>--keep-lent</code> if the switch was pulled by mistake.
    </p>
  </>
)

/** To what it read for one person, and what of it would be refused today. */
const ReadFor = ({ agent }: { readonly agent: string }) => (
  <Part id="read-for" title="What did it read for somebody?">
    <Form class="line" onSubmit={({ subject = '' }) => go(readsPath({ subject, agent, today: 'true' }))}>
      <Field name="subject" title="For whom" example="user:anne" isNeeded />
      <button type="submit">What it read for them</button>
    </Form>
  </Part>
)

/** What people lent to it, or to another agent that may pass it on to this one, newest first. */
const LentTo = ({ agent }: { readonly agent: string }) => (
  <Part id="lent" title="What people lent to it">
    <p class="soft">
      Also what they lent to another agent that may pass it on to this one, as its sub-agent.
    </p>
    <DelegationTable filter={{ agent, limit: '20' }} none="Nobody has lent anything to it." />
  </Part>
)

const names = {
  documents: 'Documents',
  new_documents: 'Documents never given before',
  reads: 'Answers that held them',
}

/**
 * Whether one day of an agent is unlike the ones before: today, unless the address names another by its end.
 */
const Reach = (props: { readonly agent: string; readonly endTime: string | undefined }) => (
  <Part id="reach" title="Is its reach unusual?">
    <Asked<ReachAnswer>
      path={withQuery('/audit/reach', { agent: `agent:${props.agent}`, until: props.endTime })}
      subject="how much it reads"
    >
      {(found) => <Judged agent={props.agent} day={props.endTime?.slice(0, 10)} reach={found} />}
    </Asked>
  </Part>
)

function Judged(props: {
  readonly agent: string
  readonly day: string | undefined
  readonly reach: ReachAnswer
}) {
  const { agent, day } = props
  const { days, measures, unusual } = props.reach
  const when = day === undefined ? 'Today' : `On ${day}`
  if (days.length === 0) return <p>It was given nothing in the four weeks before.</p>
  return (
    <>
      {unusual === null ? (
        <p>It has read on fewer than seven days before: there is nothing to compare with.</p>
      ) : (
        <>
          <p class={unusual ? 'bad' : undefined} role="status">
            {unusual
              ? `Unusual: ${when.toLowerCase()} it read more than on a normal day.`
              : `Not unusual: ${when.toLowerCase()} it read as on a normal day.`}
          </p>
          <Measures when={when} measures={measures} />
        </>
      )}
      <details class="more" open={unusual === null}>
        <summary>Day by day</summary>
        <Days agent={agent} days={days} />
      </details>
    </>
  )
}

const Measures = (props: { readonly when: string; readonly measures: ReachAnswer['measures'] }) => (
  <Table
    caption="Against the days of the four weeks before on which it read anything"
    rows={props.measures}
    keyOf={({ name }) => name}
    columns={[
      { title: 'What', cell: ({ name }) => names[name] },
      { title: props.when, cell: ({ last: lastDay }) => lastDay, isNumber: true },
      { title: 'Usually', cell: ({ median }) => median, isNumber: true },
      { title: 'Unusual above', cell: ({ threshold }) => threshold, isNumber: true },
      {
        title: 'So it is',
        cell: ({ unusual }) => (
          <span class={unusual ? 'tag bad' : 'tag'}>{unusual ? 'unusual' : 'usual'}</span>
        ),
      },
    ]}
  />
)

const Days = ({ agent, days }: { readonly agent: string; readonly days: ReachAnswer['days'] }) => (
  <Table
    caption="Newest first, days of UTC"
    rows={days.toReversed()}
    keyOf={({ day }) => day}
    columns={[
      {
        title: 'Day',
        cell: ({ day }) => (
          <Link
            to={recordPath({
              actor: `agent:${agent}`,
              decision: 'allowed',
              since: `${day}T00:00:00Z`,
              until: `${nextDay(day)}T00:00:00Z`,
            })}
          >
            {day}
          </Link>
        ),
      },
      { title: 'Documents', cell: ({ documents }) => documents, isNumber: true },
      { title: 'Never before', cell: ({ new_documents }) => new_documents, isNumber: true },
      { title: 'Answers', cell: ({ reads }) => reads, isNumber: true },
      {
        title: 'Unusual?',
        cell: ({ day }) => (
          <Link to={agentPath(agent, `${day}T23:59:59Z`)}>
            Check this day<span class="unseen"> {day}</span>
          </Link>
        ),
      },
    ]}
  />
)

const nextDay = (day: string): string =>
  new Date(Date.parse(`${day}T00:00:00Z`) + 86_400_000).toISOString().slice(0, 10)
