import type { RecordEntry, RecordPage } from '@remit/contract/audit'
import { decisions, eventNames } from '@remit/contract/events'
import { useEffect, useState } from 'preact/hooks'
import { Asked } from '../../parts/async-answer.tsx'
import { counted } from '../../parts/counted.ts'
import { Choice, Field, Form, type Inputs, inputsOf, Period } from '../../parts/form.tsx'
import { Heading } from '../../parts/heading.tsx'
import { Chain, Id, Ids } from '../../parts/id.tsx'
import { Table } from '../../parts/table.tsx'
import { Time } from '../../parts/time.tsx'
import { usePages } from '../../parts/use-pages.tsx'
import { actionPath, recordPath } from '../../paths.ts'
import { go, Link, withQuery } from '../../router.tsx'
import { Decision } from './action.tsx'
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

const fields = ['object', 'subject', 'actor', 'client', 'txn', 'trace', 'event', 'decision', 'since', 'until']

/** The record by filter, newest first. */
export function Search({ query }: { readonly query: URLSearchParams }) {
  const filter = inputsOf(query, fields)
  const key = JSON.stringify(filter)
  return (
    <>
      <Heading title="The record" />
      <FilterForm key={`form ${key}`} filter={filter} />
      <Asked<RecordPage> key={key} path={withQuery('/audit', filter)} subject="the record">
        {(firstPage) => <Pages first={firstPage} filter={filter} />}
      </Asked>
    </>
  )
}

const FilterForm = ({ filter }: { readonly filter: Inputs }) => (
  <Form class="filters" searches="The record" onSubmit={(written) => go(recordPath(written))}>
    <Field name="object" title="About" inputs={filter} example="document:…" />
    <Field name="subject" title="Person" inputs={filter} example="user:…" />
    <Field name="actor" title="Agent" inputs={filter} example="agent:…" />
    <Field name="client" title="Client" inputs={filter} example="" />
    <Field name="txn" title="Action (txn)" inputs={filter} example="t_…" />
    <Field name="trace" title="Trace" inputs={filter} example="4bf92f35…" />
    <Choice name="event" title="Event" inputs={filter} choices={eventNames} />
    <Choice name="decision" title="Decision" inputs={filter} choices={decisions} />
    <Period inputs={filter} />
    <div class="buttons">
      <button type="submit" class="main">
        Search
      </button>
      <button
        type="button"
        onClick={({ currentTarget }) => {
          // Where nothing was searched for the address stays as it is, and so would what was typed.
          currentTarget.form?.reset()
          go('/record')
        }}
      >
        Clear
      </button>
    </div>
  </Form>
)

function Pages({ first: firstPage, filter }: { readonly first: RecordPage; readonly filter: Inputs }) {
  const { pages, hasMore, problem, button } = usePages({
    first: firstPage,
    cursorOf: (page) => page.next_cursor,
    ask: (api, cursor) => api.get<RecordPage>(withQuery('/audit', { ...filter, cursor })),
    more: 'Older ones',
  })
  const entries = pages.flatMap(({ records }) => records)
  const count = `${counted(entries.length, 'record')}${hasMore ? ', and older ones' : ''}.`
  return (
    <>
      <Said text={entries.length === 0 ? 'Nothing on record fits.' : count} />
      {entries.length > 0 && <Entries entries={entries} />}
      {problem}
      {button}
    </>
  )
}

/** Said to whoever does not see the list grow. The element has to be there before its text. */
function Said({ text }: { readonly text: string }) {
  const [message, setSaid] = useState('')
  useEffect(() => setSaid(text), [text])
  return (
    <p role="status" class="soft">
      {message}
    </p>
  )
}
