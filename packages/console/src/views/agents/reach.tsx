import type { Reach as ReachAnswer } from '@remit/contract/record-questions'
import { Asked } from '../../parts/async-answer.tsx'
import { Part } from '../../parts/part.tsx'
import { Table } from '../../parts/table.tsx'
import { agentPath, recordPath } from '../../paths.ts'
import { Link, withQuery } from '../../router.tsx'

const names = {
  documents: 'Documents',
  new_documents: 'Documents never given before',
  reads: 'Answers that held them',
}

/** Whether one day of an agent is unlike the ones before: today, unless the address names another by its end. */
export const Reach = (props: { readonly agent: string; readonly endTime: string | undefined }) => (
  <Part id="reach" title="Is its reach unusual?">
    <Asked<ReachAnswer>
      path={withQuery('/audit/reach', { agent: `agent:${props.agent}`, until: props.endTime })}
      subject="how much it reads"
    >
      {(found) => <Judged agent={props.agent} day={props.endTime?.slice(0, 10)} reach={found} />}
    </Asked>
  </Part>
)

function Judged(props: {
  readonly agent: string
  readonly day: string | undefined
  readonly reach: ReachAnswer
}) {
  const { agent, day } = props
  const { days, measures, unusual } = props.reach
  const when = day === undefined ? 'Today' : `On ${day}`
  if (days.length === 0) return <p>It was given nothing in the four weeks before.</p>
  return (
    <>
      {unusual === null ? (
        <p>It has read on fewer than seven days before: there is nothing to compare with.</p>
      ) : (
        <>
          <p class={unusual ? 'bad' : undefined} role="status">
            {unusual
              ? `Unusual: ${when.toLowerCase()} it read more than on a normal day.`
              : `Not unusual: ${when.toLowerCase()} it read as on a normal day.`}
          </p>
          <Table
            caption="Against the days of the four weeks before on which it read anything"
            rows={measures}
            keyOf={({ name }) => name}
            columns={[
              { title: 'What', cell: ({ name }) => names[name] },
              { title: when, cell: ({ last: lastDay }) => lastDay, isNumber: true },
              { title: 'Usually', cell: ({ median }) => median, isNumber: true },
              { title: 'Unusual above', cell: ({ threshold }) => threshold, isNumber: true },
              {
                title: 'So it is',
                cell: (measure) => (
                  <span class={measure.unusual ? 'tag bad' : 'tag'}>
                    {measure.unusual ? 'unusual' : 'usual'}
                  </span>
                ),
              },
            ]}
          />
        </>
      )}
      <details class="more" open={unusual === null}>
        <summary>Day by day</summary>
        <Table
          caption="Newest first, days of UTC"
          rows={days.toReversed()}
          keyOf={({ day: dayRow }) => dayRow}
          columns={[
            {
              title: 'Day',
              cell: ({ day: dayRow }) => (
                <Link
                  to={recordPath({
                    actor: `agent:${agent}`,
                    decision: 'allowed',
                    since: `${dayRow}T00:00:00Z`,
                    until: `${nextDay(dayRow)}T00:00:00Z`,
                  })}
                >
                  {dayRow}
                </Link>
              ),
            },
            { title: 'Documents', cell: ({ documents }) => documents, isNumber: true },
            { title: 'Never before', cell: ({ new_documents }) => new_documents, isNumber: true },
            { title: 'Answers', cell: ({ reads }) => reads, isNumber: true },
            {
              title: 'Unusual?',
              cell: ({ day: dayRow }) => (
                <Link to={agentPath(agent, `${dayRow}T23:59:59Z`)}>
                  Check this day<span class="unseen"> {dayRow}</span>
                </Link>
              ),
            },
          ]}
        />
      </details>
    </>
  )
}

const nextDay = (day: string): string =>
  new Date(Date.parse(`${day}T00:00:00Z`) + 86_400_000).toISOString().slice(0, 10)
