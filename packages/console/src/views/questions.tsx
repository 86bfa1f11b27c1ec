import type { Readers as ReadersAnswer, Reads as ReadsAnswer } from '@remit/contract/record-questions'
import { Asked } from '../parts/async-answer.tsx'
import { AskForm, Field, type Inputs, Period } from '../parts/form.tsx'
import { Heading } from '../parts/heading.tsx'
import { Chain, Id } from '../parts/id.tsx'
import { NeverHere } from '../parts/never-here.tsx'
import { Onwards } from '../parts/part.tsx'
import { type Column, Table } from '../parts/table.tsx'
import { Time } from '../parts/time.tsx'
import { actionPath, explainPath, readsPath, recordPath, whoCanPath } from '../paths.ts'
import { Link, withQuery } from '../router.tsx'

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
            {(found) => <FoundReaders found={found} inputs={inputs} />}
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

function FoundReaders({ found, inputs }: { readonly found: ReadersAnswer; readonly inputs: Inputs }) {
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

type ReadDocument = ReadsAnswer['documents'][number]

/**
 * `/reads?subject=…`, with `agent`, `since`, `until`, and `today=true` to ask what of it would be refused
 * now.
 */
export function Reads({ inputs }: { readonly inputs: Inputs }) {
  const { subject, agent } = inputs
  const query = { ...inputs, ...(agent !== undefined && { agent: `agent:${agent}` }) }
  return (
    <>
      <Heading title="What did they get?" />
      <p class="soft">
        Documents this person received, directly or through an agent, and which of them would be refused
        today.
      </p>
      <AskForm path="/reads" button="What did they get?">
        <Field name="subject" title="Who" inputs={inputs} example="user:anne" isNeeded />
        <Field name="agent" title="Through agent" inputs={inputs} example="themselves" />
        <Period inputs={inputs} />
        <label class="check">
          <input type="checkbox" name="today" value="true" defaultChecked={inputs['today'] === 'true'} />
          Ask what of it would be refused today
        </label>
      </AskForm>
      {subject !== undefined && (
        <Asked<ReadsAnswer> path={withQuery('/audit/reads', query)} subject="what they got">
          {(found) => <FoundReads found={found} subject={subject} agent={agent} />}
        </Asked>
      )}
    </>
  )
}

function FoundReads(props: {
  readonly found: ReadsAnswer
  readonly subject: string
  readonly agent: string | undefined
}) {
  const { found, subject, agent } = props
  const { documents, complete: isComplete, asked_today: askedCount } = found
  if (found.never_here.length > 0) return <NeverHere of={found} />
  if (documents.length === 0) return <p role="status">They were given nothing, as far as the record goes.</p>
  const refusedToday = documents.filter(({ today }) => today === 'denied')
  const count = documents.length === 1 ? 'One document' : `${documents.length} documents`
  return (
    <>
      <p role="status">
        {count}
        {!isComplete && ', and more: narrow the time'}
        {askedCount !== undefined && (
          <>
            ; of {askedCount === documents.length ? 'these' : `the newest ${askedCount}`}{' '}
            <strong>{refusedToday.length} would be refused today</strong>, without the approvals of then
          </>
        )}
        .
      </p>
      <Table
        caption={
          askedCount === undefined ? 'The last first, times in UTC' : 'Refused today first, times in UTC'
        }
        rows={[...refusedToday, ...documents.filter(({ today }) => today !== 'denied')]}
        keyOf={({ document_id }) => document_id}
        columns={[
          { title: 'Document', cell: ({ document_id }) => <Id id={`document:${document_id}`} isShort /> },
          ...(askedCount === undefined
            ? []
            : [
                {
                  title: 'Today',
                  cell: ({ today = 'not_asked' }: ReadDocument) => <TodayTag today={today} />,
                },
              ]),
          ...givenColumns,
          ...(agent === undefined
            ? []
            : [
                {
                  title: 'Under',
                  cell: ({ delegation }: ReadDocument) =>
                    delegation === null ? '–' : <Id id={`delegation:${delegation}`} isShort />,
                },
              ]),
          {
            title: 'Why now',
            cell: ({ document_id: id, delegation }) => (
              <Link
                to={explainPath({
                  user: subject,
                  agent,
                  delegation: delegation ?? undefined,
                  object: `document:${id}`,
                })}
              >
                Explain<span class="unseen"> {id}</span>
              </Link>
            ),
          },
        ]}
      />
    </>
  )
}

const tagStyles: Readonly<Record<NonNullable<ReadDocument['today']>, readonly [string, string]>> = {
  allowed: ['tag good', 'allowed'],
  denied: ['tag bad', 'refused'],
  error: ['tag warn', 'undecided'],
  not_asked: ['soft', 'not asked'],
}

function TodayTag({ today }: { readonly today: NonNullable<ReadDocument['today']> }) {
  const [style, label] = tagStyles[today]
  return <span class={style}>{label}</span>
}

/** What the record sums up of answers that were given. */
type Given = Pick<ReadersAnswer['readers'][number], 'answers' | 'first_at' | 'last_at' | 'last_txn'>

/** How often, and when: the last one leads to its action. */
export const givenColumns: readonly Column<Given>[] = [
  { title: 'Answers', cell: ({ answers }) => answers, isNumber: true },
  { title: 'First', cell: ({ first_at }) => <Time time={first_at} /> },
  {
    title: 'Last',
    cell: ({ last_at, last_txn }) => (
      <Link to={actionPath(last_txn)}>
        <Time time={last_at} />
      </Link>
    ),
  },
]
