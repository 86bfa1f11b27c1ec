import { useState } from 'preact/hooks'
import { Asked } from '../parts/asked.tsx'
import { Heading } from '../parts/heading.tsx'
import { ProblemBox } from '../parts/problem.tsx'
import { Table } from '../parts/table.tsx'
import { Time } from '../parts/time.tsx'
import { agentPath } from '../paths.ts'
import { Link } from '../router.tsx'
import type { Section } from '../shell.tsx'
import { type Answer, asProblem, useAnswer, useConsole } from '../use-answer.ts'

interface Agent {
  readonly id: string
  readonly owner: string
  readonly title: string
  readonly purpose: string
  readonly scopes: readonly string[] | null
  readonly collections: readonly string[] | null
  readonly actor: { readonly issuer: string; readonly sub: string }
  readonly jwks?: { readonly keys: readonly object[] }
  readonly state: 'enabled' | 'disabled'
  readonly disabled_at?: string
}

export const agentViews: Section = {
  path: '/agents',
  title: 'Agents',
  role: 'agents.write',
  show: (_, rest) => (rest.length === 0 ? <Agents /> : <OneAgent id={rest.join('/')} key={rest.join('/')} />),
}

function Agents() {
  const answer = useAnswer('agents', (api, signal) =>
    api.get<{ readonly agents: readonly Agent[] }>('/agents', signal),
  )
  return (
    <>
      <Heading title="Agents" />
      <Asked answer={answer} what="the registry">
        {({ agents }) => (
          <Table
            caption={`${agents.length} registered`}
            rows={agents}
            keyOf={({ id }) => id}
            columns={[
              { title: 'Agent', cell: ({ id }) => <Link to={agentPath(id)}>{id}</Link> },
              { title: 'Title', cell: ({ title }) => title },
              { title: 'What it is for', cell: ({ purpose }) => purpose },
              { title: 'Answers for it', cell: ({ owner }) => owner },
              { title: 'State', cell: ({ state }) => <State state={state} /> },
            ]}
          />
        )}
      </Asked>
    </>
  )
}

const State = ({ state }: Pick<Agent, 'state'>) => (
  <span class={state === 'enabled' ? 'tag' : 'tag bad'}>{state}</span>
)

function OneAgent({ id }: { readonly id: string }) {
  const [changed, setChanged] = useState<Agent>()
  const read: Answer<{ readonly agent: Agent }> = useAnswer(`agent ${id}`, (api, signal) =>
    api.get(`/agents/${encodeURIComponent(id)}`, signal),
  )
  const answer: typeof read = changed === undefined ? read : { state: 'there', value: { agent: changed } }
  return (
    <>
      <Heading title={`Agent ${id}`} />
      <Asked answer={answer} what="the agent">
        {({ agent }) => (
          <>
            <Facts agent={agent} />
            <KillSwitch agent={agent} onDone={setChanged} />
          </>
        )}
      </Asked>
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
            since <Time at={agent.disabled_at} />
          </>
        )}
      </dd>
      <dt>Title</dt>
      <dd>{title}</dd>
      <dt>What it is for</dt>
      <dd>{purpose}</dd>
      <dt>Answers for it</dt>
      <dd>{owner}</dd>
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

/** By typing its name: what is pulled here is put back at the machine only. */
function KillSwitch({ agent, onDone }: { readonly agent: Agent; readonly onDone: (agent: Agent) => void }) {
  const { api } = useConsole()
  const [typed, setTyped] = useState('')
  const [isSending, setSending] = useState(false)
  const [problem, setProblem] = useState<ReturnType<typeof asProblem>>()
  if (agent.state === 'disabled')
    return (
      <section aria-labelledby="switch">
        <h2 id="switch">Kill switch</h2>
        <p role="status" class="done">
          Disabled. No token in whose chain it stands counts any more, none is made, and nobody can lend to
          it.
        </p>
        <p>Only whoever runs this service enables it, at the machine:</p>
        <pre>
          <code>npm run remit -- agent enable {agent.id}</code>
        </pre>
      </section>
    )

  async function disable(): Promise<void> {
    setSending(true)
    setProblem(undefined)
    try {
      const { agent: after } = await api.post<{ readonly agent: Agent }>(
        `/agents/${encodeURIComponent(agent.id)}/disable`,
      )
      onDone(after)
    } catch (thrown) {
      setProblem(asProblem(thrown))
    } finally {
      setSending(false)
    }
  }

  return (
    <section aria-labelledby="switch">
      <h2 id="switch">Kill switch</h2>
      <p>
        From the next request on no token in whose chain it stands is accepted, its clients can start nothing,
        and what people lent to it is over once it is enabled again. No page enables it: that is done at the
        machine.
      </p>
      <form
        class="line"
        onSubmit={(event) => {
          event.preventDefault()
          void disable()
        }}
      >
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
        <button type="submit" class="bad" disabled={typed !== agent.id || isSending}>
          Disable this agent
        </button>
      </form>
      {problem !== undefined && <ProblemBox problem={problem} />}
    </section>
  )
}
