import { useEffect, useRef } from 'preact/hooks'
import uPlot from 'uplot'
import 'uplot/dist/uPlot.min.css'
import type { Activity } from '@remit/contract/activity'

const height = 220

/** What was asked over time, by how it went. A picture: what it says stands in the table below it. */
export function Chart(props: { readonly stretches: Activity['stretches']; readonly seconds: number }) {
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
