import { mkdir, mkdtemp, realpath, rm, writeFile } from 'node:fs/promises'
import { availableParallelism, loadavg, tmpdir } from 'node:os'
import { join } from 'node:path'
import { setTimeout as sleep } from 'node:timers/promises'
import { pathToFileURL } from 'node:url'
import { parseArgs } from 'node:util'
import { administer } from '../../test/support/administer.ts'
import { linkAccounts } from '../../test/support/linked.ts'
import { startOpenFga } from '../../test/support/openfga-server.ts'
import { openPair } from '../../test/support/pair.ts'
import { startPostgres } from '../../test/support/postgres.ts'
import { providerSecret, providerSecretVariable, startProvider } from '../../test/support/provider.ts'
import { quantile } from '../search/statistics.ts'
import { openLoad } from './load.ts'
import { type Done, pace } from './pace.ts'
import { type Line, plotOf } from './plot.ts'
import { type Sample, sample, tableBytes } from './sample.ts'
import { slopeOf } from './slopes.ts'

/**
 * Two processes of the service under a steady mixed load for as long as it is told: what grows, by its slope
 * over the last 45 minutes (or the last 60 % of a shorter run) with its 95 % confidence interval; latencies;
 * and whether anything was given that may not be. Everything is of its own: Postgres (fsync off), OpenFGA,
 * the local model in each process. Writes `<out>/soak.md`, `soak.csv` and three SVGs. Ends with 1 where
 * anything was found, an answer was wrong, or an objective of docs/slo.md was missed.
 *
 *   npm run soak -- --minutes 80
 *
 * Needs `.ci/services`, EMBEDDINGS_MODEL_PATH and Linux.
 */
const { values } = parseArgs({
  options: {
    minutes: { type: 'string', default: '80' },
    out: { type: 'string', default: 'benchmarks/results' },
    /** What was beside it, for the report. */
    note: { type: 'string', default: 'nothing beside it' },
  },
})
const minutes = Number(values.minutes)
const measuredMinutes = Math.min(45, minutes * 0.6)
const sampleMs = Math.min(15_000, (measuredMinutes * 60_000) / 60)
const { EMBEDDINGS_MODEL_PATH } = process.env
if (EMBEDDINGS_MODEL_PATH === undefined) throw new Error('Set EMBEDDINGS_MODEL_PATH.')

await using stack = new AsyncDisposableStack()
const folder = await realpath(await mkdtemp(join(tmpdir(), 'remit-soak-')))
stack.defer(() => rm(folder, { recursive: true, force: true }))
const postgres = stack.use(await startPostgres('max_connections = 200\n'))
await administer(postgres.url, 'create database openfga')
const openfga = stack.use(
  await startOpenFga(
    Object.assign(new URL(postgres.url), { pathname: '/openfga', search: '?sslmode=disable' }).href,
  ),
)
const double = stack.use(await startProvider())
const pair = stack.use(
  await openPair({
    databaseUrl: postgres.url,
    openfga,
    env: {
      EMBEDDINGS_MODEL_PATH,
      VAULT_PROVIDERS: JSON.stringify([double.entry()]),
      [providerSecretVariable]: providerSecret,
      OUTBOUND_ALLOWED_ORIGINS: double.origin,
      SOURCE_ORIGINS: pathToFileURL(folder).href,
      // As `npm start` sets it.
      MALLOC_TRIM_THRESHOLD_: '131072',
    },
  }),
)
const load = await openLoad(pair, { accounts: await linkAccounts(pair, double), folder })
console.log(`${minutes} minutes, ${availableParallelism()} cores; the load begins`)

const beganAt = performance.now()
const endsAt = beganAt + minutes * 60_000
const isOver = (): boolean => performance.now() > endsAt
const minuteOf = (atMs: number): number => (atMs - beganAt) / 60_000
const done: Done[] = []
const wrong = new Map<string, number>()
const samples: { readonly minute: number; readonly values: Sample }[] = []
let tables = new Map<string, number>() as ReadonlyMap<string, number>

await Promise.all([
  pace(load.tasks, isOver, (one, why) => {
    done.push(one)
    if (why !== undefined) wrong.set(`${one.kind}: ${why}`, (wrong.get(`${one.kind}: ${why}`) ?? 0) + 1)
  }),
  watch(),
])
await load.lookAtRecord()
const later = await tableBytes(pair.database)
await report()

