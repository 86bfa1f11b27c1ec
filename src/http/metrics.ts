import type { MiddlewareHandler } from 'hono'
import { Counter, collectDefaultMetrics, Gauge, Histogram, Registry } from 'prom-client'
import type { Unsealed } from '../audit/seal/lag.ts'
import type { Verified } from '../audit/seal/verified.ts'
import type { IndexStatus } from '../authz/permission-index.ts'
import type { LastBackup } from '../backup/last.ts'
import type { DirectoryTotals } from '../directory/reading/totals.ts'
import type { Stock } from '../ingest/stock.ts'
import { isWithin } from '../kernel/occasional.ts'
import { version } from '../kernel/version.ts'
import { withTimeout } from '../kernel/with-timeout.ts'
import type { OnStrategy } from '../retrieval/chunk-index/postgres/strategy.ts'
import type { OnAnswer } from '../retrieval/question.ts'
import type { ShadowEvent } from '../retrieval/shadow.ts'
import type { TurnsStatus } from '../retrieval/turns.ts'
import type { SourceTotals } from '../sources/rows.ts'
import type { AppEnv } from './env.ts'
import { routeOf } from './middleware/trace.ts'

/** Counters and timings of the requests. */
export interface Metrics {
  readonly registry: Registry
  /**
   * Counts every answer by route pattern, method and status. No label names a person, agent, document or
   * query.
   */
  readonly observe: MiddlewareHandler<AppEnv>
}

/** Empty metrics. A request takes as long as the clock says that nobody can set. */
export function createMetrics(): Metrics {
  const registry = new Registry()
  collectDefaultMetrics({ register: registry })
  new Gauge({
    name: 'remit_build_info',
    help: 'Always 1; its label is the version of this process.',
    labelNames: ['version'],
    registers: [registry],
  }).set({ version }, 1)
  const answers = new Counter({
    name: 'remit_http_answers_total',
    help: 'Answers by route, method and status.',
    labelNames: ['route', 'method', 'status'],
    registers: [registry],
  })
  const seconds = new Histogram({
    name: 'remit_http_seconds',
    help: 'Seconds from request to answer by route and method.',
    labelNames: ['route', 'method'],
    buckets: [0.005, 0.01, 0.025, 0.05, 0.1, 0.25, 0.5, 1, 2.5, 5, 10],
    registers: [registry],
  })
  return {
    registry,
    async observe(c, next) {
      const started = performance.now()
      await next()
      // The pattern, never the path: a path holds document ids.
      const route = routeOf(c) ?? 'none'
      answers.inc({ route, method: c.req.method, status: c.res.status })
      seconds.observe({ route, method: c.req.method }, (performance.now() - started) / 1_000)
    },
  }
}

/** What operators see of the permission index. */
export const indexDetails = ({ state, lagMs, tuples }: IndexStatus) => ({ state, lag_ms: lagMs, tuples })

/** The permission index as gauges, read when they are asked for. */
export function observeIndex(registry: Registry, status: () => IndexStatus): void {
  const lag = 'Seconds since the change log was last read to its end.'
  const following = '1 while the replica follows OpenFGA; 0 while it builds or is broken.'
  observeGauge(registry, 'remit_index_lag_seconds', lag, () => status().lagMs / 1_000)
  observeGauge(registry, 'remit_index_tuples', 'Tuples in the replica.', () => status().tuples)
  observeGauge(registry, 'remit_index_following', following, () => (status().state === 'following' ? 1 : 0))
}

/** A gauge that is read when it is asked for. */
function observeGauge(registry: Registry, name: string, help: string, read: () => number | Promise<number>) {
  new Gauge({
    name,
    help,
    registers: [registry],
    async collect() {
      this.set(await read())
    },
  })
}

/** Makes a counter, at 0 until the first call adds to it. */
function counterOf(registry: Registry, name: string, help: string): (count: number) => void {
  const counter = new Counter({ name, help, registers: [registry] })
  return (count) => counter.inc(count)
}

/** Name, help, value. */
type Told<T> = readonly [name: string, help: string, value: (read: T) => number]

/**
 * How much of the record no seal holds yet, read when it is asked for; both are NaN where the database does
 * not say.
 */
