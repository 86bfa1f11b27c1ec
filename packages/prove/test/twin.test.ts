import { describe, expect, test } from 'vitest'
import type { Adapter } from '../src/adapter.ts'
import { type ProveOptions, prove } from '../src/prove.ts'
import type { Finding, Report } from '../src/report.ts'
import { toText } from '../src/reports/text.ts'
import { tableTruth } from '../src/truths/table.ts'
import { type Defect, defects, startTwin } from './twin.ts'
import { twinAdapter } from './twin-adapter.ts'

const sizes = {
  ...{ answers: 120, k: 40, words: 10, repeats: 3, crowd: 100, revocations: 3 },
  watchMs: 150,
  patienceMs: 10_000,
}

async function report(
  defect: Defect | undefined,
  options: Partial<ProveOptions>,
  changed: (adapter: Adapter) => Partial<Adapter> = () => ({}),
): Promise<Report> {
  await using twin = await startTwin(defect)
  const adapter = twinAdapter(twin)
  return await prove(
    {
      adapter: { ...adapter, ...changed(adapter) },
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
    const look = () =>
      report(defect, {
        only: needed(check),
        // Order alone tells little of each word.
        sizes: defect === 'fused before it is filtered' ? { ...sizes, words: 20 } : sizes,
      })
    let { findings, checks } = await look()
    // What shows for some milliseconds is over where the machine stands still for a moment.
    for (let again = 0; again < 2 && !findings.some((one) => one.check === check); again += 1)
      ({ findings, checks } = await look())
    expect(findings.map((one) => one.check)).toContain(check)
    expect(checks).toContainEqual(expect.objectContaining({ id: check, state: 'broken' }))
  })
})

test('a finding by facts names the fact that tells, beside one that differs at each answer', async () => {
  let answers = 0
  const told = await report('a total counts what is hidden', { only: ['twins'] }, ({ retrieve }) => ({
    async retrieve(question) {
      const answer = await retrieve(question)
      answers += 1
      return {
        ...answer,
        facts: { ...answer.facts, isRare: answers % 50 === 0, kind: 'notes', request: answers },
      }
    },
  }))
  const messages = told.findings.map(({ message }) => message).join('\n')
  expect(messages).toContain('can be told by: other facts: total (hidden: ')
  expect(messages).not.toMatch(/isRare|kind|request/)
  expect(told.checks.find(({ id }) => id === 'twins')?.notes).toEqual([
    'facts that differ at each answer: request',
  ])
  expect(toText(told)).toMatch(/^broken {7}twins: .* \d+ answers, p = /m)
})

test('no count of failures reads as held, and the text shows three of many findings of a kind', async () => {
  const told = await report('a total counts what is hidden', { only: ['twins'] })
  expect(toText(told)).not.toMatch(/twins: .* 0 of /)
  const [finding] = told.findings
  if (finding === undefined) throw new Error('Nothing was found.')
  const alike = Array.from({ length: 5 }, (_, ms) => ({ ...finding, message: `It came ${ms} ms late.` }))
  const text = toText({ ...told, findings: [...alike, { ...finding, message: 'Another.' }] })
  expect(text.match(/It came \d ms late\./g)).toHaveLength(3)
  expect(text).toContain('… and 2 more like these.')
  expect(text).toContain('Another.')
  expect(text).toContain('6 findings.')
})

describe('of one without', () => {
  test.each([1, 2])('finds nothing, with seed %i', async (seed) => {
    const { findings, checks, left } = await report(undefined, { seed })
    // Times are those of a machine that does other things: one in a hundred runs is a false alarm.
    const isOfTime = ({ message }: Finding) => message.includes('by: time')
    expect(findings.filter((one) => !isOfTime(one))).toEqual([])
    const timed = findings.filter(isOfTime).map(({ check }) => check)
    expect(checks.filter(({ id, state }) => state !== 'held' && !timed.includes(id))).toEqual([])
    expect(left).toEqual([])
  })
})

