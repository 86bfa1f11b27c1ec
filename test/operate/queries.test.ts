import { afterAll, beforeAll, describe, expect, test } from 'vitest'
import { callTool } from '../mcp/world.ts'
import { openWorld, type World } from '../support/world.ts'
import { functionsOf, panels, rules, selectionsOf } from './promql.ts'

/** A metric as the real service tells it: what it is, and every set of labels that it has. */
interface Told {
  readonly type: string
  readonly series: readonly Readonly<Record<string, string>>[]
}

const dashboard = panels().flatMap(({ title, targets = [] }) => targets.map(({ expr }) => ({ title, expr })))
const recorded = new Set(rules.flatMap(({ record }) => record ?? []))
/** Of Prometheus itself, with the labels that it gives. */
const ownOf: Readonly<Record<string, readonly string[]>> = {
  up: ['job', 'instance'],
  ALERTS: ['alertname', 'alertstate', 'severity', 'slo'],
}
/** That Prometheus adds to each sample that it scrapes. */
const added = ['job', 'instance']

let world: World
let told: ReadonlyMap<string, Told>
beforeAll(async () => {
  world = await openWorld()
  await world.put({ wren: { title: 'Wren', text: 'A small bird.', access: { viewers: ['user:anne'] } } })
  await world.put({ rook: { title: 'Rook', text: 'A black bird.', access: { viewers: ['user:bob'] } } })
  await world.lend('anne', 'research-bot', 'collection:handbook')
  const token = await world.token({ user: 'anne', agent: 'research-bot' })
  await world.retrieve(token, { query: 'a small bird' })
  await world.call('GET', '/documents/wren', { token })
  await world.call('POST', '/mcp', { token, body: { jsonrpc: '2.0', id: 1, method: 'tools/list' } })
  const atMcp = await world.token({ user: 'anne', agent: 'research-bot', resource: 'mcp' })
  await callTool(world, 'read_document', { id: 'no-such' }, { token: atMcp })
  await world.service.revocations.revoke(
    { kind: 'subject', id: 'user:nobody' },
    { until: new Date(Date.now() + 60_000), reason: 'test' },
  )
  told = readMetrics(await (await world.service.ops.request(operators())).text())
})
afterAll(() => world?.[Symbol.asyncDispose]())

const operators = () => `http://127.0.0.1:${world.config.ops.port}/metrics`

