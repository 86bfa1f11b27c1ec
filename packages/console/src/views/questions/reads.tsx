import type { Reads as ReadsAnswer } from '@remit/contract/record-questions'
import { AsyncAnswer as AskedFor } from '../../parts/async-answer.tsx'
import { Heading } from '../../parts/heading.tsx'
import { Id } from '../../parts/id.tsx'
import { Moment } from '../../parts/moment.tsx'
import { NeverHere } from '../../parts/never-here.tsx'
import { Table } from '../../parts/table.tsx'
import { explainPath } from '../../paths.ts'
import { Link, withQuery } from '../../router.tsx'
import type { Section } from '../../section.ts'
import { useAnswer } from '../../use-answer.ts'
import { AskForm, Field, type Inputs, inputsOf } from '../why/ask-form.tsx'
import { givenColumns } from './given.tsx'
import '../why/why.css'

type ReadDocument = ReadsAnswer['documents'][number]

/** `/reads?subject=…`, with `agent`, `since`, `until`, and `today=true` to ask what of it would be refused now. */
export const readsViews: Section = {
  path: '/reads',
  title: 'What they got',
  roles: ['security.read'],
  show: ({ query }) => {
    const inputs = inputsOf(query, ['subject', 'agent', 'since', 'until', 'today'])
    return <Reads inputs={inputs} key={JSON.stringify(inputs)} />
  },
}

function Reads({ inputs }: { readonly inputs: Inputs }) {
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
        <Moment name="since" title="From (UTC)" value={inputs['since']} />
        <Moment name="until" title="Before (UTC)" value={inputs['until']} />
        <label class="check">
          <input type="checkbox" name="today" value="true" defaultChecked={inputs['today'] === 'true'} />
          Ask what of it would be refused today
        </label>
      </AskForm>
      {inputs['subject'] !== undefined && <Answer inputs={inputs} subject={inputs['subject']} />}
    </>
  )
}

function Answer({ inputs, subject }: { readonly inputs: Inputs; readonly subject: string }) {
  const { agent } = inputs
  const query = { ...inputs, ...(agent !== undefined && { agent: `agent:${agent}` }) }
  const answer = useAnswer('reads', (api, signal) =>
    api.get<ReadsAnswer>(withQuery('/audit/reads', query), signal),
  )
  return (
    <AskedFor answer={answer} subject="what they got">
      {(found) => <Found found={found} subject={subject} agent={agent} />}
    </AskedFor>
  )
}

function Found({
  found,
  subject,
  agent,
}: {
  readonly found: ReadsAnswer
  readonly subject: string
  readonly agent: string | undefined
}) {
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
