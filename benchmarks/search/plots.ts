import type { Measured } from './measure.ts'

const colours = [
  '#888888',
  '#bbbbbb',
  '#0a7d4f',
  '#1f5fbf',
  '#7fb3ff',
  '#c0392b',
  '#e67e22',
  '#8e44ad',
  '#795548',
  '#546e7a',
  '#d4ac0d',
  '#16a085',
  '#ff6f91',
  '#2c3e50',
  '#00bcd4',
  '#9ccc65',
  '#b71c1c',
]
const [width, height, left, top, right, bottom] = [860, 420, 60, 40, 240, 50]

/**
 * For each kind of question a drawing of p50 over what is visible, both in powers of ten; small points:
 * recall under 0.99.
 */
export function plotsOf(measured: readonly Measured[]): readonly (readonly [string, string])[] {
  const topics = [...new Set(measured.map(({ topic }) => topic))]
  return topics.map((topic) => [
    topic,
    plotOf(
      topic,
      measured.filter((row) => row.topic === topic && row.filter === 1),
    ),
  ])
}

function plotOf(topic: string, rows: readonly Measured[]): string {
  const [policy] = rows.map((row) => row.policy)
  const shown = rows.filter((row) => row.policy === policy && row.p50 > 0)
  const ways = [...new Set(shown.map(({ way }) => way))]
  const ends = (values: readonly number[]): readonly [number, number] => [
    Math.floor(Math.log10(Math.min(...values))),
    Math.max(Math.ceil(Math.log10(Math.max(...values))), Math.floor(Math.log10(Math.min(...values))) + 1),
  ]
  const [from, to] = ends(shown.map(({ level }) => level))
  const [low, high] = ends(shown.map(({ p50 }) => p50))
  const x = (level: number): number =>
    left + ((Math.log10(level) - from) / (to - from)) * (width - left - right)
  const y = (ms: number): number =>
    height - bottom - ((Math.log10(ms) - low) / (high - low)) * (height - top - bottom)
  const powers = (one: number, other: number): number[] =>
    Array.from({ length: other - one + 1 }, (_, at) => 10 ** (one + at))
  const text = (at: readonly [number, number], words: string, anchor = 'middle'): string =>
    `<text x="${at[0].toFixed(0)}" y="${at[1].toFixed(0)}" text-anchor="${anchor}">${words}</text>`
  const lines = ways.map((way, index) => {
    const colour = colours[index % colours.length]
    const points = shown.filter((row) => row.way === way).toSorted((a, b) => a.level - b.level)
    const path = points.map(({ level, p50 }) => `${x(level).toFixed(1)},${y(p50).toFixed(1)}`).join(' ')
    return [
      `<polyline points="${path}" fill="none" stroke="${colour}" stroke-width="2"/>`,
      ...points.map(
        ({ level, p50, recall }) =>
          `<circle cx="${x(level).toFixed(1)}" cy="${y(p50).toFixed(1)}" r="${recall >= 0.99 ? 4 : 1.5}" fill="${colour}"/>`,
      ),
      `<rect x="${width - right + 16}" y="${top + 20 * index}" width="12" height="12" fill="${colour}"/>`,
      text([width - right + 34, top + 11 + 20 * index], escape(way), 'start'),
    ].join('\n')
  })
  return `<svg xmlns="http://www.w3.org/2000/svg" viewBox="0 0 ${width} ${height}" font-family="sans-serif" font-size="12">
<rect width="${width}" height="${height}" fill="white"/>
${text([left, 20], escape(`p50 in ms over the share that is visible, ${policy}, ${topic} of the topic; small points: recall@10 under 0.99`), 'start')}
${powers(from, to)
  .map(
    (level) =>
      `<line x1="${x(level)}" x2="${x(level)}" y1="${top}" y2="${height - bottom}" stroke="#eee"/>${text([x(level), height - bottom + 18], `${Number((100 * level).toPrecision(1))} %`)}`,
  )
  .join('\n')}
${powers(low, high)
  .map(
    (ms) =>
      `<line x1="${left}" x2="${width - right}" y1="${y(ms)}" y2="${y(ms)}" stroke="#eee"/>${text([left - 8, y(ms) + 4], String(Number(ms.toPrecision(1))), 'end')}`,
  )
  .join('\n')}
${lines.join('\n')}
</svg>
`
}

const escape = (words: string): string => words.replaceAll('&', '&amp;').replaceAll('<', '&lt;')
