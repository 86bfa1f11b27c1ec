import type { RecordEntry, RecordPage } from '@remit/contract/audit'
import { Asked } from '../../parts/async-answer.tsx'
import { Decision } from '../../parts/decision.tsx'
import { Chain, Id, Ids } from '../../parts/id.tsx'
import { Table } from '../../parts/table.tsx'
import { Time } from '../../parts/time.tsx'
import { actionPath, recordPath } from '../../paths.ts'
import { Link, withQuery } from '../../router.tsx'
import { about } from './entry.ts'

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
  const { command } = entry.detail
  return (
    <Ids ids={about(entry)} max={3}>
      {entry.event === 'command' && typeof command === 'string' && (
        <li>
          <code>{command}</code>
        </li>
      )}
    </Ids>
  )
}

/** The last records of an actor, or about an object, and the way to all of them. */
export const LatestEntries = (props: {
  readonly of: { readonly actor: string } | { readonly object: string }
  readonly limit: number
  readonly subject: string
  /** Said where there is none. */
  readonly none: string
}) => (
  <Asked<RecordPage>
    path={withQuery('/audit', { ...props.of, limit: `${props.limit}` })}
    subject={props.subject}
  >
    {({ records, next_cursor: next }) =>
      records.length === 0 ? (
        <p>{props.none}</p>
      ) : (
        <>
          <Entries entries={records} />
          {next !== undefined && (
            <p>
              <Link to={recordPath(props.of)}>All that is on record of it</Link>
            </p>
          )}
        </>
      )
    }
  </Asked>
)
