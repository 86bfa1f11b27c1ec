import type { Activity } from '@remit/contract/activity'
import { useState } from 'preact/hooks'
import { AsyncAnswer } from '../../parts/async-answer.tsx'
import { Heading } from '../../parts/heading.tsx'
import { Table } from '../../parts/table.tsx'
import { Time } from '../../parts/time.tsx'
import { recordPath } from '../../paths.ts'
import { go, Link, withQuery } from '../../router.tsx'
import type { Section } from '../../section.ts'
import { useAnswer } from '../../use-answer.ts'
import { Chart } from './chart.tsx'

/** The overview of the last hours. */
export const overviewViews: Section = {
  path: '/',
  title: 'Overview',
  roles: ['security.read'],
  show: ({ query }) => <Overview hours={query.get('hours') ?? '24'} />,
}

const periods: Readonly<Record<string, string>> = { '1': 'hour', '24': '24 hours', '168': '7 days' }

function Overview({ hours }: { readonly hours: string }) {
  const [turn, setTurn] = useState(0)
  const answer = useAnswer(`activity ${hours} ${turn}`, (api, signal) =>
    api.get<Activity>(withQuery('/activity', { hours }), signal),
  )
  return (
    <>
      <Heading title="Overview" />
      <form class="line" onSubmit={(event) => event.preventDefault()}>
        <label>
          How far back
          <select
            value={hours}
            onChange={({ currentTarget }) => go(withQuery('/', { hours: currentTarget.value }))}
          >
            {Object.entries(periods).map(([value, title]) => (
              <option key={value} value={value}>
                the last {title}
              </option>
            ))}
          </select>
        </label>
        <button type="button" onClick={() => setTurn(turn + 1)}>
          Ask again
        </button>
      </form>
      <AsyncAnswer answer={answer} subject="what happened lately">
        {(activity) => <Shown activity={activity} />}
      </AsyncAnswer>
    </>
  )
}

function Shown({ activity }: { readonly activity: Activity }) {
  const { stretches, approvals_waiting: waiting, drift_mended: drift, index } = activity
  const firstTime = stretches[0]?.at ?? ''
  const sum = (outcome: 'allowed' | 'denied' | 'error' | 'none'): number =>
    stretches.reduce((total, stretch) => total + stretch[outcome], 0)
  const busy = stretches.filter(
    ({ allowed, denied, error, none: empty }) => allowed + denied + error + empty > 0,
  )
  return (
    <>
      <dl class="figures">
        <Figure title="Allowed" value={sum('allowed')} />
        <Figure
          title="Denied"
          value={sum('denied')}
          to={recordPath({ decision: 'denied', since: firstTime })}
        />
        <Figure
          title="Empty"
          value={sum('none')}
          to={recordPath({ event: 'retrieved', decision: 'none', since: firstTime })}
        />
        <Figure
          title="Errors"
          value={sum('error')}
          to={recordPath({ decision: 'error', since: firstTime })}
          isBad={sum('error') > 0}
        />
        <Figure
          title="Approvals waiting"
          value={waiting}
          to={recordPath({ event: 'approval_asked', since: firstTime })}
        />
        <Figure
          title="Drift repaired"
          value={drift}
          to={recordPath({ event: 'drift_mended', since: firstTime })}
          isBad={drift > 0}
        />
        <Figure
          title={`Index ${index.state}`}
          value={lag(index.lag_ms)}
          unit="behind"
          isBad={index.state !== 'following' || index.lag_ms > 5_000}
        />
      </dl>
      {busy.length === 0 ? (
        <p role="status">Nothing was asked in this time.</p>
      ) : (
        <>
          <Chart stretches={stretches} seconds={activity.stretch_seconds} />
          <details>
            <summary>As a table</summary>
            <Table
              caption={`Each ${activity.stretch_seconds / 60} minutes in which something was asked, newest first, times in UTC`}
              rows={busy.toReversed()}
              keyOf={({ at: time }) => time}
              columns={[
                { title: 'From', cell: ({ at: time }) => <Time time={time} /> },
                { title: 'Allowed', cell: ({ allowed }) => allowed, isNumber: true },
                { title: 'Denied', cell: ({ denied }) => denied, isNumber: true },
                { title: 'Empty', cell: ({ none: empty }) => empty, isNumber: true },
                { title: 'Errors', cell: ({ error }) => error, isNumber: true },
              ]}
            />
          </details>
        </>
      )}
    </>
  )
}

const lag = (ms: number): string => (ms < 1_000 ? `${Math.round(ms)} ms` : `${(ms / 1_000).toFixed(1)} s`)

function Figure(props: {
  readonly title: string
  readonly value: number | string
  readonly unit?: string
  readonly to?: string
  readonly isBad?: boolean
}) {
  const { title, value, unit, to: linkTo, isBad = false } = props
  const valueText = typeof value === 'number' ? value.toLocaleString('en') : value
  return (
    <div class={isBad ? 'warn' : undefined}>
      <dt>{title}</dt>
      <dd>
        {linkTo === undefined ? valueText : <Link to={linkTo}>{valueText}</Link>}
        {unit !== undefined && <small> {unit}</small>}
      </dd>
    </div>
  )
}
