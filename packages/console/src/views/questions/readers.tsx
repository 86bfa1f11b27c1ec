import type { Readers as ReadersAnswer } from '@remit/contract/record-questions'
import { AsyncAnswer as AskedFor } from '../../parts/async-answer.tsx'
import { Chain } from '../../parts/chain.tsx'
import { Heading } from '../../parts/heading.tsx'
import { Id } from '../../parts/id.tsx'
import { Moment } from '../../parts/moment.tsx'
import { NeverHere } from '../../parts/never-here.tsx'
import { Table } from '../../parts/table.tsx'
import { readsPath, recordPath, whoCanPath } from '../../paths.ts'
import { Link, withQuery } from '../../router.tsx'
import type { Section } from '../../section.ts'
import { useAnswer } from '../../use-answer.ts'
import { AskForm, Field, type Inputs, inputsOf } from '../why/ask-form.tsx'
import { givenColumns } from './given.tsx'
import '../why/why.css'

/** `/readers?document=…`, with `since` and `until`: who got it, as far as the record goes. */
export const readersViews: Section = {
  path: '/readers',
  title: 'Who got it',
  roles: ['security.read'],
  show: ({ query }) => {
    const inputs = inputsOf(query, ['document', 'since', 'until'])
    return <Readers inputs={inputs} key={JSON.stringify(inputs)} />
  },
}

function Readers({ inputs }: { readonly inputs: Inputs }) {
  const document = inputs['document']?.replace(/^document:/, '')
  return (
    <>
      <Heading title="Who got it?" />
      <p class="soft">
        People who received this document, directly or through an agent. Who could read it now is another
        question.
      </p>
      <AskForm path="/readers" button="Who got it?">
        <Field name="document" title="Document" inputs={inputs} example="handbook/welcome.md" isNeeded />
        <Moment name="since" title="From (UTC)" value={inputs['since']} />
        <Moment name="until" title="Before (UTC)" value={inputs['until']} />
      </AskForm>
      {document !== undefined && <Answer inputs={{ ...inputs, document }} document={document} />}
    </>
  )
}

function Answer({ inputs, document }: { readonly inputs: Inputs; readonly document: string }) {
  const answer = useAnswer('readers', (api, signal) =>
    api.get<ReadersAnswer>(withQuery('/audit/readers', inputs), signal),
  )
  const object = `document:${document}`
  return (
    <>
      <AskedFor answer={answer} subject="who got it">
        {(found) => <Found found={found} inputs={inputs} />}
      </AskedFor>
      <ul class="onwards" aria-label="On from here">
        <li>
          <Link to={whoCanPath(object)}>Who can read it now</Link>
        </li>
        <li>
          <Link to={recordPath({ object, event: 'access_changed' })}>How its access was changed</Link>
        </li>
        <li>
          <Link to={recordPath({ object })}>All that is on record of it</Link>
        </li>
      </ul>
    </>
  )
}

function Found({ found, inputs }: { readonly found: ReadersAnswer; readonly inputs: Inputs }) {
  const { readers, names, complete: isComplete } = found
  if (found.never_here.length > 0) return <NeverHere of={found} />
  if (readers.length === 0) return <p role="status">It was given to nobody, as far as the record goes.</p>
  const people = new Set(readers.map(({ subject }) => subject)).size
  return (
    <>
      <p role="status">
        {people === 1 ? 'One person' : `${people} people`}
        {isComplete ? '.' : ', and more: narrow the time.'}
      </p>
      <Table
        caption="The last first, times in UTC"
        rows={readers}
        keyOf={({ subject, actors, client }) => JSON.stringify([subject, actors, client])}
        columns={[
          { title: 'Person', cell: ({ subject }) => <Id id={subject} name={names[subject]} /> },
          {
            title: 'Through',
            cell: ({ actors, client }) => <Chain actors={actors} client={client} names={names} />,
          },
          ...givenColumns,
          {
            title: 'What else',
            cell: ({ subject, actors: [agent] }) => (
              <Link
                to={readsPath({
                  subject,
                  agent,
                  since: inputs['since'],
                  until: inputs['until'],
                  today: 'true',
                })}
              >
                What else {agent === undefined ? 'they got' : 'it read for them'}
              </Link>
            ),
          },
        ]}
      />
    </>
  )
}