export const observeRecord = (registry: Registry, unsealed: () => Promise<Unsealed | undefined>): void =>
  observeStored(registry, unsealed, [
    ['remit_record_unsealed', 'Records that are not sealed yet; counted to 100,000.', ({ rows }) => rows],
    [
      'remit_record_unsealed_seconds',
      'Age of the oldest record that is not sealed yet.',
      ({ seconds }) => seconds,
    ],
  ])

/** When the record was last looked at as a whole. Both NaN where the database does not say so in time. */
export const observeVerified = (registry: Registry, read: () => Promise<Verified>): void =>
  observeStored(registry, () => withTimeout(countingMsMax, read(), undefined), [
    [
      'remit_record_verified_timestamp_seconds',
      'When remit audit verify last found nothing wrong; 0: never.',
      ({ whole }) => whole,
    ],
    [
      'remit_record_not_whole_timestamp_seconds',
      'When remit audit verify last found that the record is not whole; 0: never.',
      ({ wrong }) => wrong,
    ],
  ])

const stockMsMax = 60_000
const countingMsMax = 2_000

/**
 * What is stored and what waits, counted at most once a minute and never twice at a time; all NaN where the
 * database does not say so within two seconds.
 */
export function observeStock(
  registry: Registry,
  stock: () => Promise<Stock | undefined>,
  now: () => number,
): void {
  let lastStock: { readonly stock: Stock; readonly at: number } | undefined
  let counting: Promise<Stock | undefined> | undefined
  const count = async (): Promise<Stock | undefined> => {
    try {
      const found = await stock()
      lastStock = found && { stock: found, at: now() }
      return found
    } finally {
      counting = undefined
    }
  }
  const read = async (): Promise<Stock | undefined> => {
    if (lastStock !== undefined && isWithin(stockMsMax, now() - lastStock.at)) return lastStock.stock
    // One that is late is not begun anew: a busy database would get one more at each look.
    counting ??= count()
    return withTimeout(countingMsMax, counting, undefined)
  }
  observeStored(registry, read, [
    ['remit_ingest_waiting', 'Documents accepted and not done yet.', ({ waiting }) => waiting],
    [
      'remit_ingest_waiting_seconds',
      'Age of the oldest document that was sent by itself and is not done; 0 where there is none.',
      ({ waitingSeconds }) => waitingSeconds,
    ],
    ['remit_ingest_failed', 'Documents that were not taken in, in 30 days.', ({ failed }) => failed],
    [
      'remit_unreconciled_seconds',
      'How long the oldest object waits whose access OpenFGA may not have as it shall be; 0 where there is none.',
      ({ unreconciledSeconds }) => unreconciledSeconds,
    ],
    ['remit_documents', 'Documents that can be found.', ({ documents }) => documents],
    ['remit_passages', 'Passages that can be found.', ({ passages }) => passages],
    ['remit_database_bytes', 'Size of the database.', ({ databaseBytes }) => databaseBytes],
  ])
}

/** All sources together: no label says which. All NaN where the database does not say so in time. */
export const observeSources = (registry: Registry, totals: () => Promise<SourceTotals | undefined>): void =>
  observeStored(registry, () => withTimeout(countingMsMax, totals(), undefined), [
    ['remit_sources', 'Sources that are read, or paused.', ({ sources }) => sources],
    ['remit_sources_stale', 'Those of which nobody confirmed permissions lately.', ({ stale }) => stale],
    ['remit_sources_failing', 'Those whose last reading failed.', ({ failing }) => failing],
    ['remit_sources_age_seconds', 'Since permissions were confirmed, of the oldest.', ({ age }) => age],
    ['remit_source_items', 'Items that sources brought.', ({ items }) => items],
    ['remit_source_items_hidden', 'Those that nobody may read.', ({ hidden }) => hidden],
    [
      'remit_source_items_missing',
      'Those that their source does not have any more.',
      ({ missing }) => missing,
    ],
  ])

