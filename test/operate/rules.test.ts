import { spawnSync } from 'node:child_process'
import { copyFileSync, mkdtempSync, readFileSync, rmSync, writeFileSync } from 'node:fs'
import { tmpdir } from 'node:os'
import { join } from 'node:path'
import { fileURLToPath } from 'node:url'
import { afterAll, beforeAll, describe, expect, test } from 'vitest'
import { stringify } from 'yaml'
import { native, needsPromtool } from '../support/native.ts'
import { rules } from './promql.ts'

const root = new URL('../../', import.meta.url)
const file = fileURLToPath(new URL('deploy/prometheus/remit.rules.yml', root))
const alerts = rules.filter(({ alert }) => alert !== undefined)

describe('each alert', () => {
  const runbooks = readFileSync(new URL('docs/runbooks.md', root), 'utf8')
  const sections = [...runbooks.matchAll(/^## (Remit\w+)\n([^]*?)(?=^## |(?![^]))/gm)]

  test('has a section in docs/runbooks.md, and each section an alert', () => {
    expect(sections.map(([, name]) => name).sort()).toEqual(
      [...new Set(alerts.map(({ alert }) => alert))].sort(),
    )
  })

  test('links to its section, wakes somebody or waits, and says in a sentence what is', () => {
    for (const { alert = '', labels, annotations } of alerts) {
      expect(annotations?.['runbook_url']).toBe(`docs/runbooks.md#${alert.toLowerCase()}`)
      expect(['page', 'ticket']).toContain(labels?.['severity'])
      expect(annotations?.['summary']).toMatch(/^[A-Z].*\.$/)
    }
  })

  test('has a section that says what it means, what to look at and what to do', () => {
    for (const [, name, text = ''] of sections)
      expect([name, ...[...text.matchAll(/^\*\*(.+?)\*\*/gm)].map(([, word]) => word)]).toEqual([
        name,
        'It means',
        'Look at',
        'Do',
      ])
  })
})

test('docs/slo.md names every objective of the rules with its budget, and no other', () => {
  const told = [
    ...readFileSync(new URL('docs/slo.md', root), 'utf8').matchAll(/^\| `(\w+)` \| ([\d.]+) % \|/gm),
  ]
  const budgets = rules.filter(({ record }) => record === 'slo:remit_budget:ratio')
  expect(told.map(([, slo, percent]) => [slo, (1 - Number(percent) / 100).toFixed(4)])).toEqual(
    budgets.map(({ labels, expr }) => [labels?.['slo'], Number(/[\d.]+/.exec(expr)?.[0]).toFixed(4)]),
  )
})

describe('the rules', needsPromtool, () => {
  let folder: string
  beforeAll(() => {
    folder = mkdtempSync(join(tmpdir(), 'remit-rules-'))
  })
  afterAll(() => rmSync(folder, { recursive: true, force: true }))
  const promtool = (...args: string[]) => {
    const { status, stdout, stderr } = spawnSync(native.promtool ?? '', args, { encoding: 'utf8' })
    return { status, said: stdout + stderr }
  }

  test('are what Prometheus takes', () => {
    const { status, said } = promtool('check', 'rules', '--lint=all', '--lint-fatal', file)
    expect({ status, said }).toMatchObject({ status: 0 })
  })

  test('are found by a Prometheus as docs/metrics.md sets it up', () => {
    const [, config = ''] =
      /```yaml\n(rule_files[^]*?)```/.exec(readFileSync(new URL('docs/metrics.md', root), 'utf8')) ?? []
    writeFileSync(join(folder, 'prometheus.yml'), config)
    copyFileSync(file, join(folder, 'remit.rules.yml'))
    writeFileSync(join(folder, 'remit-token'), 'x'.repeat(32))
    const { status, said } = promtool('check', 'config', join(folder, 'prometheus.yml'))
    expect({ status, said }).toMatchObject({ status: 0, said: expect.stringContaining('rules found') })
  })

  // A day that is well: each row is a counter by its rise each minute, or a gauge.
  const well: Readonly<Record<string, string>> = {
    'up{job="remit"}': '1',
    'remit_http_answers_total{route="/retrieve",method="POST",status="200"}': '+100',
    'remit_http_seconds_count{route="/retrieve",method="POST"}': '+100',
    'remit_http_seconds_bucket{route="/retrieve",method="POST",le="1"}': '+100',
    remit_revocation_seconds_count: '+1',
    'remit_revocation_seconds_bucket{le="1"}': '+1',
    'remit_gate_documents_total{verdict="allowed"}': '+500',
    'remit_gate_documents_total{verdict="error"}': '+0',
    remit_turns_refused_total: '+0',
    remit_shadow_recall_sum: '+1',
    remit_shadow_recall_count: '+1',
    remit_ingest_waiting_seconds: '2',
    remit_ingest_waiting: '0',
    remit_ingest_ended_total: '+0',
    remit_unreconciled_seconds: '1',
    remit_drift_mended_total: '+0',
    process_start_time_seconds: '0',
    remit_ingest_failed: '3',
    remit_record_unsealed_seconds: '1',
    remit_record_unsealed: '1',
    remit_record_not_whole_timestamp_seconds: '0',
    remit_record_verified_timestamp_seconds: '1',
    remit_database_whole: '1',
    remit_openfga_whole: '1',
    remit_changes_heard: '1',
    remit_index_following: '1',
    remit_index_lag_seconds: '1',
    remit_sources_stale: '0',
    remit_directories_stale: '0',
    remit_last_backup_timestamp_seconds: '0',
  }
  // There is no short form for NaN.
  const valuesOf = (value: string): string => {
    if (value === 'NaN') return Array(81).fill(value).join(' ')
    if (value.includes('x')) return value
    if (value.endsWith('+-100')) return `${value.slice(0, -5)}-100x80`
    return value.startsWith('+') ? `0${value}x80` : `${value}x80`
  }
  const failing = 'remit_http_answers_total{route="/retrieve",method="POST",status="503"}'
  const fast = 'remit_http_seconds_bucket{route="/retrieve",method="POST",le="1"}'
  const page = (alertname: string, more = {}) => ({ alertname, severity: 'page', ...more })
  const ticket = (alertname: string, more = {}) => ({ alertname, severity: 'ticket', ...more })
  const both = (alertname: string, slo: string) => [page(alertname, { slo }), ticket(alertname, { slo })]

  const idle = Object.fromEntries(
    Object.entries(well).flatMap(([series, value]) => (value.startsWith('+') ? [[series, '+0']] : [])),
  )

  test.each<[string, Readonly<Record<string, string>>, readonly object[]]>([
    ['nobody on a day that is well', {}, []],
    ['nobody where nobody asks anything', idle, []],
    [
      'somebody at once where two answers of a hundred fail',
      { [failing]: '+2' },
      both('RemitAvailability', 'availability'),
    ],
    [
      'somebody at once where tools of MCP fail, which are 200s of HTTP',
      {
        'remit_http_answers_total{route="/mcp",method="POST",status="200"}': '+100',
        'remit_tool_failures_total{status="503"}': '+100',
      },
      both('RemitAvailability', 'availability'),
    ],
    [
      'nobody where tools of MCP refuse',
      { 'remit_tool_failures_total{status="403"}': '+100', 'remit_tool_failures_total{status="422"}': '+9' },
      [],
    ],
    [
      'nobody at night where four of a thousand fail',
      { [failing]: '+0.4' },
      [ticket('RemitAvailability', { slo: 'availability' })],
    ],
    [
      'nobody where administrators try models faster than they are tried',
      { 'remit_http_answers_total{route="/model/test",method="POST",status="503"}': '+100' },
      [],
    ],
    ['nobody where one of two thousand fails', { [failing]: '+0.05' }, []],
    [
      'somebody where every fifth answer is late',
      { [fast]: '+80' },
      both('RemitLatency', 'latency_retrieve'),
    ],
    ['nobody where one in two hundred is late', { [fast]: '+99.5' }, []],
    [
      'somebody where every fifth answer is late, as Prometheus 3 writes its buckets',
      { [fast]: '', [fast.replace('"1"', '"1.0"')]: '+80' },
      both('RemitLatency', 'latency_retrieve'),
    ],
    [
      'somebody where revocations take longer than a second',
      { 'remit_revocation_seconds_bucket{le="1"}': '+0.5' },
      both('RemitRevocation', 'revocation'),
    ],
    [
      'nobody at night for the one revocation of an hour',
      { remit_revocation_seconds_count: '+0.1', 'remit_revocation_seconds_bucket{le="1"}': '+0.05' },
      [ticket('RemitRevocation', { slo: 'revocation' })],
    ],
    [
      'somebody where documents wait for ten minutes',
      { remit_ingest_waiting_seconds: '600' },
      both('RemitIngest', 'ingest'),
    ],
    [
      'somebody where the record is not sealed',
      { remit_record_unsealed_seconds: '90' },
      both('RemitRecord', 'record'),
    ],
    [
      'somebody where Postgres is away, and counts that time as bad',
      {
        remit_ingest_waiting_seconds: 'NaN',
        remit_record_unsealed_seconds: 'NaN',
        remit_record_unsealed: 'NaN',
      },
      [page('RemitDatabaseAway'), ...both('RemitIngest', 'ingest'), ...both('RemitRecord', 'record')],
    ],
    ['somebody where a process is away', { 'up{job="remit"}': '0' }, [page('RemitDown', { job: 'remit' })]],
    ['somebody where one store is an older copy', { remit_openfga_whole: '0' }, [page('RemitOlderCopy')]],
    [
      'somebody where a verification found that the record is not whole',
      { remit_record_not_whole_timestamp_seconds: '600' },
      [page('RemitRecordNotWhole')],
    ],
    ['somebody where changes are not heard', { remit_changes_heard: '0' }, [page('RemitChangesUnheard')]],
    [
      'in the morning where the replica is behind',
      { remit_index_lag_seconds: '120' },
      [ticket('RemitIndexBehind')],
    ],
    ...['/mcp', '/documents/:id'].map(
      (route): [string, Readonly<Record<string, string>>, readonly object[]] => [
        `in the morning where the replica is behind and all come by ${route}`,
        {
          'remit_http_answers_total{route="/retrieve",method="POST",status="200"}': '',
          [`remit_http_answers_total{route="${route}",method="POST",status="200"}`]: '+100',
          remit_index_lag_seconds: '120',
        },
        [ticket('RemitIndexBehind')],
      ],
    ),
    [
      'nobody where the replica is behind while nobody asks',
      { ...idle, remit_index_lag_seconds: '7200' },
      [],
    ],
    [
      'somebody where OpenFGA lacks what was changed for half an hour',
      { remit_unreconciled_seconds: '1800' },
      [page('RemitAccessUnreconciled')],
    ],
    [
      'in the morning where somebody else wrote to OpenFGA',
      { remit_drift_mended_total: '+0.1' },
      [ticket('RemitDrift')],
    ],
    [
      'in the morning where the comparison at the start of a process found what somebody else wrote',
      { remit_drift_mended_total: '40', process_start_time_seconds: '3000' },
      [ticket('RemitDrift')],
    ],
    [
      'nobody of what a process found that began before the last hour',
      { remit_drift_mended_total: '40', process_start_time_seconds: '600' },
      [],
    ],
    [
      'in the morning where an import waits and none of it is done',
      { remit_ingest_waiting: '5000' },
      [ticket('RemitIngestStands')],
    ],
    [
      'in the morning where fewer wait since jobs were given up, and none is done',
      { remit_ingest_waiting: '90000+-100' },
      [ticket('RemitIngestStands')],
    ],
    [
      'nobody where a large import goes on',
      { remit_ingest_waiting: '90000+-100', remit_ingest_ended_total: '+100' },
      [],
    ],
    [
      'nobody where documents come in faster than they are done',
      { remit_ingest_waiting: '+300', remit_ingest_ended_total: '+900' },
      [],
    ],
    [
      'in the morning where checks run out of time',
      { 'remit_gate_documents_total{verdict="error"}': '+20' },
      [ticket('RemitChecksFail')],
    ],
    [
      'somebody where more is asked than can be answered, and in the morning that it is this',
      { [failing]: '+3', remit_turns_refused_total: '+3' },
      [...both('RemitAvailability', 'availability'), ticket('RemitOverloaded')],
    ],
    [
      'in the morning where one in ninety of what takes turns is refused, however many went over their limits',
      {
        [failing]: '+1.1',
        'remit_http_answers_total{route="/retrieve",method="POST",status="429"}': '+9000',
        remit_turns_refused_total: '+1.1',
      },
      [ticket('RemitOverloaded')],
    ],
    [
      'nobody where one in two thousand is refused for want of a turn',
      { [failing]: '+0.05', remit_turns_refused_total: '+0.05' },
      [],
    ],
    ['nobody for a burst of three minutes', { remit_turns_refused_total: '0x69 900+900x2 2700x20' }, []],
    [
      'in the morning where a burst does not end',
      { remit_turns_refused_total: '0x55 900+900x30' },
      [ticket('RemitOverloaded')],
    ],
    ['in the morning where documents fail', { remit_ingest_failed: '+1' }, [ticket('RemitDocumentsFailed')]],
    ['nobody an hour after documents failed, whose jobs are kept', { remit_ingest_failed: '0x9 5x70' }, []],
    [
      'in the morning where permissions are stale',
      { remit_directories_stale: '1' },
      [ticket('RemitSourcesStale')],
    ],
    [
      'in the morning where the last backup is older than two days',
      { remit_last_backup_timestamp_seconds: '-200000' },
      [ticket('RemitBackupOld')],
    ],
    ['in the morning where recall is low', { remit_shadow_recall_sum: '+0.9' }, [ticket('RemitRecallLow')]],
  ])('tell %s', (title, changed, firing) => {
    const series = Object.entries({ ...well, ...changed }).filter(([, value]) => value !== '')
    const run = join(folder, 'test.yml')
    const samples = firing.map((labels) => ({
      labels: `ALERTS{${Object.entries({ ...labels, alertstate: 'firing' })
        .map(([name, value]) => `${name}="${value}"`)
        .join(',')}}`,
      value: 1,
    }))
    writeFileSync(
      run,
      stringify({
        rule_files: [file],
        evaluation_interval: '1m',
        tests: [
          {
            name: title,
            interval: '1m',
            input_series: series.map(([name, value]) => ({
              series: name,
              values: valuesOf(value),
            })),
            promql_expr_test: [
              { expr: 'ALERTS{alertstate="firing"}', eval_time: '75m', exp_samples: samples },
            ],
          },
        ],
      }),
    )
    expect(promtool('test', 'rules', run)).toMatchObject({ status: 0 })
  })

  // Hours from 0: each value stands for one.
  test.each<[string, Readonly<Record<string, string>>, string, Readonly<Record<number, boolean>>]>([
    [
      'a record that is not whole is one alert where verifications find it each day, one later than the other',
      { remit_record_not_whole_timestamp_seconds: '_ 3600x24 91800x60' },
      'RemitRecordNotWhole',
      { 2: true, 25: true, 26: true, 50: true, 51: false },
    ],
    [
      'a verification that is not run any more is told after two days',
      {
        remit_record_not_whole_timestamp_seconds: '0x80',
        remit_record_verified_timestamp_seconds: '3600x80',
      },
      'RemitRecordUnverified',
      { 48: false, 52: true },
    ],
    [
      'a verification that finds something is one',
      {
        remit_record_not_whole_timestamp_seconds: '0x40 144000x40',
        remit_record_verified_timestamp_seconds: '3600x80',
      },
      'RemitRecordUnverified',
      { 52: false },
    ],
    [
      'a verification that never found the record whole, and is not run any more, is told, too',
      {
        remit_record_not_whole_timestamp_seconds: '3600x80',
        remit_record_verified_timestamp_seconds: '0x80',
      },
      'RemitRecordUnverified',
      { 48: false, 52: true },
    ],
    [
      'nobody is told of a verification that was never run',
      { remit_record_not_whole_timestamp_seconds: '0x80', remit_record_verified_timestamp_seconds: '0x80' },
      'RemitRecordUnverified',
      { 79: false },
    ],
  ])('%s', (name, series, alert, firing) => {
    const run = join(folder, 'hours.yml')
    const expr = `count(ALERTS{alertname="${alert}",alertstate="firing"})`
    const promql_expr_test = Object.entries(firing).map(([hour, fires]) => ({
      expr,
      eval_time: `${hour}h`,
      exp_samples: fires ? [{ labels: '{}', value: 1 }] : [],
    }))
    const input_series = Object.entries(series).map(([one, values]) => ({ series: one, values }))
    const tests = [{ name, interval: '1h', input_series, promql_expr_test }]
    writeFileSync(run, stringify({ rule_files: [file], evaluation_interval: '1h', tests }))
    expect(promtool('test', 'rules', run)).toMatchObject({ status: 0 })
  })
})
