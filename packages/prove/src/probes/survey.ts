import type { Probe, Seen } from '../probe.ts'
import { each, Inconclusive, type Session, type TimedAnswer } from '../session.ts'

/** How many documents of an answer this person may not read. Asked again: it may be a change on its way. */
export async function leaksOf(
  session: Session,
  check: string,
  person: string,
  query: string,
  answer: TimedAnswer,
  k?: number,
): Promise<number> {
  const { truth } = session
  const documents = new Set(answer.passages.map(({ document }) => document))
  const verdicts = await Promise.all(
    [...documents].map(async (document) => ({ document, may: await truth.mayRead(person, document) })),
  )
  const refused = verdicts.filter(({ may }) => !may).map(({ document }) => document)
  if (refused.length === 0) return 0
  const again = await session.ask(person, query, k)
  for (const document of refused) {
    const isThere = again.passages.some((passage) => passage.document === document)
    const isStillRefused = !(await truth.mayRead(person, document))
    const message =
      isThere && isStillRefused
        ? 'An answer held a document that this person may not read, twice.'
        : 'An answer held a document that this person may not read, once; a second one, or the truth, differed.'
    session.found(check, 'leak', message, { person, document, question: query })
  }
  return refused.length
}

interface Asked {
  readonly person: string
  readonly query: string
  readonly answer: TimedAnswer
}

const asked = new WeakMap<Session, readonly Asked[]>()

/** People and questions by lots, many at a time. */
export const survey: Probe = {
  id: 'leak',
  kind: 'leak',
  claim: 'What an answer holds, the person who asked may read.',
  unit: 'answers',
  missing: ({ people, questions }) =>
    people.length === 0 || questions.length === 0 ? 'it needs people and questions' : undefined,
  async try(session): Promise<Seen> {
    const { people, questions, sizes, random } = session
    const all = people.length * questions.length
    const drawn =
      all <= 4 * sizes.answers
        ? random.shuffled(Array.from({ length: all }, (_, index) => index)).slice(0, sizes.answers)
        : Array.from({ length: sizes.answers }, () => random.below(all))
    const answers: Asked[] = []
    let [failures, passages, refused] = [0, 0, 0]
    await each(drawn, sizes.concurrency, async (number) => {
      const person = people[number % people.length] ?? ''
      const query = questions[Math.floor(number / people.length)] ?? ''
      const answer = await session.ask(person, query)
      if (answer.status !== 200) refused += 1
      passages += answer.passages.length
      if ((await leaksOf(session, 'leak', person, query, answer)) > 0) failures += 1
      answers.push({ person, query, answer: { ...answer, raw: '' } })
    })
    if (refused * 2 > drawn.length)
      throw new Inconclusive(`${refused} of ${drawn.length} questions were refused: look at the tokens.`)
    if (passages === 0)
      throw new Inconclusive('No answer had a passage: look at the questions, and at the adapter.')
    asked.set(session, answers)
    return {
      trials: drawn.length,
      failures,
      isDrawn: true,
      notes: [`${passages} passages, ${refused} answers without 200`],
    }
  },
}

/** What one person is shown, another who may read it is shown too, where the answer had room for it. */
export const completeness: Probe = {
  id: 'completeness',
  kind: 'incomplete',
  claim:
    'An answer that had room, and does not call itself incomplete, holds what others were shown and this person may read.',
  unit: 'documents that had to be there',
  missing: (session) =>
    asked.has(session) ? undefined : 'it compares the answers of the check `leak`, and there are none',
  async try(session): Promise<Seen> {
    const byQuery = byQuestion(asked.get(session) ?? [])
    let [trials, failures] = [0, 0]
    for (const [query, answers] of byQuery) {
      const shownTo = new Map<string, Set<string>>()
      for (const { person, answer } of answers)
        for (const { document } of answer.passages)
          shownTo.set(document, (shownTo.get(document) ?? new Set()).add(person))
      for (const { person, answer } of answers) {
        const hasRoom = answer.status === 200 && answer.passages.length < session.sizes.k
        if (!hasRoom || answer.complete === false) continue
        const held = new Set(answer.passages.map(({ document }) => document))
        for (const [document, to] of shownTo) {
          // What nobody else was shown cannot be missing.
          if (to.size === 1 && to.has(person)) continue
          if (!held.has(document) && !(await session.truth.mayRead(person, document))) continue
          trials += 1
          if (held.has(document)) continue
          failures += 1
          session.found(
            'completeness',
            'incomplete',
            'A document was missing from an answer with room for it.',
            {
              person,
              document,
              question: query,
            },
          )
        }
      }
    }
    return { trials, failures }
  },
}

function byQuestion(answers: readonly Asked[]): Map<string, Asked[]> {
  const groups = new Map<string, Asked[]>()
  for (const one of answers) groups.set(one.query, [...(groups.get(one.query) ?? []), one])
  return groups
}
