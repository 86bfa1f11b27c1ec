import type { Probe, Seen } from '../probe.ts'

/** Tokens that nobody issued. None is made: what is tried is none, a word, and a real one cut short. */
export const strangers: Probe = {
  id: 'strangers',
  kind: 'leak',
  claim: 'Without a token, or with one that nobody issued, nothing comes.',
  unit: 'answers',
  missing: ({ people, questions }) =>
    people.length === 0 || questions.length === 0 ? 'it needs people and questions' : undefined,
  async try(session): Promise<Seen> {
    const { random, people, questions } = session
    let [trials, failures] = [0, 0]
    for (const person of random.shuffled(people).slice(0, 3)) {
      const real = await session.token(person, false)
      const tokens = { no: '', 'an invented': 'nobody', 'a shortened': real.slice(0, -8) }
      for (const query of random.shuffled(questions).slice(0, 3)) {
        // One that the real token is shown.
        const document = (await session.ask(person, query)).passages[0]?.document
        for (const [name, token] of Object.entries(tokens)) {
          if (name === 'a shortened' && token === '') continue
          const answers = [await session.ask(person, query, session.sizes.k, token)]
          if (document !== undefined && session.adapter.read !== undefined)
            answers.push(await session.read(person, document, token))
          for (const { status, passages } of answers) {
            // What failed was not decided.
            if (status >= 500) continue
            trials += 1
            if (passages.length === 0) continue
            failures += 1
            session.found('strangers', 'leak', `With ${name} token passages came.`, {
              person,
              question: query,
            })
          }
        }
      }
    }
    return { trials, failures }
  },
}
