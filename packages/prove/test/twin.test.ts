import { describe, expect, test } from 'vitest'
import { type ProveOptions, prove } from '../src/prove.ts'
import type { Report } from '../src/report.ts'
import { tableTruth } from '../src/truths/table.ts'
import { type Defect, defects, startTwin } from './twin.ts'
import { twinAdapter } from './twin-adapter.ts'

const sizes = {
  ...{ answers: 120, k: 40, words: 10, repeats: 3, crowd: 100, revocations: 3 },
  watchMs: 150,
  patienceMs: 10_000,
}

async function report(defect: Defect | undefined, options: Partial<ProveOptions>): Promise<Report> {
  await using twin = await startTwin(defect)
  return prove(
    {
      adapter: twinAdapter(twin),
      token: async (person) => `token-of-${person}-sealed99`,
      truth: tableTruth(twin.table),
      people: twin.people,
      questions: twin.questions,
      canaryPeople: ['ida', 'otto'],
    },
    { key: 'k', sizes, seed: 1, ...options },
  )
}

/** What has to run so that this check says something. */
const needed = (check: string): readonly string[] => {
  if (check === 'completeness') return ['leak', check]
  if (check === 'afterwards') return ['revocation', check]
  return check === 'hidden-words' ? ['revocation', 'twins'] : [check]
}

describe('of an endpoint with a defect', () => {
  const all = Object.entries(defects) as [Defect, string][]
  test.each(all)('finds that %s, by the check %s', async (defect, check) => {
    const { findings, checks } = await report(defect, {
      only: needed(check),
      // Order alone tells little of each word.
      sizes: defect === 'fused before it is filtered' ? { ...sizes, words: 20 } : sizes,
    })
    expect(findings.map((one) => one.check)).toContain(check)
    expect(checks).toContainEqual(expect.objectContaining({ id: check, state: 'broken' }))
  })
})

describe('of one without', () => {
  test.each([1, 2])('finds nothing, with seed %i', async (seed) => {
    const { findings, checks } = await report(undefined, { seed })
    expect(findings).toEqual([])
    expect(checks.map(({ state }) => state)).toEqual(checks.map(() => 'held'))
  })
})
