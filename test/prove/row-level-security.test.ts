import { describe, expect, test } from 'vitest'
import { prove } from '../../packages/prove/src/prove.ts'
import { tableTruth } from '../../packages/prove/src/truths/table.ts'
import { native, needsPostgres } from '../support/native.ts'
import { openRowLevelSecurity } from './row-level-security.ts'

const topics = ['travel', 'budget', 'salary', 'board', 'office', 'train']
const people = ['anne', 'bob', 'carol']
const documents = Array.from({ length: 60 }, (_, number) => ({
  id: `d${number}`,
  text: `${topics.filter((_, index) => (number >> index) % 2 === 1).join(' ')} note ${number}.`,
  readers: people.filter((_, index) => (number >> index) % 2 === 0),
}))

async function report(filteredAfter?: number) {
  await using adapter = await openRowLevelSecurity({
    url: native.databaseUrl ?? '',
    ...(filteredAfter !== undefined && { filteredAfter }),
  })
  const mark = { signal: new AbortController().signal, traceparent: '' }
  for (const document of documents) await adapter.canary?.put({ ...document, title: document.id }, mark)
  return await prove(
    {
      adapter,
      token: async (person) => person,
      truth: tableTruth(
        documents.flatMap(({ id, readers }) => readers.map((one) => `${one},${id}`)).join('\n'),
      ),
      people,
      questions: [...topics, 'note'],
      canaryPeople: ['ida', 'otto'],
    },
    {
      key: 'k',
      seed: 1,
      sizes: { answers: 60, words: 10, repeats: 2, crowd: 100, revocations: 3, watchMs: 500 },
    },
  )
}

describe('of an endpoint on Postgres', needsPostgres, () => {
  test('with row-level security nothing comes that may not, and nothing is missing', async () => {
    const { findings, left } = await report()
    // That a time tells something is no wonder: a policy looks at what the index has found.
    expect(findings.filter(({ message }) => !message.includes('by: time'))).toEqual([])
    expect(left).toEqual([])
  })

  test('with a filter after the search what may be read is lost behind what may not', async () => {
    const { checks } = await report(20)
    expect(checks).toContainEqual(expect.objectContaining({ id: 'leak', state: 'held' }))
    expect(checks).toContainEqual(expect.objectContaining({ id: 'crowd', state: 'broken', failures: 10 }))
  })
})
