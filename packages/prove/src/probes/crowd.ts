import { plantedOf } from '../planted.ts'
import { needsCanary, type Probe, type Seen } from '../probe.ts'
import { each } from '../session.ts'

const readable = 10

/** Few that may be read, far behind many that may not. */
export const crowd: Probe = {
  id: 'crowd',
  kind: 'incomplete',
  claim:
    'What may be read is found also where much that may not be read matches better, or the answer says that it is incomplete.',
  unit: 'documents that had to be there',
  missing: needsCanary,
  async try(session): Promise<Seen> {
    const { random, sizes } = session
    const planted = plantedOf(session)
    const { asker, owner } = planted
    const word = random.word()
    const visible = Array.from({ length: readable }, () => ({
      id: planted.name(),
      text: `${word} ${Array.from({ length: 12 }, () => random.word()).join(' ')}.`,
      readers: [asker, owner],
    }))
    const hidden = Array.from({ length: sizes.crowd }, () => ({
      id: planted.name(),
      text: `${word} ${word} ${word} ${word} ${random.word()}.`,
      readers: [owner],
    }))
    for (const { id } of hidden) session.forbid(asker, id, 'the id of a hidden document of a crowd')
    await planted.putAll([...visible, ...hidden])
    const ids = visible.map(({ id }) => id)
    // Each by a word of its own: whether they are published must not hang on what is tried here.
    await each([...visible, ...hidden], sizes.concurrency, ({ id, text }) =>
      planted.awaitFound(owner, lastWord(text), id),
    )
    const answer = await session.askWell(asker, word, readable * 2)
    const held = new Set(answer.passages.map(({ document }) => document))
    const missing = ids.filter((id) => !held.has(id))
    const isHonest = answer.complete === false
    if (!isHonest)
      for (const document of missing)
        session.found(
          'crowd',
          'incomplete',
          'Behind a crowd of hidden documents one that may be read was not found.',
          {
            person: asker,
            document,
          },
        )
    await each([...visible, ...hidden], sizes.concurrency, ({ id }) => planted.remove(id))
    return {
      trials: readable,
      failures: isHonest ? 0 : missing.length,
      notes: [
        `${readable - missing.length} of ${readable} found behind ${sizes.crowd} hidden ones`,
        ...(isHonest ? ['the answer said that it was incomplete'] : []),
      ],
    }
  },
}

const lastWord = (text: string): string => text.slice(text.lastIndexOf(' ') + 1, -1)