async function watch(): Promise<void> {
  let saidAt = beganAt
  while (!isOver()) {
    const now = performance.now()
    samples.push({
      minute: minuteOf(now),
      values: { ...(await sample(pair, openfga.pid)), 'load of the machine': loadavg()[0] ?? Number.NaN },
    })
    if (tables.size === 0 && minuteOf(now) >= minutes - measuredMinutes)
      tables = await tableBytes(pair.database)
    if (now >= saidAt + 60_000) {
      saidAt = now
      await load.lookAtRecord()
      const lately = done.filter(({ atMs }) => atMs > now - 60_000)
      console.log(
        `${minuteOf(now).toFixed(0).padStart(4)} min  ${lately.length} answers, ${lately.filter(({ outcome }) => outcome !== 'done').length} refused or wrong, p50 ${quantile(
          lately.map(({ tookMs }) => tookMs),
          0.5,
        ).toFixed(
          0,
        )} ms, ${['first', 'second'].map((name) => samples.at(-1)?.values[`${name}: resident MB`]?.toFixed(0)).join(' and ')} MB, load ${loadavg()[0]?.toFixed(1)}, findings ${[...load.findings.keys()].join('; ') || 'none'}`,
      )
    }
    await sleep(Math.max(0, Math.min(now + sampleMs, endsAt) - performance.now()))
  }
}