/** The text format of Prometheus, with the samples of a histogram each by its own name. */
function readMetrics(text: string): ReadonlyMap<string, Told> {
  const types = new Map(
    [...text.matchAll(/^# TYPE (\S+) (\S+)$/gm)].map(([, name = '', type = '']) => [name, type]),
  )
  const found = new Map<string, { type: string; series: Record<string, string>[] }>()
  for (const [name, type] of types) {
    // One that counted nothing yet has no samples.
    const parts = type === 'histogram' ? ['_bucket', '_sum', '_count'] : ['']
    for (const part of parts)
      found.set(`${name}${part}`, { type: `${type} ${part.slice(1)}`.trim(), series: [] })
  }
  for (const [, name = '', labels = ''] of text.matchAll(/^(\w+)(?:\{(.*)\})? \S+$/gm)) {
    const metric = found.get(name)
    if (metric === undefined) throw new Error(`${name} has no type`)
    metric.series.push(
      Object.fromEntries(
        [...labels.matchAll(/(\w+)="([^"]*)"/g)].map(([, label = '', value = '']) => [label, value]),
      ),
    )
  }
  return found
}

/** What is wrong with a query, in words. */
function faultsOf(query: string): string[] {
  const faults: string[] = []
  for (const selection of selectionsOf(query)) {
    const { metric, labels, inside } = selection
    if (recorded.has(metric)) {
      for (const { name } of labels) if (name !== 'slo') faults.push(`${metric} has no label ${name}`)
      if (inside.some((one) => /rate|increase|delta/.test(one))) faults.push(`${metric} is no counter`)
      continue
    }
    const own = ownOf[metric]
    if (own !== undefined) {
      for (const { name } of labels) if (!own.includes(name)) faults.push(`${metric} has no label ${name}`)
      continue
    }
    const real = told.get(metric)
    if (real === undefined) {
      faults.push(`there is no ${metric}`)
      continue
    }
    const asked = labels.filter(({ name }) => !added.includes(name))
    // A status or a verdict may not have come yet; it has to be one that can.
    for (const { name, matches, text } of asked) {
      const values = [
        ...real.series.map((one) => one[name]),
        ...(name === 'status' ? ['302', '400', '503'] : []),
      ]
      if (!values.some((value) => value !== undefined && matches(value)))
        faults.push(`${metric} has no ${text}`)
    }
    const rises = real.type === 'counter' || real.type.startsWith('histogram')
    const takesRise = functionsOf(selection).some((one) => ['rate', 'increase', 'irate'].includes(one))
    // What a process counted since it began is a rise, too.
    const isSinceStart = query.includes(`${metric} and process_start_time_seconds > time() - `)
    if (rises && !takesRise && !isSinceStart)
      faults.push(`${metric} is a ${real.type}: only its rate says anything`)
    if (!rises && takesRise) faults.push(`${metric} is a ${real.type}: it has no rate`)
    if (functionsOf(selection).includes('histogram_quantile')) {
      if (real.type !== 'histogram bucket') faults.push(`${metric} is a ${real.type}: it has no quantile`)
      if (!/\bby \([^)]*\ble\b/.test(query)) faults.push(`${query} drops le`)
    }
  }
  return faults
}

test('what they are held to is real: the service answered, refused and revoked', () => {
  expect(told.get('remit_http_answers_total')?.series).toEqual(
    expect.arrayContaining([
      { route: '/retrieve', method: 'POST', status: '200' },
      { route: '/documents/:id', method: 'GET', status: '200' },
      expect.objectContaining({ route: '/mcp', method: 'POST' }),
    ]),
  )
})

test.each<[string, string]>([
  ['a metric that is none', 'sum(remit_nothing)'],
  ['a label that is none', 'sum(rate(remit_http_answers_total{subject="anne"}[5m]))'],
  ['a value that no label has', 'sum(rate(remit_http_seconds_count{route="/retreive"}[5m]))'],
  ['a gauge’s rate', 'rate(remit_documents[5m])'],
  ['a counter as it is', 'sum(remit_gate_checks_total)'],
  [
    'a quantile of what is no bucket',
    'histogram_quantile(0.9, sum by (le) (rate(remit_http_seconds_count[5m])))',
  ],
  ['a quantile without le', 'histogram_quantile(0.9, sum by (route) (rate(remit_http_seconds_bucket[5m])))'],
  ['a record by a label that it lacks', 'slo:remit_burn:1h{route="/retrieve"}'],
])('finds %s', (_, query) => {
  expect(faultsOf(query)).not.toEqual([])
})

test('refuses what is no PromQL', () => {
  expect(() => selectionsOf('sum(rate(remit_http_answers_total[5m])')).toThrow('No PromQL')
})

describe('deploy/grafana/remit.json', () => {
  test('asks for what there is, as its type wants it', () => {
    expect(dashboard.length).toBeGreaterThan(40)
    expect(
      dashboard.flatMap(({ title, expr }) => faultsOf(expr).map((fault) => `${title}: ${fault}`)),
    ).toEqual([])
  })

  test('has every panel in a place of its own, with a title of its own and one data source to choose', () => {
    const all = panels()
    expect(new Set(all.map(({ title }) => title)).size).toBe(all.length)
    const cells = all.flatMap(({ gridPos: { x, y, w, h } }) =>
      Array.from({ length: w * h }, (_, n) => `${x + (n % w)} ${y + Math.floor(n / w)}`),
    )
    expect(new Set(cells).size).toBe(cells.length)
    for (const { type, datasource } of all)
      if (type !== 'row') expect(datasource).toEqual({ type: 'prometheus', uid: '${datasource}' })
  })
})

describe('deploy/prometheus/remit.rules.yml', () => {
  test('asks for what there is, as its type wants it', () => {
    expect(rules.length).toBeGreaterThan(40)
    expect(
      rules.flatMap(({ record, alert, expr }) =>
        faultsOf(expr).map((fault) => `${record ?? alert}: ${fault}`),
      ),
    ).toEqual([])
  })
})
