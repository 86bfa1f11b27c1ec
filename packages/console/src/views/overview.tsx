import 'uplot/dist/uPlot.min.css'
import type { Activity } from '@remit/contract/activity'
import { useEffect, useRef, useState } from 'preact/hooks'
import uPlot from 'uplot'
import { Asked } from '../parts/async-answer.tsx'
import { Heading } from '../parts/heading.tsx'
import { Table } from '../parts/table.tsx'
import { Time } from '../parts/time.tsx'
import { recordPath } from '../paths.ts'
import { go, Link, withQuery } from '../router.tsx'

const periods: Readonly<Record<string, string>> = { '1': 'hour', '24': '24 hours', '168': '7 days' }

/** What happened in the last hours. */
export function Overview({ hours }: { readonly hours: string }) {
  const [turn, setTurn] = useState(0)
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
      <Asked<Activity> key={turn} path={withQuery('/activity', { hours })} subject="what happened lately">
        {(activity) => <Shown activity={activity} />}
      </Asked>
    </>
  )
}

function Shown({ activity }: { readonly activity: Activity }) {
  const { stretches, approvals_waiting: waiting, drift_mended: drift, index } = activity
  const firstTime = stretches[0]?.at ?? ''
  const sum = (outcome: 'allowed' | 'denied' | 'error' | 'none'): number =>
    stretches.reduce((total, stretch) => total + stretch[outcome], 0)
  const sinceThen = (filter: Readonly<Record<string, string>>): string =>
    recordPath({ ...filter, since: firstTime })
  const busy = stretches.filter(
    ({ allowed, denied, error, none: empty }) => allowed + denied + error + empty > 0,
  )
  return (
    <>
      <dl class="figures">
        <Figure title="Allowed" value={sum('allowed')} />
        <Figure title="Denied" value={sum('denied')} to={sinceThen({ decision: 'denied' })} />
        <Figure title="Empty" value={sum('none')} to={sinceThen({ event: 'retrieved', decision: 'none' })} />
        <Figure
          title="Errors"
          value={sum('error')}
          to={sinceThen({ decision: 'error' })}
          isBad={sum('error') > 0}
        />
        <Figure title="Approvals waiting" value={waiting} to={sinceThen({ event: 'approval_asked' })} />
        <Figure
          title="Drift repaired"
          value={drift}
          to={sinceThen({ event: 'drift_mended' })}
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
            <Stretches busy={busy} minutes={activity.stretch_seconds / 60} />
          </details>
        </>
      )}
    </>
  )
}

const Stretches = (props: { readonly busy: Activity['stretches']; readonly minutes: number }) => (
  <Table
    caption={`Each ${props.minutes} minutes in which something was asked, newest first, times in UTC`}
    rows={props.busy.toReversed()}
    keyOf={({ at: time }) => time}
    columns={[
      { title: 'From', cell: ({ at: time }) => <Time time={time} /> },
      { title: 'Allowed', cell: ({ allowed }) => allowed, isNumber: true },
      { title: 'Denied', cell: ({ denied }) => denied, isNumber: true },
      { title: 'Empty', cell: ({ none: empty }) => empty, isNumber: true },
      { title: 'Errors', cell: ({ error }) => error, isNumber: true },
    ]}
  />
)

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

const height = 220

/** What was asked over time, by how it went. A picture: what it says stands in the table below it. */
function Chart(props: { readonly stretches: Activity['stretches']; readonly seconds: number }) {
  const { stretches, seconds } = props
  const ref = useRef<HTMLDivElement>(null)
  useEffect(() => {
    const container = ref.current
    if (container === null) return undefined
    const scheme = matchMedia('(prefers-color-scheme: dark)')
    let plot = draw(container, stretches, seconds)
    const redraw = (): void => {
      plot.destroy()
      plot = draw(container, stretches, seconds)
    }
    const resized = new ResizeObserver(() => plot.setSize({ width: container.clientWidth, height }))
    resized.observe(container)
    scheme.addEventListener('change', redraw)
    return () => {
      resized.disconnect()
      scheme.removeEventListener('change', redraw)
      plot.destroy()
    }
  }, [stretches, seconds])
  return (
    <figure class="chart">
      <figcaption>
        <span class="key good">allowed</span> <span class="key bad">denied</span>{' '}
        <span class="key soft">empty</span> <span class="key warn">errors</span>{' '}
        <span class="soft">each {seconds / 60} minutes, UTC</span>
      </figcaption>
      <div ref={ref} aria-hidden="true" />
    </figure>
  )
}

function draw(container: HTMLElement, stretches: Activity['stretches'], seconds: number): uPlot {
  const colour = coloursOf(container)
  const axis = {
    stroke: colour('--soft'),
    grid: { stroke: colour('--line'), width: 1 },
    ticks: { show: false },
  }
  const series = (label: string, name: string) => ({
    label,
    stroke: colour(name),
    width: 1.5,
    points: { show: false },
    ...(uPlot.paths.stepped !== undefined && { paths: uPlot.paths.stepped({ align: 1 }) }),
  })
  const seriesOf = (name: 'allowed' | 'denied' | 'none' | 'error') =>
    stretches.map((stretch) => stretch[name])
  const times = stretches.map(({ at: time }) => Date.parse(time) / 1_000)
  const endSeconds = (times.at(-1) ?? 0) + seconds
  return new uPlot(
    {
      width: container.clientWidth,
      height,
      cursor: { show: false },
      legend: { show: false },
      tzDate: (timestamp) => uPlot.tzDate(new Date(timestamp * 1_000), 'Etc/UTC'),
      scales: { y: { range: (_, __, max) => [0, Math.max(max, 4)] } },
      axes: [
        { ...axis, size: 28, values: (_, times) => times.map(hourOf) },
        { ...axis, size: 44 },
      ],
      series: [
        {},
        series('allowed', '--accent'),
        series('denied', '--bad'),
        series('empty', '--soft'),
        series('errors', '--warn'),
      ],
    },
    // The last stretch reaches to its end.
    [
      [...times, endSeconds],
      ...(['allowed', 'denied', 'none', 'error'] as const).map((name) => [
        ...seriesOf(name),
        seriesOf(name).at(-1) ?? 0,
      ]),
    ] as uPlot.AlignedData,
    container,
  )
}

/** `14:00`, and the day where one begins. In UTC, like every time here. */
function hourOf(timestamp: number): string {
  const [day = '', time = ''] = new Date(timestamp * 1_000).toISOString().split('T')
  return time.startsWith('00:00') ? day.slice(5) : time.slice(0, 5)
}

/** A canvas knows no variables: what each is now, in dark or light. */
function coloursOf(container: HTMLElement): (name: string) => string {
  const probe = container.appendChild(document.createElement('span'))
  const found = (name: string): string => {
    probe.style.color = `var(${name})`
    return getComputedStyle(probe).color
  }
  const colours = new Map(
    ['--soft', '--line', '--accent', '--bad', '--warn'].map((name) => [name, found(name)]),
  )
  probe.remove()
  return (name) => colours.get(name) ?? 'gray'
}