async function report(): Promise<void> {
  const from = minutes - measuredMinutes
  const kinds = [...new Set(done.map(({ kind }) => kind))]
  const of = (kind: string, outcome: Done['outcome']): Done[] =>
    done.filter((one) => one.kind === kind && one.outcome === outcome)
  const ms = (value: number): string => (Number.isNaN(value) ? '' : String(Math.round(value)))
  const latencies = kinds.map((kind) => {
    const took = of(kind, 'done').map(({ tookMs }) => tookMs)
    const [p50, p95, p99] = [0.5, 0.95, 0.99].map((share) => ms(quantile(took, share)))
    return `| ${kind} | ${took.length} | ${of(kind, 'refused').length} | ${of(kind, 'wrong').length} | ${p50} | ${p95} | ${p99} | ${ms(Math.max(...took))} |`
  })
  const names = Object.keys(samples.at(-1)?.values ?? {})
  const seen = (name: string): [number, number][] =>
    samples.map(({ minute, values: at }): [number, number] => [minute, at[name] ?? Number.NaN])
  const slopes = names.map((name) => {
    const own = seen(name).filter(([minute, value]) => minute >= from && Number.isFinite(value))
    // Nothing else of a long run is lost by what could hardly be seen.
    if (own.length < samples.length / 4) return `| ${name} | | | not seen |`
    const { perHour, plusMinus, first, last } = slopeOf(own.map(([minute, value]) => [minute / 60, value]))
    const n = (value: number): string => String(Number(value.toPrecision(3)))
    return `| ${name} | ${n(first)} | ${n(last)} | ${n(perHour)} ± ${n(plusMinus)} |`
  })
  const grown = [...later]
    .map(([name, bytes]): [string, number] => [name, bytes - (tables.get(name) ?? 0)])
    .sort(([, one], [, other]) => other - one)
    .slice(0, 8)
    .map(([name, bytes]) => `\`${name}\` ${(bytes / 2 ** 20).toFixed(1)}`)
  const objectives = objectivesOf()
  const text = [
    `# ${minutes} minutes of mixed load`,
    `\`npm run soak -- --minutes ${minutes}\`, ${new Date().toISOString().slice(0, 10)}, ${availableParallelism()} cores for everything, ${values.note}: two processes with the local model each, Postgres, OpenFGA and the load. ${done.length} requests, ${load.passages()} passages given; refused ${done.filter(({ outcome }) => outcome === 'refused').length}, wrong ${done.filter(({ outcome }) => outcome === 'wrong').length}, findings ${load.findings.size}.`,
    '## Objectives',
    'Those of [slo.md](../../docs/slo.md), over the whole run.',
    ['| objective | target | seen |', '|---|---|---|', ...objectives.map(({ row }) => row)].join('\n'),
    '## Latency',
    'Milliseconds from when a request was due. An approval is asked for, decided and waited for; a source’s file is changed and then found. A withdrawn document is published again 4 s later, and a revoked token looked at after 1 s: both are in the figure.',
    [
      '| what | answers | refused | wrong | p50 | p95 | p99 | longest |',
      '|---|---|---|---|---|---|---|---|',
      ...latencies,
    ].join('\n'),
    '## What grows',
    `Over the last ${Math.round(measuredMinutes)} minutes: the means of the first and the last of fifteen batches, and the slope over all of them with its 95 % confidence interval.`,
    ['| what | first | last | for each hour |', '|---|---|---|---|', ...slopes].join('\n'),
    `Tables that grew most in that time, in MB: ${grown.join(', ')}.`,
    ...['latency', 'memory', 'lag'].map((name) => `![${name}](soak-${name}.svg)`),
  ]
  await mkdir(values.out, { recursive: true })
  const write = (name: string, content: string) => writeFile(join(values.out, name), content)
  await write('soak.md', `${text.join('\n\n')}\n`)
  await write(
    'soak.csv',
    `${[
      ['minute', ...names].join(','),
      ...samples.map(({ minute, values: at }) =>
        [minute.toFixed(2), ...names.map((name) => Number((at[name] ?? Number.NaN).toPrecision(6)))].join(
          ',',
        ),
      ),
    ].join('\n')}\n`,
  )
  const perMinute = (kind: string): Line => ({
    name: `${kind}, p95`,
    points: Array.from({ length: Math.floor(minutes) }, (_, minute): [number, number] => [
      minute + 0.5,
      quantile(
        of(kind, 'done')
          .filter(({ atMs }) => Math.floor(minuteOf(atMs)) === minute)
          .map(({ tookMs }) => tookMs),
        0.95,
      ),
    ]),
  })
  const lines = (...wanted: readonly string[]): Line[] => wanted.map((name) => ({ name, points: seen(name) }))
  await write(
    'soak-latency.svg',
    plotOf(
      'Latency in ms, p95 of each minute',
      ['person', 'agent', 'MCP', 'read', 'publish', 're-tag'].map(perMinute),
    ),
  )
  await write(
    'soak-memory.svg',
    plotOf('Resident megabytes', lines('first: resident MB', 'second: resident MB', 'OpenFGA: resident MB')),
  )
  await write(
    'soak-lag.svg',
    plotOf(
      'Seconds behind',
      lines('first: index lag s', 'second: index lag s', 'oldest waiting s', 'oldest unsealed record s'),
    ),
  )
  console.log(text.join('\n\n'))
  for (const [what, times] of [...load.findings, ...wrong]) console.log(`MISSED: ${what} × ${times}`)
  if (load.findings.size > 0 || wrong.size > 0 || objectives.some(({ isMet }) => !isMet)) process.exitCode = 1
}

/** The objectives that the load can see; the others are the rules' own. */
function objectivesOf(): { readonly row: string; readonly isMet: boolean }[] {
  const good = (all: readonly boolean[]): number => all.filter(Boolean).length / all.length
  const within = (ofKinds: readonly string[], limitMs: number): number =>
    good(
      done
        .filter(({ kind, outcome }) => ofKinds.includes(kind) && outcome === 'done')
        .map(({ tookMs }) => tookMs <= limitMs),
    )
  const minutely = (name: string, limit: number): number =>
    good(samples.map(({ values: at }) => (at[name] ?? Number.NaN) <= limit))
  const rows: readonly (readonly [string, number, number])[] = [
    ['availability', 0.999, good(done.map(({ outcome }) => outcome === 'done'))],
    ['latency_retrieve', 0.99, within(['person', 'agent'], 1_000)],
    ['latency_document', 0.99, within(['read'], 500)],
    ['latency_mcp', 0.99, within(['MCP'], 2_500)],
    ['ingest', 0.99, minutely('oldest waiting s', 300)],
    ['record', 0.999, minutely('oldest unsealed record s', 60)],
  ]
  return rows.map(([name, target, seen]) => ({
    row: `| \`${name}\` | ${(100 * target).toFixed(1)} % | ${(100 * seen).toFixed(2)} % |`,
    isMet: seen >= target,
  }))
}
