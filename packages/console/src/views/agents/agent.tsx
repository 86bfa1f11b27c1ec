import type { Agent, AgentAnswer } from '@remit/contract/agents'
import { useState } from 'preact/hooks'
import { AsyncAnswer } from '../../parts/async-answer.tsx'
import { Field, Form } from '../../parts/form.tsx'
import { Heading } from '../../parts/heading.tsx'
import { Id } from '../../parts/id.tsx'
import { NeverHere } from '../../parts/never-here.tsx'
import { Fact, Part } from '../../parts/part.tsx'
import { ProblemBox } from '../../parts/problem.tsx'
import { Time } from '../../parts/time.tsx'
import { readsPath } from '../../paths.ts'
import { go } from '../../router.tsx'
import { type Answer, useAction, useAnswer, useConsole } from '../../use-answer.ts'
import { DelegationTable } from '../delegations/list.tsx'
import { LatestEntries } from '../record/entries.tsx'
import { Reach } from './reach.tsx'

/** What an agent is, its switch, whether it reads more than usual, what people lend to it, what it read. */
export function OneAgent({ id, endTime }: { readonly id: string; readonly endTime: string | undefined }) {
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
        <NeverHere of={{ never_here: [`agent:${id}`] }} />
      ) : (
        <AsyncAnswer
          answer={changed === undefined ? read : { state: 'there', value: changed }}
          subject="the agent"
        >
          {({ agent }) => (
            <>
              <Facts agent={agent} />
              {roles.includes('agents.write') && <KillSwitch agent={agent} onDone={setChanged} />}
            </>
          )}
        </AsyncAnswer>
      )}
      {roles.includes('security.read') && !isNone && (
        <>
          <Reach agent={id} endTime={endTime} />
          <ReadFor agent={`agent:${id}`} />
          <LentTo agent={`agent:${id}`} key={changed?.agent.state} />
          <Part id="read" title="What it did last">
            <LatestEntries
              of={{ actor: `agent:${id}` }}
              limit={10}
              subject="what it did"
              none="Nothing is on record."
            />
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
  if (agent.state === 'disabled')
    return (
      <Part id="switch" title="Kill switch">
        <p role="status" class="done">
          Disabled. No token in whose chain it stands counts any more, none is made, and nobody can lend to
          it.
        </p>
        <p>Only whoever runs this service enables it, at the machine:</p>
        <pre>
          <code>npm run remit -- agent enable {agent.id}</code>
        </pre>
        <p>
          Where people have lent to it: with <code>--end-lent</code>, and they lend anew, or{' '}
          <code>--keep-lent</code> if the switch was pulled by mistake.
        </p>
      </Part>
    )

  const disable = () =>
    run(async () => onDone(await api.post<AgentAnswer>(`/agents/${encodeURIComponent(agent.id)}/disable`)))
  return (
    <Part id="switch" title="Kill switch">
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
    </Part>
  )
}

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
