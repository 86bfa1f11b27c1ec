import type { Readers as ReadersAnswer } from '@remit/contract/record-questions'
import { Asked as AskedFor } from '../../parts/asked.tsx'
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
import { type Asked, AskForm, askedOf, Field } from '../why/ask-form.tsx'
import { givenColumns } from './given.tsx'
import '../why/why.css'

/** `/readers?document=…`, with `since` and `until`: who got it, as far as the record goes. */
export const readersViews: Section = {
  path: '/readers',
  title: 'Who got it',
  roles: ['security.read'],
  show: ({ query }) => {
    const asked = askedOf(query, ['document', 'since', 'until'])
    return <Readers asked={asked} key={JSON.stringify(asked)} />
  },
}

function Readers({ asked }: { readonly asked: Asked }) {
  const document = asked['document']?.replace(/^document:/, '')
  return (
    <>
      <Heading title="Who got it?" />
      <p class="soft">
        People who received this document, directly or through an agent. Who could read it now is another
        question.
      </p>
      <AskForm path="/readers" button="Who got it?">
        <Field name="document" title="Document" asked={asked} example="handbook/welcome.md" isNeeded />
        <Moment name="since" title="From (UTC)" value={asked['since']} />
        <Moment name="until" title="Before (UTC)" value={asked['until']} />
      </AskForm>
      {document !== undefined && <Answer asked={{ ...asked, document }} document={document} />}
    </>
  )
}

function Answer({ asked, document }: { readonly asked: Asked; readonly document: string }) {
  const answer = useAnswer('readers', (api, signal) =>
    api.get<ReadersAnswer>(withQuery('/audit/readers', asked), signal),
  )
  const object = `document:${document}`
  return (
    <>
      <AskedFor answer={answer} what="who got it">
        {(found) => <Found found={found} asked={asked} />}
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

function Found({ found, asked }: { readonly found: ReadersAnswer; readonly asked: Asked }) {
  const { readers, names, complete } = found
  if (found.never_here.length > 0) return <NeverHere of={found} />
  if (readers.length === 0) return <p role="status">It was given to nobody, as far as the record goes.</p>
  const people = new Set(readers.map(({ subject }) => subject)).size
  return (
    <>
      <p role="status">
        {people === 1 ? 'One person' : `${people} people`}
        {complete ? '.' : ', and more: narrow the time.'}
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
                  since: asked['since'],
                  until: asked['until'],
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
