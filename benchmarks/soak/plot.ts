const colours = ['#0a7d4f', '#1f5fbf', '#c0392b', '#e67e22', '#8e44ad', '#795548', '#546e7a', '#111111']
const [width, height, left, top, right, bottom] = [860, 360, 60, 40, 200, 40]

export interface Line {
  readonly name: string
  readonly points: readonly (readonly [minutes: number, value: number])[]
}

/** Lines over minutes, from 0 up, as an SVG. Points without a value are left out. */
export function plotOf(title: string, lines: readonly Line[]): string {
  const known = lines.map(({ name, points }) => ({
    name,
    points: points.filter(([, value]) => Number.isFinite(value)),
  }))
  const all = known.flatMap(({ points }) => points)
  const to = Math.max(1, ...all.map(([at]) => at))
  const step = nice(Math.max(1e-9, ...all.map(([, value]) => value)) / 5)
  const high = step * Math.ceil(Math.max(1e-9, ...all.map(([, value]) => value)) / step)
  const x = (at: number): string => (left + (at / to) * (width - left - right)).toFixed(1)
  const y = (value: number): string => (height - bottom - (value / high) * (height - top - bottom)).toFixed(1)
  const ticks = (end: number, by: number): number[] =>
    Array.from({ length: Math.floor(end / by + 1e-9) + 1 }, (_, index) => index * by)
  return `<svg xmlns="http://www.w3.org/2000/svg" viewBox="0 0 ${width} ${height}" font-family="sans-serif" font-size="12">
<rect width="${width}" height="${height}" fill="white"/>
<text x="${left}" y="20">${title}</text>
${ticks(high, step)
  .map(
    (value) =>
      `<line x1="${left}" x2="${width - right}" y1="${y(value)}" y2="${y(value)}" stroke="#eee"/><text x="${left - 8}" y="${y(value)}" text-anchor="end">${Number(value.toPrecision(3))}</text>`,
  )
  .join('\n')}
${ticks(to, 10)
  .map((at) => `<text x="${x(at)}" y="${height - 16}" text-anchor="middle">${at} min</text>`)
  .join('\n')}
${known
  .map(({ name, points }, index) => {
    const colour = colours[index % colours.length]
    const path = points.map(([at, value]) => `${x(at)},${y(value)}`).join(' ')
    const row = top + 20 * index
    return `<polyline points="${path}" fill="none" stroke="${colour}" stroke-width="1.5"/>
<rect x="${width - right + 16}" y="${row}" width="12" height="12" fill="${colour}"/>
<text x="${width - right + 34}" y="${row + 11}">${name}</text>`
  })
  .join('\n')}
</svg>
`
}

/** The next of 1, 2, 5, 10, … that is no smaller. */
function nice(value: number): number {
  const power = 10 ** Math.floor(Math.log10(value))
  return ([1, 2, 5].find((one) => one * power >= value) ?? 10) * power
}