describe('where not all goes well', () => {
  test('what was found is told beside it, and all that was planted goes', async () => {
    const standing = new Set<string>()
    const ofCrowd = (adapter: Adapter): Partial<Adapter> => {
      let puts = 0
      const { canary = raise() } = adapter
      return {
        canary: {
          ...canary,
          async put(document, mark) {
            puts += 1
            if (puts === 17) throw new Error('the disk of anne is full')
            standing.add(document.id)
            await canary.put(document, mark)
          },
          async remove(document, mark) {
            await canary.remove(document, mark)
            standing.delete(document)
          },
        },
      }
    }
    const only = ['leak', 'crowd']
    const seen = await report('a name that begins alike is enough', { only }, ofCrowd)
    expect(seen.findings.length).toBeGreaterThan(0)
    expect(seen.checks.map(({ id, state }) => [id, state])).toEqual([
      ['leak', 'broken'],
      ['crowd', 'inconclusive'],
      ['hidden-words', 'not_tried'],
    ])
    // Its kind alone: what went wrong may quote what was answered.
    expect(seen.checks[1]?.notes).toEqual(['It failed (Error).'])
    expect([...standing]).toEqual([])
  })

  test('what could not be removed is named', async () => {
    const { left } = await report(undefined, { only: ['pending'] }, ({ canary = raise() }) => ({
      canary: { ...canary, remove: async () => raise() },
    }))
    expect(left.length).toBeGreaterThan(0)
  })

  test.each([
    ['no answer has a passage', { only: ['leak'] }, 'leak', { passages: [] }],
    ['an invented person is refused', { only: ['revocation'] }, 'revocation', { status: 403 }],
  ] as const)('nothing is held where %s', async (_, { only }, id, answered) => {
    const { checks } = await report(undefined, { only: [...only] }, ({ retrieve }) => ({
      async retrieve(question) {
        const answer = await retrieve(question)
        return question.query.length > 0 ? { ...answer, ...answered } : answer
      },
    }))
    expect(checks).toContainEqual(expect.objectContaining({ id, state: 'inconclusive' }))
  })

  test('asked to slow down, it waits as long as it is told, and goes on', async () => {
    let [refusals, early, until] = [0, 0, 0]
    const { checks } = await report(
      undefined,
      { only: ['leak'], sizes: { ...sizes, concurrency: 1 } },
      ({ retrieve }) => ({
        async retrieve(question) {
          if (performance.now() < until - 1) early += 1
          if (refusals === 20) return await retrieve(question)
          refusals += 1
          until = performance.now() + 10
          return { status: 429, bytes: 0, passages: [], retryAfterMs: 10 }
        },
      }),
    )
    expect(checks).toContainEqual(expect.objectContaining({ id: 'leak', state: 'held' }))
    expect(early).toBe(0)
  })

  test.each([undefined, 3_600_000])(
    'slowed down for longer than its patience, it says what to raise (%s)',
    async (retryAfterMs) => {
      const { checks } = await report(
        undefined,
        { only: ['leak'], sizes: { ...sizes, patienceMs: 50 } },
        () => ({
          retrieve: async () => ({
            status: 429,
            bytes: 0,
            passages: [],
            ...(retryAfterMs && { retryAfterMs }),
          }),
        }),
      )
      expect(checks[0]).toMatchObject({
        state: 'inconclusive',
        notes: [expect.stringContaining('RATE_PER_MINUTE')],
      })
    },
  )

  test('nor where so few words are asked that no order of them would tell anything', async () => {
    const { checks } = await report('a total counts what is hidden', {
      only: ['twins'],
      sizes: { ...sizes, words: 4 },
    })
    expect(checks).toContainEqual(expect.objectContaining({ id: 'twins', state: 'inconclusive' }))
  })
})

function raise(): never {
  throw new Error('It cannot.')
}
