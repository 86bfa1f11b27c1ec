import { expect, test } from 'vitest'
import { createRandom } from '../../benchmarks/kubernetes/random.ts'
import { cellsOf, poolOf } from '../../benchmarks/search/cells.ts'
import { seededCorpus } from '../../benchmarks/search/corpus.ts'
import { createOracle } from '../../benchmarks/search/oracle.ts'
import { driveWorld } from '../../benchmarks/search/worlds/drive.ts'

test('a cell in which nobody can be asked is told by its name, not left out silently', () => {
  const corpus = seededCorpus(300, 1, 4)
  const world = driveWorld(corpus, 'topics', createRandom(1), Date.now())
  const leftOut: string[] = []
  const cells = cellsOf({
    corpus,
    world,
    oracle: createOracle(corpus, world.tuples),
    pool: poolOf(corpus, createOracle(corpus, []), 4),
    levels: [0.1, 0.0001],
    topics: ['inside', 'outside'],
    filters: [1],
    questions: 2,
    people: 1,
    random: createRandom(1),
    at: Date.now(),
    leaveOut: (cell) => leftOut.push(cell),
  })
  expect(cells.map(({ topic, level }) => [topic, level])).toEqual([
    ['inside', 0.1],
    ['outside', 0.1],
  ])
  expect(leftOut).toHaveLength(1)
  expect(leftOut[0]).toContain('drive, inside, 0.01 %; drive, outside, 0.01 %')
})
