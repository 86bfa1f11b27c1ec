import { describe, expect, test } from 'vitest'
import {
  chooseStrategy,
  type StrategyInputs,
} from '../../../src/retrieval/chunk-index/postgres/choose-strategy.ts'
import { createCosts } from '../../../src/retrieval/chunk-index/postgres/costs.ts'

const million = 1_000_000
const situation = (of: Partial<StrategyInputs>): StrategyInputs => ({
  visible: million,
  documents: (of.visible ?? million) / 10,
  corpus: million,
  limit: 10,
  ...of,
})
const ivf = { unassigned: 0, partitions: 4_096 }

describe('the plan', () => {
  test.each([
    ['nothing is visible', situation({ visible: 0, ...ivf })],
    ['little is visible', situation({ visible: 200, ...ivf })],
    ['there are no cells', situation({ visible: 6_000 })],
    ['much lies in no cell yet', situation({ visible: 30_000, ...ivf, unassigned: 1_000 })],
  ])('compares all where %s', (_, of) => {
    expect(chooseStrategy(of, createCosts())).toMatchObject({ strategy: 'exact' })
  })

  test.each([
    ['a hundredth is visible', 100, situation({ visible: million / 100, ...ivf })],
    ['half is visible', 100, situation({ visible: million / 2, ...ivf })],
    ['all is visible', 105, situation({ ...ivf })],
    ['a few documents lie in no cell yet', 100, situation({ visible: million / 2, ...ivf, unassigned: 20 })],
  ])('compares what is near where %s, more where there is more of it: %i', (_, rows, of) => {
    expect(chooseStrategy(of, createCosts())).toMatchObject({ strategy: 'ivf', rows })
  })

  test('compares more where codes tell less', () => {
    const rows = [0.05, 0.1, 0.2].map((residualVariance) => {
      const choice = chooseStrategy(
        situation({ visible: 50_000, ...ivf, residualVariance: residualVariance }),
        createCosts(),
      )
      return choice.strategy === 'ivf' ? choice.rows : 0
    })
    expect(rows).toEqual([100, 100, 190])
  })

  test('walks the graph where all is visible and there are no cells', () => {
    expect(chooseStrategy(situation({}), createCosts())).toMatchObject({ strategy: 'hnsw' })
  })

  test('walks the graph only where nearly all is visible, or comparing all is slow', () => {
    const costs = createCosts()
    expect(
      chooseStrategy(situation({ visible: 20_000, documents: 2_000, corpus: 30_000 }), costs).strategy,
    ).toBe('exact')
    expect(chooseStrategy(situation({ visible: million / 2 }), costs).strategy).toBe('hnsw')
    expect(chooseStrategy(situation({ visible: million / 5 }), costs).strategy).toBe('exact')
  })

  test('keeps more candidates at a time where less of what is met is visible, within what pgvector takes', () => {
    const efs = [1, 0.6, 0.3].map((share) => {
      const choice = chooseStrategy(situation({ visible: share * million, limit: 100 }), createCosts())
      return choice.strategy === 'hnsw' ? choice.walk.ef : 0
    })
    expect(efs).toEqual([400, 667, 800])
  })

  test('takes more rows than are wanted: a walk comes upon the best out of order', () => {
    const rows = [1, 10, 100].map((limit) => {
      const choice = chooseStrategy(situation({ limit }), createCosts())
      return choice.strategy === 'hnsw' ? choice.walk.rows : 0
    })
    expect(rows).toEqual([40, 40, 200])
  })

  test('gives a walk up after what the sure plan would have taken', () => {
    const costs = createCosts()
    const of = situation({ visible: 40_000, documents: 4_000, corpus: 40_000 })
    const choice = chooseStrategy(of, costs)
    if (choice.strategy !== 'hnsw') throw new Error(choice.strategy)
    const sureMs = costs.of('exact', { chunks: 40_000, lookUps: 4_000 })
    expect(costs.of('hnsw', { places: choice.walk.tuples })).toBeLessThan(choice.predictedMs + sureMs + 0.1)
    expect(choice.walk.tuples).toBeLessThanOrEqual(20_000)
  })

  test('depends on counts and costs alone', () => {
    const of = situation({ visible: 30_000, ...ivf })
    expect(chooseStrategy(of, createCosts())).toEqual(chooseStrategy(of, createCosts()))
  })
})

describe('costs', () => {
  test('follow what was measured, soon at first, and never run away', () => {
    const costs = createCosts()
    const work = { chunks: 1_000 }
    const before = costs.of('exact', work)
    for (let times = 0; times < 30; times += 1) costs.learn('exact', costs.of('exact', work), 3 * before)
    expect(costs.of('exact', work) / before).toBeGreaterThan(2.5)
    costs.learn('exact', costs.of('exact', work), 100 * before)
    expect(costs.of('exact', work) / before).toBeLessThan(3.6)
    for (let times = 0; times < 1_000; times += 1) costs.learn('exact', 1, 1_000)
    expect(costs.of('exact', work) / before).toBeCloseTo(8, 5)
  })

  test('of a plan that was never taken are those of as slow a machine as the others found, then its own', () => {
    const costs = createCosts()
    const before = costs.of('hnsw', { places: 100 })
    costs.learn('exact', 1, 4)
    expect(costs.of('hnsw', { places: 100 }) / before).toBeCloseTo(2, 5)
    costs.learn('hnsw', 1, 1)
    costs.learn('exact', 1, 4)
    expect(costs.of('hnsw', { places: 100 }) / before).toBeCloseTo(2, 5)
  })

  test('are not moved by a clock that stood still', () => {
    const costs = createCosts()
    const before = costs.of('hnsw', { places: 100 })
    costs.learn('hnsw', 1, 0)
    costs.learn('hnsw', 0, 1)
    expect(costs.of('hnsw', { places: 100 })).toBe(before)
  })
})