/** All directories together that the service reads. All NaN where the database does not say so in time. */
export const observeDirectories = (
  registry: Registry,
  totals: () => Promise<DirectoryTotals | undefined>,
): void =>
  observeStored(registry, () => withTimeout(countingMsMax, totals(), undefined), [
    ['remit_directories_read', 'Directories that are read.', ({ directories }) => directories],
    ['remit_directories_stale', 'Those whose memberships are too old to count.', ({ stale }) => stale],
    ['remit_directories_failing', 'Those whose last reading failed.', ({ failing }) => failing],
    ['remit_directories_age_seconds', 'Since a reading was complete, of the oldest.', ({ age }) => age],
    [
      'remit_directory_waiting',
      'People and blocks that would end, and people who would come back, by a word.',
      ({ waiting }) => waiting,
    ],
  ])

/** Whether database and OpenFGA are whole, or one is an older copy: 0 until `remit recover` has run. */
export function observeWhole(
  registry: Registry,
  isWhole: () => { readonly database: boolean; readonly openfga: boolean },
): void {
  const help = '0: seen to be an older copy, and nobody is answered until remit recover has run.'
  for (const store of ['database', 'openfga'] as const)
    observeGauge(registry, `remit_${store}_whole`, help, () => (isWhole()[store] ? 1 : 0))
}

/** How old and how large the last backup is. All NaN where the database does not say so in time. */
export const observeBackup = (registry: Registry, read: () => Promise<LastBackup | undefined>): void =>
  observeStored(registry, () => withTimeout(countingMsMax, read(), undefined), [
    [
      'remit_last_backup_timestamp_seconds',
      'What the last backup that ended well holds is as it was then; 0: there never was one.',
      ({ takenAt }) => (takenAt ?? 0) / 1_000,
    ],
    ['remit_last_backup_bytes', 'Its size.', ({ bytes }) => bytes ?? 0],
    [
      'remit_last_backup_failure_timestamp_seconds',
      'When a backup last failed; 0: never.',
      ({ failedAt }) => (failedAt ?? 0) / 1_000,
    ],
  ])

/** Gauges that come from one look, for which all of them wait. */
function observeStored<T>(
  registry: Registry,
  read: () => Promise<T | undefined>,
  metrics: readonly Told<T>[],
): void {
  let reading: Promise<T | undefined> | undefined
  const together = (): Promise<T | undefined> => {
    reading ??= read()
      .catch(() => undefined)
      .finally(() => {
        reading = undefined
      })
    return reading
  }
  for (const [name, help, value] of metrics)
    observeGauge(registry, name, help, async () => {
      const found = await together()
      return found === undefined ? Number.NaN : value(found)
    })
}

/** Whether this process hears of changes of who may act; where it does not, it answers nobody. */
export function observeHeard(registry: Registry, isHeard: () => boolean): void {
  const help = '1 while changes of who may act are heard; 0: this process answers nobody.'
  observeGauge(registry, 'remit_changes_heard', help, () => (isHeard() ? 1 : 0))
}

/** Of a process whose questions, documents and lists take turns: who runs and waits, and was refused. */
export function observeTurns(registry: Registry, status: () => TurnsStatus): void {
  const told: readonly Told<TurnsStatus>[] = [
    ['remit_turns_running', 'Questions, documents and lists under way.', ({ running }) => running],
    ['remit_turns_waiting', 'Those that wait for their turn.', ({ waiting }) => waiting],
    ['remit_turns_at_once', 'How many may be under way at once.', ({ atOnce }) => atOnce],
  ]
  for (const [name, help, value] of told) observeGauge(registry, name, help, () => value(status()))
  new Counter({
    name: 'remit_turns_refused_total',
    help: 'Those that were refused in their line: too late, or whoever asked had gone.',
    registers: [registry],
    collect() {
      this.reset()
      this.inc(status().refused)
    },
  })
}

/** Takes the seconds from a change of who may act to its effect in this process. */
export function observeChanges(registry: Registry): (seconds: number) => void {
  const effect = new Histogram({
    name: 'remit_revocation_seconds',
    help: 'Seconds from a change of who may act, such as a revocation, to its effect in this process.',
    buckets: [0.05, 0.1, 0.25, 0.5, 1, 2.5, 5, 10, 30],
    registers: [registry],
  })
  return (seconds) => effect.observe(seconds)
}

/**
 * Counts the passages that the embedding model was asked for, tried again or not. A process counts its own.
 */
export function observeEmbedding(registry: Registry): (passages: number) => void {
  const help = 'Passages that the embedding model was asked for; a document that comes unchanged adds none.'
  return counterOf(registry, 'remit_passages_embedded_total', help)
}

