import type { Probe, Seen } from '../probe.ts'
import { leaksOf } from './survey.ts'

/** Questions that a filter may forget, and that no person writes. */
const odd = [
  '',
  ' ',
  '*',
  '%',
  '?',
  '.*',
  '"',
  "' or 1=1 --",
  'a OR *:*',
  '{"match_all":{}}',
  '../',
  '\\',
  'the',
  'x'.repeat(5_000),
]
const counts = [0, -1, 1, 1_000, 1_000_000]

export const oddQuestions: Probe = {
  id: 'odd-questions',
  kind: 'leak',
  claim: 'No wildcard, operator, quote, empty question or size of an answer passes the filter by.',
  unit: 'answers',
  missing: ({ people, questions }) =>
    people.length === 0 || questions.length === 0 ? 'it needs people and questions' : undefined,
  async try(session): Promise<Seen> {
    const { random, people, questions, sizes } = session
    const question = questions[random.below(questions.length)] ?? ''
    const asks = [
      ...odd.map((query) => ({ query, k: sizes.k })),
      ...counts.map((k) => ({ query: question, k })),
    ]
    let [trials, failures] = [0, 0]
    for (const person of random.shuffled(people).slice(0, 3))
      for (const { query, k } of asks) {
        const answer = await session.ask(person, query, k)
        trials += 1
        if ((await leaksOf(session, 'odd-questions', person, query, answer, k)) > 0) failures += 1
      }
    return { trials, failures }
  },
}
