import type { Agent, AgentAnswer } from '@remit/contract/agents'
import { useState } from 'preact/hooks'
import { AsyncAnswer } from '../../parts/async-answer.tsx'
import { Heading } from '../../parts/heading.tsx'
import { Id } from '../../parts/id.tsx'
import { NeverHere } from '../../parts/never-here.tsx'
import { Time } from '../../parts/time.tsx'
import { type Answer, useAnswer, useConsole } from '../../use-answer.ts'
import { KillSwitch } from './kill-switch.tsx'
import { DelegationsToAgent, ReadFor, RecentDecisions } from './on-record.tsx'
import { ReachSection } from './reach.tsx'
import { State } from './registry.tsx'

/** What an agent is, its switch, whether it reads more than usual, what people lend to it, what it read. */
export function OneAgent({ id, endTime }: { readonly id: string; readonly endTime: string | undefined }) {
  const { roles } = useConsole()
  const [changed, setChanged] = useState<Agent>()
  const read: Answer<Pick<AgentAnswer, 'agent'>> = useAnswer(`agent ${id}`, (api, signal) =>
    api.get(`/agents/${encodeURIComponent(id)}`, signal),
  )
  const isNone = read.state === 'failed' && read.problem.status === 404
  const answer: typeof read = changed === undefined ? read : { state: 'there', value: { agent: changed } }
  return (
    <>
      <Heading title={`Agent ${id}`} />
      {isNone ? (
        <NeverHere of={{ never_here: [`agent:${id}`] }} />
      ) : (
        <AsyncAnswer answer={answer} subject="the agent">
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
          <ReachSection agent={id} endTime={endTime} />
          <ReadFor agent={id} />
          <DelegationsToAgent agent={id} key={changed?.state} />
          <RecentDecisions agent={id} />
        </>
      )}
    </>
  )
}

function Facts({ agent }: { readonly agent: Agent }) {
  const { title, purpose, owner, scopes, collections, actor, jwks, state } = agent
  return (
    <dl class="facts">
      <dt>State</dt>
      <dd>
        <State state={state} />
        {agent.disabled_at !== undefined && (
          <>
            {' '}
            since <Time time={agent.disabled_at} />
          </>
        )}
      </dd>
      <dt>Title</dt>
      <dd>{title}</dd>
      <dt>What it is for</dt>
      <dd>{purpose}</dd>
      <dt>Answers for it</dt>
      <dd>
        <Id id={owner} />
      </dd>
      <dt>Scopes at most</dt>
      <dd>{scopes === null ? 'those of every agent' : scopes.join(', ') || 'none'}</dd>
      <dt>Reads at most</dt>
      <dd>
        {collections === null ? 'wherever people lend it something' : collections.join(', ') || 'nothing'}
      </dd>
      <dt>Named in tokens</dt>
      <dd>
        {actor.sub} of {actor.issuer}
      </dd>
      <dt>Keys of its own</dt>
      <dd>{jwks?.keys.length ?? 0}</dd>
    </dl>
  )
}
