import type { Readers as ReadersAnswer } from '@remit/contract/record-questions'
import { Asked } from '../../parts/async-answer.tsx'
import { AskForm, Field, type Inputs, Period } from '../../parts/form.tsx'
import { Heading } from '../../parts/heading.tsx'
import { Chain, Id } from '../../parts/id.tsx'
import { NeverHere } from '../../parts/never-here.tsx'
import { Onwards } from '../../parts/part.tsx'
import { Table } from '../../parts/table.tsx'
import { readsPath, recordPath, whoCanPath } from '../../paths.ts'
import { Link, withQuery } from '../../router.tsx'
import { givenColumns } from './reads.tsx'

/** `/readers?document=…`, with `since` and `until`: who got it, as far as the record goes. */
export function Readers({ inputs }: { readonly inputs: Inputs }) {
  const document = inputs['document']?.replace(/^document:/, '')
  const object = `document:${document}`
  return (
    <>
      <Heading title="Who got it?" />
      <p class="soft">
        People who received this document, directly or through an agent. Who could read it now is another
        question.
      </p>
      <AskForm path="/readers" button="Who got it?">
        <Field name="document" title="Document" inputs={inputs} example="handbook/welcome.md" isNeeded />
        <Period inputs={inputs} />
      </AskForm>
      {document !== undefined && (
        <>
          <Asked<ReadersAnswer>
            path={withQuery('/audit/readers', { ...inputs, document })}
            subject="who got it"
          >
            {(found) => <Found found={found} inputs={inputs} />}
          </Asked>
          <Onwards
            links={{
              'Who can read it now': whoCanPath(object),
              'How its access was changed': recordPath({ object, event: 'access_changed' }),
              'All that is on record of it': recordPath({ object }),
            }}
          />
        </>
      )}
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
