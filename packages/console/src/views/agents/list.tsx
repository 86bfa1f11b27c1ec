import type { AgentList } from '@remit/contract/agents'
import { AsyncAnswer } from '../../parts/async-answer.tsx'
import { Heading } from '../../parts/heading.tsx'
import { Id } from '../../parts/id.tsx'
import { Table } from '../../parts/table.tsx'
import { agentPath } from '../../paths.ts'
import { Link } from '../../router.tsx'
import { useAnswer, useConsole } from '../../use-answer.ts'
import { DisabledHosts } from './hosts.tsx'
import { State } from './registry.tsx'

/** The registry, and the disabled hosts for those who may write agents. */
export function Agents() {
  const { roles } = useConsole()
  const answer = useAnswer('agents', (api, signal) =>
    api.get<AgentList>('/agents', signal),
  )
  return (
    <>
      <Heading title="Agents" />
      <AsyncAnswer answer={answer} subject="the registry">
        {({ agents }) => (
          <Table
            caption={`${agents.length} registered`}
            rows={agents}
            keyOf={({ id }) => id}
            columns={[
              { title: 'Agent', cell: ({ id }) => <Link to={agentPath(id)}>{id}</Link> },
              { title: 'Title', cell: ({ title }) => title },
              { title: 'What it is for', cell: ({ purpose }) => purpose },
              { title: 'Answers for it', cell: ({ owner }) => <Id id={owner} /> },
              { title: 'State', cell: ({ state }) => <State state={state} /> },
            ]}
          />
        )}
      </AsyncAnswer>
      {roles.includes('agents.write') && <DisabledHosts />}
    </>
  )
}
