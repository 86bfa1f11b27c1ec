import type { Reads as ReadsAnswer } from '@remit/contract/record-questions'
import { Asked as AskedFor } from '../../parts/asked.tsx'
import { Heading } from '../../parts/heading.tsx'
import { Id } from '../../parts/id.tsx'
import { Moment } from '../../parts/moment.tsx'
import { NeverHere } from '../../parts/never-here.tsx'
import { Table } from '../../parts/table.tsx'
import { explainPath } from '../../paths.ts'
import { Link, withQuery } from '../../router.tsx'
import type { Section } from '../../section.ts'
import { useAnswer } from '../../use-answer.ts'
import { type Asked, AskForm, askedOf, Field } from '../why/ask-form.tsx'
import { givenColumns } from './given.tsx'
import '../why/why.css'

type ReadDocument = ReadsAnswer['documents'][number]

/** `/reads?subject=…`, with `agent`, `since`, `until`, and `today=true` to ask what of it would be refused now. */
export const readsViews: Section = {
  path: '/reads',
  title: 'What they got',
  roles: ['security.read'],
  show: ({ query }) => {
    const asked = askedOf(query, ['subject', 'agent', 'since', 'until', 'today'])
    return <Reads asked={asked} key={JSON.stringify(asked)} />
  },
}

function Reads({ asked }: { readonly asked: Asked }) {
  return (
    <>
      <Heading title="What did they get?" />
      <p class="soft">
        Documents this person received, directly or through an agent, and which of them would be refused
        today.
      </p>
      <AskForm path="/reads" button="What did they get?">
        <Field name="subject" title="Who" asked={asked} example="user:anne" isNeeded />
        <Field name="agent" title="Through agent" asked={asked} example="themselves" />
        <Moment name="since" title="From (UTC)" value={asked['since']} />
        <Moment name="until" title="Before (UTC)" value={asked['until']} />
        <label class="check">
          <input type="checkbox" name="today" value="true" defaultChecked={asked['today'] === 'true'} />
          Ask what of it would be refused today
        </label>
      </AskForm>
      {asked['subject'] !== undefined && <Answer asked={asked} subject={asked['subject']} />}
    </>
  )
}

function Answer({ asked, subject }: { readonly asked: Asked; readonly subject: string }) {
  const { agent } = asked
  const query = { ...asked, ...(agent !== undefined && { agent: `agent:${agent}` }) }
  const answer = useAnswer('reads', (api, signal) =>
    api.get<ReadsAnswer>(withQuery('/audit/reads', query), signal),
  )
  return (
    <AskedFor answer={answer} what="what they got">
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
  const { documents, complete, asked_today: asked } = found
  if (found.never_here.length > 0) return <NeverHere of={found} />
  if (documents.length === 0) return <p role="status">They were given nothing, as far as the record goes.</p>
  const refused = documents.filter(({ today }) => today === 'denied')
  const count = documents.length === 1 ? 'One document' : `${documents.length} documents`
  return (
    <>
      <p role="status">
        {count}
        {!complete && ', and more: narrow the time'}
        {asked !== undefined && (
          <>
            ; of {asked === documents.length ? 'these' : `the newest ${asked}`}{' '}
            <strong>{refused.length} would be refused today</strong>, without the approvals of then
          </>
        )}
        .
      </p>
      <Table
        caption={asked === undefined ? 'The last first, times in UTC' : 'Refused today first, times in UTC'}
        rows={[...refused, ...documents.filter(({ today }) => today !== 'denied')]}
        keyOf={({ document_id }) => document_id}
        columns={[
          { title: 'Document', cell: ({ document_id }) => <Id id={`document:${document_id}`} isShort /> },
          ...(asked === undefined
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

const tags: Readonly<Record<NonNullable<ReadDocument['today']>, readonly [string, string]>> = {
  allowed: ['tag good', 'allowed'],
  denied: ['tag bad', 'refused'],
  error: ['tag warn', 'undecided'],
  not_asked: ['soft', 'not asked'],
}

function TodayTag({ today }: { readonly today: NonNullable<ReadDocument['today']> }) {
  const [style, word] = tags[today]
  return <span class={style}>{word}</span>
}
