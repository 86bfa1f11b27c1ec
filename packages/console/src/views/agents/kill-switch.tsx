import type { Agent, AgentAnswer } from '@remit/contract/agents'
import { useState } from 'preact/hooks'
import { ProblemBox } from '../../parts/problem.tsx'
import { asProblem, useConsole } from '../../use-answer.ts'

/** By typing its name: what is pulled here is put back at the machine only. */
export function KillSwitch({
  agent,
  onDone,
}: {
  readonly agent: Agent
  readonly onDone: (agent: Agent) => void
}) {
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
        <p>
          Where people have lent to it: with <code>--end-lent</code>, and they lend anew, or{' '}
          <code>--keep-lent</code> if the switch was pulled by mistake.
        </p>
      </section>
    )

  async function disable(): Promise<void> {
    setSending(true)
    setProblem(undefined)
    try {
      const { agent: disabledAgent } = await api.post<AgentAnswer>(
        `/agents/${encodeURIComponent(agent.id)}/disable`,
      )
      onDone(disabledAgent)
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
        Takes effect on the next request. Every token issued to this agent, or through it, is rejected. It is
        re-enabled by a command at the machine only. Whoever runs it says whether what people lent to this
        agent ends for good.
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
