import type { HostList } from '@remit/contract/agents'
import { useState } from 'preact/hooks'
import { AsyncAnswer } from '../../parts/async-answer.tsx'
import { Table } from '../../parts/table.tsx'
import { Time } from '../../parts/time.tsx'
import { useAnswer } from '../../use-answer.ts'

/** Whose programs may not come. Asked for by a button: it takes a recent sign-in, which the registry does not. */
export function DisabledHosts() {
  const [isAsked, setAsked] = useState(false)
  return (
    <section aria-labelledby="hosts">
      <h2 id="hosts">Disabled hosts</h2>
      <p>No program of such a host, or of a name below it, begins anything here.</p>
      {isAsked ? (
        <Hosts />
      ) : (
        <button type="button" onClick={() => setAsked(true)}>
          Show disabled hosts
        </button>
      )}
    </section>
  )
}

function Hosts() {
  const answer = useAnswer('hosts', (api, signal) =>
    api.get<HostList>('/hosts', signal),
  )
  return (
    <AsyncAnswer answer={answer} subject="the disabled hosts">
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
              { title: 'Disabled since', cell: ({ since: disabledSince }) => <Time time={disabledSince} /> },
            ]}
          />
        )
      }
    </AsyncAnswer>
  )
}
