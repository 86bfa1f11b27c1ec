import { mkdir, writeFile } from 'node:fs/promises'
import { join } from 'node:path'
import type { Benched } from './bench.ts'
import { besideOf } from './beside.ts'
import type { Figure } from './figures.ts'
import type { Measured } from './measure.ts'
import { plotsOf } from './plots.ts'

export interface Run extends Benched {
  readonly about: {
    readonly day: string
    readonly servers: string
    readonly machine: string
    readonly load: string
    readonly command: string
    readonly corpus: string
    readonly passages: number
    readonly documents: number
    readonly seed: number
    readonly questions: number
    readonly seconds: number
  }
  readonly figures: readonly Figure[]
}

/** Writes `NAME.json`, `.csv`, `.md` and a drawing for each kind of question. Gives the files' paths. */
export async function writeReport(run: Run, folder: string, name: string): Promise<readonly string[]> {
  await mkdir(folder, { recursive: true })
  const files: [string, string][] = [
    [`${name}.json`, `${JSON.stringify(run, roundOff, 1)}\n`],
    [`${name}.csv`, csvOf(run.measured)],
    [`${name}.md`, markdownOf(run)],
    ...plotsOf(run.measured).map(([topic, svg]): [string, string] => [`${name}-${topic}.svg`, svg]),
  ]
  for (const [file, text] of files) await writeFile(join(folder, file), text)
  return files.map(([file]) => join(folder, file))
}

/** A figure has four digits that mean something at best. */
const roundOff = (_: string, value: unknown): unknown =>
  typeof value === 'number' && !Number.isInteger(value) ? Number(value.toPrecision(5)) : value

const columns = [
  'policy',
  'topic',
  'level',
  'filter',
  'share',
  'near',
  'way',
  'asked',
  'p10',
  'p50',
  'p95',
  'p99',
  'processor',
  'recall',
  'short',
  'owned',
  'released',
  'leaks',
  'checksEach',
  'partsEach',
] as const satisfies readonly Exclude<keyof Measured, 'steps' | 'times' | 'recallInterval'>[]

const csvOf = (rows: readonly Measured[]): string =>
  `${[...columns, 'recallFrom', 'recallTo'].join(',')}\n${rows
    .map((row) =>
      [...columns.map((column) => row[column]), ...row.recallInterval]
        .map((value) => (typeof value === 'string' ? JSON.stringify(value) : String(roundOff('', value))))
        .join(','),
    )
    .join('\n')}\n`

function markdownOf(run: Run): string {
  const { about, figures, measured, worlds, leftOut, ef99, extras, service } = run
  const ways = [...new Set(measured.map(({ way }) => way))]
  const cells = Map.groupBy(
    measured,
    ({ policy, topic, level, filter }) => `${policy} ${topic} ${level} ${filter}`,
  )
  const table = (rows: readonly (readonly string[])[]): string =>
    rows.map((row) => `| ${row.join(' | ')} |`).join('\n')
  const parts = [
    `# Authorized search, ${about.passages} passages (${about.corpus})`,
    `${about.servers}, ${about.machine}, ${about.load}, ${about.day}; ${about.seconds.toFixed(0)} s; \`${about.command}\`.`,
    `${about.documents} documents, ${about.questions} questions a cell, seed ${about.seed}; raw99 is \`ef_search\` ${ef99}. Times beside other work: only the ratios mean something.`,
    worlds.map(({ policy, layout, tuples }) => `${policy} (${layout}): ${tuples} tuples`).join(' · '),
    ...(leftOut.length > 0 ? [`Left out: ${leftOut.join('; ')}.`] : []),
    '## What it is held to',
    table([
      ['figure', 'seen', 'at least', 'aim', ''],
      ['---', '---', '---', '---', '---'],
      ...figures.map(({ name, seen, least, aim, verdict }) => [
        name,
        seen,
        least,
        aim,
        verdict === 'missed' ? '**missed**' : verdict,
      ]),
    ]),
    ...(extras === undefined
      ? []
      : [
          `${extras.throughput.map(({ way, rate, clients }) => `${way}, ${clients} clients: ${rate.toFixed(0)}/s`).join(' · ')}. While access came and went ${extras.churn.grants} times: ${extras.churn.released} passages released, ${extras.churn.leaks} later than ${extras.churn.boundMs} ms after a removal.`,
        ]),
    ...(service === undefined
      ? []
      : [
          `Over HTTP: /retrieve ${service.retrieve.p50.toFixed(1)} ms and ${service.retrieveRate.toFixed(0)}/s; an authenticated route that does nothing ${service.emptyP50.toFixed(1)}, the raw search ${service.rawP50.toFixed(1)}, a row ${service.insertP50.toFixed(1)}, the three ${service.least.p50.toFixed(1)} ms and ${service.leastRate.toFixed(0)}/s.`,
        ]),
    '## Way by way, all cells together',
    'Each time beside raw40’s in the same cell: the middle cell and the worst one. Fewer: answers with fewer than ten, or than may be read; then, of these, how many said so. Given, taken: until an answer has a document that its person was just given, or lacks one that was just taken away, in the middle and at most; nobody else asks.',
    table(besideOf(run)),
    Object.entries(run.said)
      .map(([way, is]) => `- ${way}: ${is}.`)
      .join('\n'),
    '## Where the time goes: p50 of each part in ms',
    table([
      ['who may read what', 'way', 'parts'],
      ['---', '---', '---'],
      ...measured
        .filter(({ steps, filter }) => filter === 1 && 'gate' in steps)
        .map((row) => [
          `${row.policy}, ${row.topic}, ${100 * row.level} %`,
          row.way,
          Object.entries(row.steps)
            .map(([name, ms]) => `${name} ${ms.toPrecision(2)}`)
            .join(', '),
        ]),
    ]),
    '## p50 in ms (of raw40’s) / recall@10',
    table([
      ['who may read what', ...ways],
      ['---', ...ways.map(() => '---')],
      ...[...cells.values()].map((rows) => {
        const [first] = rows
        const raw = rows.find(({ way }) => way === 'raw40')?.p50 ?? Number.NaN
        const name = `${first?.policy}, ${first?.topic}, ${100 * (first?.level ?? 0)} %${first?.filter === 1 ? '' : `, one of ${first?.filter}`}`
        return [
          name,
          ...ways.map((way) => {
            const row = rows.find((one) => one.way === way)
            return row === undefined
              ? ''
              : `${row.p50.toPrecision(3)} (${(row.p50 / raw).toFixed(1)}) / ${row.recall.toFixed(3)}${row.leaks > 0 ? ` **${row.leaks} leaks**` : ''}`
          }),
        ]
      }),
    ]),
  ]
  return `${parts.join('\n\n')}\n`
}
