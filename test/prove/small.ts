import type { Adapter } from '../../packages/prove/src/adapter.ts'
import { prove } from '../../packages/prove/src/prove.ts'
import type { Report } from '../../packages/prove/src/report.ts'
import type { Sizes } from '../../packages/prove/src/session.ts'
import { tableTruth } from '../../packages/prove/src/truths/table.ts'

const topics = ['travel', 'budget', 'salary', 'board', 'office', 'train']
const asking = ['anne', 'bob', 'carol']
const canaryPeople = ['ida', 'otto'] as const
const documents = Array.from({ length: 60 }, (_, number) => ({
  id: `d${number}`,
  text: `${topics.filter((_, index) => (number >> index) % 2 === 1).join(' ')} note ${number}.`,
  readers: asking.filter((_, index) => (number >> index) % 2 === 0),
}))

/** `npm run full` tries each for longer. */
const isFull = process.env['PROVE_ANSWERS'] !== undefined
const small = { words: 10, repeats: 1, crowd: 30, revocations: 3 }
export const timeout = isFull ? 1_800_000 : 180_000

const tokenOf = (person: string): string => `${person}-in-person`
/** All whom {@link proveSmall} asks as; a token cut short is nobody's. */
export const people = [...asking, ...canaryPeople].map((person) => ({ person, token: tokenOf(person) }))
export const personOf = (asked: string): string | undefined =>
  people.find(({ token }) => token === asked)?.person

/**
 * Plants 60 documents by the endpoint's own canary, each for some of three people, and tries it: with small
 * sizes, in `npm run full` with those that `remit-prove` has by itself.
 */
export async function proveSmall(
  adapter: Adapter,
  { sizes, only }: { readonly sizes?: Partial<Sizes>; readonly only?: readonly string[] } = {},
): Promise<Report> {
  const mark = { signal: new AbortController().signal, traceparent: '' }
  for (const document of documents) await adapter.canary?.put({ ...document, title: document.id }, mark)
  const report = await prove(
    {
      adapter,
      token: async (person) => tokenOf(person),
      truth: tableTruth(
        documents.flatMap(({ id, readers }) => readers.map((one) => `${one},${id}`)).join('\n'),
      ),
      people: asking,
      questions: [...topics, 'note'],
      canaryPeople,
    },
    {
      key: 'k',
      seed: 1,
      sizes: { watchMs: 500, ...(!isFull && small), ...sizes },
      ...(only !== undefined && { only }),
    },
  )
  if (isFull) console.log(JSON.stringify(report, null, 2))
  return report
}

export const statesOf = ({ checks }: Report): Readonly<Record<string, string>> =>
  Object.fromEntries(checks.map(({ id, state }) => [id, state]))

/** Its messages, once each, sorted, without chances. Whether a time tells something hangs on the machine. */
export const findingsOf = ({ findings }: Report): readonly string[] =>
  [...new Set(findings.map(({ message }) => message.replaceAll(/ By chance alone: .*| \d+ ms/g, '')))]
    .filter((message) => !message.includes('by: time'))
    .sort()

/** What {@link findingsOf} says where hidden documents that still stand change what is found. */
export const toldBy = (looks: readonly string[]): readonly string[] =>
  looks.flatMap((look) =>
    ['never shared', 'shared and taken back'].map(
      (way) => `That something is hidden can be told by: ${look} (hidden: ${way}).`,
    ),
  )

/** Likewise, where verdicts are remembered. */
export const remembered = [
  'A document that was replaced by another text for others was in an answer that was asked for after the acknowledgement.',
  'A document that was taken off the readers was in an answer that was asked for after the acknowledgement.',
  'An answer held the text of a version for others.',
]
