import type { Readers, Reads as ReadsAnswer } from '@remit/contract/record-questions'
import { Asked } from '../../parts/async-answer.tsx'
import { AskForm, Field, type Inputs, Period } from '../../parts/form.tsx'
import { Heading } from '../../parts/heading.tsx'
import { Id } from '../../parts/id.tsx'
import { NeverHere } from '../../parts/never-here.tsx'
import { type Column, Table } from '../../parts/table.tsx'
import { Time } from '../../parts/time.tsx'
import { actionPath, explainPath } from '../../paths.ts'
import { Link, withQuery } from '../../router.tsx'

type ReadDocument = ReadsAnswer['documents'][number]

/** `/reads?subject=…`, with `agent`, `since`, `until`, and `today=true` to ask what of it would be refused now. */
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
          {(found) => <Found found={found} subject={subject} agent={agent} />}
        </Asked>
      )}
    </>
  )
}

function Found(props: {
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
type Given = Pick<Readers['readers'][number], 'answers' | 'first_at' | 'last_at' | 'last_txn'>

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
