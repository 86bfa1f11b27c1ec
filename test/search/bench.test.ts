import { execFile } from 'node:child_process'
import { fileURLToPath } from 'node:url'
import { promisify } from 'node:util'
import { expect, test } from 'vitest'
import type { Measured } from '../../benchmarks/search/measure.ts'
import { needsPostgres } from '../support/native.ts'

const run = fileURLToPath(new URL('../../benchmarks/search/run.ts', import.meta.url))

interface Report {
  readonly leaks: number
  readonly recall: number
  readonly about: { readonly servers: string; readonly passages: number }
  readonly measured: readonly Measured[]
  readonly figures: readonly { readonly name: string; readonly verdict: string }[]
  readonly leftOut: readonly string[]
  readonly extras: {
    readonly turned: readonly {
      readonly way: string
      readonly missed?: string
      readonly removalInForce: { readonly count: number }
    }[]
    readonly churn: { readonly leaks: number; readonly released: number; readonly removals: number }
  }
}

test('the benchmark of search, small: nothing leaks, not while access comes and goes either, recall is 0.99 in every cell, and it ends with one line of JSON', {
  timeout: 600_000,
}, async () => {
  const { stdout } = await promisify(execFile)(
    process.execPath,
    [
      run,
      ...['--quick', '--json', '--chunks', '1200', '--levels', '0.1', '--questions', '3', '--people', '2'],
      ...['--budget', '100', '--seconds', '0.2', '--releases', '200', '--only', 'FGA,over-fetch,List,labels'],
    ],
    { maxBuffer: 2 ** 24 },
  )
  const report = JSON.parse(stdout.trimEnd().split('\n').at(-1) ?? '') as Report
  expect(report.leaks).toBe(0)
  expect(report.recall).toBeGreaterThanOrEqual(0.99)
  expect(report.extras.churn.removals).toBeGreaterThan(0)
  expect(report.extras.churn.released).toBeGreaterThan(200)
  const ways = new Set(report.measured.map(({ way }) => way))
  for (const way of ['raw40', 'raw99', 'ours, search', 'ours, fresh', 'ours, hot', 'labels &&, planner'])
    expect(ways).toContain(way)
  const cells = new Set(report.measured.map(({ policy, topic }) => `${policy} ${topic}`))
  expect([...cells].sort()).toEqual(
    ['tree', 'drive']
      .flatMap((policy) => ['independent', 'inside', 'outside'].map((topic) => `${policy} ${topic}`))
      .sort(),
  )
  for (const { asked, p50, recallInterval } of report.measured) {
    expect(asked).toBeGreaterThan(0)
    expect(p50).toBeGreaterThan(0)
    expect(recallInterval).toHaveLength(2)
  }
  expect(report.figures.map(({ name }) => name)).toContain('recall@10, mean of the worst cell')
})

const apart = ['OpenSearch', 'wardowl', 'SpiceDB'] as const

test('peers with servers of their own answer the same questions as row-level security and leak nothing, an access that was taken away is gone, and one that is not here is left out by its name', {
  timeout: 600_000,
  ...needsPostgres,
}, async () => {
  const flags = ['--quick', '--json', '--chunks', '1200', '--policies', 'tree', '--topics', 'independent']
  const { stdout } = await promisify(execFile)(
    process.execPath,
    [
      run,
      ...[...flags, '--levels', '0.1', '--questions', '2', '--people', '2', '--budget', '1000'],
      ...['--seconds', '0.2', '--releases', '20', '--only', `row-level,${apart.join()}`],
    ],
    // Without a model the whole service is not asked over HTTP.
    { maxBuffer: 2 ** 24, env: { ...process.env, EMBEDDINGS_MODEL_PATH: '' } },
  )
  const { measured, extras, leftOut } = JSON.parse(stdout.trimEnd().split('\n').at(-1) ?? '') as Report
  const grid = measured.filter(({ filter }) => filter === 1)
  for (const beginning of [...apart, 'row-level']) {
    const rows = grid.filter(({ way }) => way.startsWith(beginning))
    const isLeftOut = leftOut.some((what) => what.startsWith(`${beginning}:`))
    expect({ beginning, isLeftOut }).toEqual({ beginning, isLeftOut: rows.length === 0 })
  }
  for (const { way, leaks, recall } of grid) {
    expect({ way, leaks }).toEqual({ way, leaks: 0 })
    // One scan of an index does not find what lies behind what may not be read.
    if (way !== 'row-level security, one scan')
      expect({ way, isFound: recall > 0.9 }).toEqual({ way, isFound: true })
  }
  for (const { way, missed, removalInForce } of extras.turned) {
    expect({ way, missed }).toEqual({ way, missed: undefined })
    expect(removalInForce.count).toBeGreaterThan(0)
  }
})
