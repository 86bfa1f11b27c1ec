import type { AgentList, HostList } from '@remit/contract/agents'
import { useState } from 'preact/hooks'
import { Asked } from '../../parts/async-answer.tsx'
import { Heading } from '../../parts/heading.tsx'
import { Id } from '../../parts/id.tsx'
import { Part } from '../../parts/part.tsx'
import { Table } from '../../parts/table.tsx'
import { Time } from '../../parts/time.tsx'
import { agentPath } from '../../paths.ts'
import { Link } from '../../router.tsx'
import { useConsole } from '../../use-answer.ts'
import { State } from './agent.tsx'

/** The registry, and the disabled hosts for those who may write agents. */
export function Agents() {
  const { roles } = useConsole()
  return (
    <>
      <Heading title="Agents" />
      <Asked<AgentList> path="/agents" subject="the registry">
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
      </Asked>
      {roles.includes('agents.write') && <DisabledHosts />}
    </>
  )
}

/**
 * Whose programs may not come. Asked for by a button: it takes a recent sign-in, which the registry does not.
 */
function DisabledHosts() {
  const [isAsked, setAsked] = useState(false)
  return (
    <Part id="hosts" title="Disabled hosts">
      <p>No program of such a host, or of a name below it, begins anything here.</p>
      {isAsked ? (
        <Asked<HostList> path="/hosts" subject="the disabled hosts">
          {({ hosts }) =>
            hosts.length === 0 ? (
              <p role="status">None.</p>
            ) : (
              <Table
                caption={`${hosts.length} disabled; times in UTC`}
                rows={hosts}
                keyOf={({ host }) => host}
                columns={[
                  { title: 'Host', cell: ({ host }) => <code>{host}</code> },
                  {
                    title: 'Disabled since',
                    cell: ({ since: disabledSince }) => <Time time={disabledSince} />,
                  },
                ]}
              />
            )
          }
        </Asked>
      ) : (
        <button type="button" onClick={() => setAsked(true)}>
          Show disabled hosts
        </button>
      )}
    </Part>
  )
}
