import type { RecordPage } from '@remit/contract/audit'
import { decisions, eventNames } from '@remit/contract/events'
import { useEffect, useState } from 'preact/hooks'
import { Asked } from '../../parts/async-answer.tsx'
import { counted } from '../../parts/counted.ts'
import { Choice, Field, Form, type Inputs, inputsOf, Period } from '../../parts/form.tsx'
import { Heading } from '../../parts/heading.tsx'
import { usePages } from '../../parts/use-pages.tsx'
import { recordPath } from '../../paths.ts'
import { go, withQuery } from '../../router.tsx'
import { Entries } from './entries.tsx'

const fields = ['object', 'subject', 'actor', 'client', 'txn', 'event', 'decision', 'since', 'until']

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
    <Choice name="event" title="Event" inputs={filter} choices={eventNames} />
    <Choice name="decision" title="Decision" inputs={filter} choices={decisions} />
    <Period inputs={filter} />
    <div class="buttons">
      <button type="submit" class="main">
        Search
      </button>
      <button type="button" onClick={() => go('/record')}>
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
