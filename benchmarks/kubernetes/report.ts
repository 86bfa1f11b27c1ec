import type { Asked } from './ask.ts'
import type { Loaded } from './load.ts'

export interface Report extends Loaded {
  readonly backend: string
  readonly chunks: number
  readonly people: number
  readonly asked: Asked
  /** Of people whose truth was compared with the data set's own digests. */
  readonly verified: number
  readonly peakMegabytes: number
}

const recallLeast = 0.99

/** What was promised and not kept; empty where all was. */
export function missesOf({ asked }: Report): string[] {
  return [
    ...(asked.leaks.length > 0 ? [`leaks: ${[...new Set(asked.leaks)].join(', ')}`] : []),
    ...(asked.recall < recallLeast ? [`recall@10 is under ${recallLeast}`] : []),
    ...(asked.short > 0 ? [`${asked.short} answers were not complete`] : []),
  ]
}

/** The report as lines of `name value`. */
export function tableOf(report: Report): string {
  const { asked, documents, chunks, importSeconds } = report
  const rows: readonly (readonly [string, string])[] = [
    ['backend', report.backend],
    ['documents', String(documents)],
    ['chunks', String(chunks)],
    ['tuples', `${report.tuples} (groups and folders in ${report.tuplesSeconds.toFixed(1)} s)`],
    ['import', `${importSeconds.toFixed(1)} s`],
    ['documents/s', (documents / importSeconds).toFixed(2)],
    ['chunks/s', (chunks / importSeconds).toFixed(1)],
    ['peak memory', `${report.peakMegabytes.toFixed(0)} MB`],
    ['people', `${report.people} (truth of ${report.verified} equal to the data set's digests)`],
    [
      'questions',
      `${asked.questions}, each by vectors and hybrid; ${asked.asAgent} by the agent for the person`,
    ],
    ['vector p50 / p95', milliseconds(asked.milliseconds.vector)],
    ['hybrid p50 / p95', milliseconds(asked.milliseconds.hybrid)],
    ['leaks', String(asked.leaks.length)],
    ['incomplete answers', String(asked.short)],
    ['recall@10 (vector)', asked.recall.toFixed(4)],
  ]
  return rows.map(([name, value]) => `${name.padEnd(20)}${value}`).join('\n')
}

const milliseconds = (all: readonly number[]): string => `${quantile(all, 0.5)} / ${quantile(all, 0.95)} ms`

function quantile(all: readonly number[], share: number): string {
  const sorted = [...all].sort((a, b) => a - b)
  return (sorted[Math.min(sorted.length - 1, Math.floor(sorted.length * share))] ?? 0).toFixed(0)
}