/** Counts documents that waited and came to an end. A process counts its own. */
export function observeEnded(registry: Registry): (documents: number) => void {
  const help =
    'Documents that waited and were published, refused for their content, or overtaken by newer ones.'
  return counterOf(registry, 'remit_ingest_ended_total', help)
}

/** Counts what a comparison with OpenFGA mended, but for changes of ours. A process counts its own. */
export function observeDrift(registry: Registry): (objects: number) => void {
  const help =
    'Objects whose access in OpenFGA was not what it shall be, and no change was under way: a comparison mended them.'
  return counterOf(registry, 'remit_drift_mended_total', help)
}

/**
 * Counts what went wrong in tools and resources of MCP, by the status that HTTP has for it: the answer itself
 * is a 200.
 */
export function observeTools(registry: Registry): (status: number) => void {
  const failures = new Counter({
    name: 'remit_tool_failures_total',
    help: 'Failures of tools and resources of MCP, by the status that HTTP has for them.',
    labelNames: ['status'],
    registers: [registry],
  })
  return (status) => failures.inc({ status })
}

export interface SearchMetrics {
  readonly onStrategy: OnStrategy
  readonly onAnswer: OnAnswer
  readonly onShadow: (event: ShadowEvent) => void
}

/** What searching and asking OpenFGA cost, and what it brought. See docs/metrics.md. */
export function observeSearch(registry: Registry): SearchMetrics {
  const registers = [registry]
  const strategySeconds = new Histogram({
    name: 'remit_search_strategy_seconds',
    help: 'Seconds of one search by vectors, by its strategy.',
    labelNames: ['strategy'],
    buckets: [0.001, 0.0025, 0.005, 0.01, 0.025, 0.05, 0.1, 0.25, 0.5, 1],
    registers,
  })
  const strategyRatio = new Histogram({
    name: 'remit_search_strategy_actual_to_predicted',
    help: 'What a search by vectors took, as a part of what had been predicted.',
    labelNames: ['strategy'],
    buckets: [0.25, 0.5, 0.75, 1, 1.5, 2, 4, 8],
    registers,
  })
  const fallbacks = counterOf(
    registry,
    'remit_search_strategy_fallbacks_total',
    'Searches for which a cheaper strategy was tried first and found too little.',
  )
  const documents = new Counter({
    name: 'remit_gate_documents_total',
    help: 'Documents that questions nominated, by what became of them. allowed / all is the precision of nomination.',
    labelNames: ['verdict'],
    registers,
  })
  const checks = counterOf(registry, 'remit_gate_checks_total', 'Checks that questions sent to OpenFGA.')
  const returned = counterOf(
    registry,
    'remit_answer_documents_total',
    'Documents in answers. remit_gate_checks_total / this: checks for each that was returned.',
  )
  const calls = new Histogram({
    name: 'remit_gate_calls',
    help: 'Calls to OpenFGA for one answer: none where its verdicts were held, one in the usual case.',
    buckets: [0, 1, 2, 3, 5, 8],
    registers,
  })
  const recall = new Histogram({
    name: 'remit_shadow_recall',
    help: 'Recall at 10 of searches that were done again exactly.',
    labelNames: ['strategy'],
    buckets: [0.5, 0.8, 0.9, 0.95, 0.99, 1],
    registers,
  })
  return {
    onStrategy({ strategy, predictedMs, actualMs, fellBack }) {
      strategySeconds.observe({ strategy }, actualMs / 1_000)
      if (predictedMs > 0) strategyRatio.observe({ strategy }, actualMs / predictedMs)
      if (fellBack) fallbacks(1)
    },
    onAnswer({ considered, denied, passedOver, errors, ...answer }) {
      documents.inc({ verdict: 'allowed' }, considered - denied - passedOver - errors)
      documents.inc({ verdict: 'denied' }, denied)
      documents.inc({ verdict: 'passed_over' }, passedOver)
      documents.inc({ verdict: 'error' }, errors)
      checks(answer.checks)
      calls.observe(answer.calls)
      returned(answer.returned)
    },
    onShadow: ({ strategy, recall: found }) => recall.observe({ strategy }, found),
  }
}
