import type { RecordEntry } from '@remit/contract/audit'
import { Chain } from '../../parts/chain.tsx'
import { Decision } from '../../parts/decision.tsx'
import { Id } from '../../parts/id.tsx'
import { Table } from '../../parts/table.tsx'
import { Time } from '../../parts/time.tsx'
import { actionPath } from '../../paths.ts'
import { Link } from '../../router.tsx'
import { about } from './entry.ts'

const shownMax = 3

/** Records in a list, each leading to its whole action. */
export const Entries = ({ entries }: { readonly entries: readonly RecordEntry[] }) => (
  <Table
    caption="Newest first, times in UTC"
    rows={entries}
    keyOf={({ seq }) => seq}
    columns={[
      { title: 'Time', cell: ({ time }) => <Time time={time} /> },
      {
        title: 'Event',
        cell: ({ event, txn }) => (
          <Link to={actionPath(txn)} class="whole">
            {event}
          </Link>
        ),
      },
      { title: 'Decision', cell: ({ decision }) => <Decision decision={decision} /> },
      {
        title: 'Person',
        cell: ({ subject, names }) => <Id id={subject} name={names[subject]} />,
      },
      {
        title: 'Through',
        cell: ({ actors, client, names }) => <Chain actors={actors} client={client} names={names} />,
      },
      { title: 'About', cell: (entry) => <About entry={entry} /> },
    ]}
  />
)

function About({ entry }: { readonly entry: RecordEntry }) {
  const ids = about(entry)
  const { command } = entry.detail
  return (
    <ul class="plain">
      {entry.event === 'command' && typeof command === 'string' && (
        <li>
          <code>{command}</code>
        </li>
      )}
      {ids.slice(0, shownMax).map((id) => (
        <li key={id}>
          <Id id={id} />
        </li>
      ))}
      {ids.length > shownMax && <li class="soft">and {ids.length - shownMax} more</li>}
    </ul>
  )
}
