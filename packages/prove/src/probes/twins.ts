import { setTimeout as sleep } from 'node:timers/promises'
import { plantedOf } from '../planted.ts'
import { needsCanary, type Probe, type Seen, type Test } from '../probe.ts'
import type { Random } from '../random.ts'
import { each, type Session, type TimedAnswer } from '../session.ts'
import { median, rankSumP } from '../statistics.ts'

/**
 * An experiment by lots. Many invented words; lots decide for which of them documents are planted that the
 * asker may not read, and in which way they are hidden. Asked before and after, an answer must not depend on
 * how the lots fell. As nothing else can depend on them, no assumption about the endpoint is needed: whatever
 * else changes meanwhile changes for all words alike.
 */
const ways = ['never shared', 'shared and taken back', 'removed'] as const
type Way = (typeof ways)[number]

const visibleCount = 8
const copies = 3

interface Word {
  readonly text: string
  /** Undefined: nothing is hidden behind it. */
  readonly way: Way | undefined
  readonly asks: readonly Ask[]
}

/** One question with the word in it, before and after the lots are carried out. */
interface Ask {
  readonly query: string
  readonly before: TimedAnswer[]
  readonly after: TimedAnswer[]
}

export const twins: Probe = {
  id: 'twins',
  kind: 'oracle',
  claim:
    'Whether there are documents that a person may not read cannot be told: not by status, size, count, order, scores, facts, wording or time.',
  unit: 'answers',
  missing: needsCanary,
  async try(session): Promise<Seen> {
    const { random, sizes } = session
    const planted = plantedOf(session)
    const { asker, owner } = planted
    const anchor = random.word()
    const words = drawWords(session, anchor)
    const visible = visibleDocuments(words, anchor, () => planted.name(), [asker, owner])
    await planted.putAll(visible)
    for (const { id } of visible) await planted.awaitFound(asker, anchor, id)

    const askAll = async (to: 'before' | 'after', times: number) => {
      const all = words.flatMap(({ asks }) => asks.flatMap((ask) => Array.from({ length: times }, () => ask)))
      for (const ask of random.shuffled(all)) ask[to].push(await session.ask(asker, ask.query))
    }
    await askAll('before', 2)
    const hidden = words.flatMap(({ text, way }) =>
      way === undefined
        ? []
        : Array.from({ length: copies }, () => ({ id: planted.name(), text, way, secret: random.word(8) })),
    )
    await each(hidden, sizes.concurrency, async ({ id, text, way, secret }) => {
      const readers = way === 'shared and taken back' ? [asker, owner] : [owner]
      await planted.put({ id, text: `${text} ${text} ${secret}.`, readers })
      await planted.awaitFound(owner, secret, id)
      if (way === 'shared and taken back') await planted.setReaders(id, [owner])
      if (way === 'removed') await planted.remove(id)
      session.forbid(asker, id, 'the id of a hidden document')
      session.forbid(asker, secret, 'words of a hidden document')
    })
    await sleep(sizes.boundMs)
    await askAll('after', sizes.repeats)
    const { steady, restless } = factsOf(words.flatMap(({ asks }) => asks))
    const tests = ways.flatMap((way) => testsOf(session, words, way, steady))
    const notes = restless.length === 0 ? [] : [`facts that differ at each answer: ${restless.join(', ')}`]
    return { trials: words.length * 2 * (2 + sizes.repeats), failures: 0, notes, tests }
  },
}

/** Alone it finds what is hidden first; beside another word it counts how rare each of them seems. */
function drawWords({ random, sizes }: Session, anchor: string): readonly Word[] {
  const lots = [undefined, ...ways].flatMap((way) => Array.from({ length: sizes.words }, () => way))
  return random.shuffled(lots).map((way) => {
    const text = random.word()
    const asks = [text, `${text} ${anchor}`].map((query) => ({ query, before: [], after: [] }))
    return { text, way, asks }
  })
}

/** Each holds every word, in another number than the next: their order has something to depend on. */
function visibleDocuments(
  words: readonly Word[],
  anchor: string,
  name: () => string,
  readers: readonly string[],
) {
  return Array.from({ length: visibleCount }, (_, place) => ({
    id: name(),
    readers,
    text: `${words
      .flatMap(({ text }, index) => Array.from({ length: 1 + ((place + index) % 3) }, () => text))
      .concat(Array.from({ length: 1 + 2 * (visibleCount - place) }, () => anchor))
      .join(' ')}.`,
  }))
}

const facts = 'other facts:'
/** What one can see of an answer, as a text that is equal where nothing can be told. */
const looksAt = (steady: readonly string[]): Readonly<Record<string, (answer: TimedAnswer) => string>> => ({
  status: ({ status }) => String(status),
  'what is found': ({ passages }) =>
    passages
      .map(({ id }) => id)
      .sort()
      .join(),
  order: ({ passages }) => passages.map(({ id }) => id).join(),
  scores: ({ passages }) => passages.map(({ score }) => score).join(),
  'what it says of being complete': ({ complete }) => String(complete),
  [facts]: ({ facts: said }) => JSON.stringify(steady.map((name) => said?.[name] ?? null)),
  wording: ({ raw = '' }) => plain(raw),
})

/**
 * The names of facts. Restless are those that mostly differed between two answers to one question before
 * anything was hidden, as a request's own id does: they tell nothing by themselves, and would drown the
 * others in the one test for all. As the lots had decided nothing yet, to leave them out favours nobody.
 */
function factsOf(asks: readonly Ask[]): { readonly steady: string[]; readonly restless: string[] } {
  const answers = asks.flatMap(({ before, after }) => [...before, ...after])
  const names = [...new Set(answers.flatMap(({ facts: said }) => Object.keys(said ?? {})))].sort()
  const isSteady = (name: string): boolean =>
    2 * asks.filter(({ before }) => isVaried(before.map(({ facts: said }) => said?.[name]))).length <=
    asks.length
  return {
    steady: names.filter(isSteady),
    restless: names.filter((name) => !isSteady(name)),
  }
}

/** Without what differs at each answer: numbers, and ids of its own. */
const plain = (raw: string): string => raw.replaceAll(/[\w-]{12,}/g, '#').replaceAll(/\d+/g, '0')

function testsOf(session: Session, words: readonly Word[], way: Way, steady: readonly string[]): Test[] {
  const hiding = words.filter((word) => word.way === way)
  const bare = words.filter((word) => word.way === undefined)
  const measures: Readonly<Record<string, (ask: Ask) => number>> = {
    ...Object.fromEntries(
      Object.entries(looksAt(steady)).map(([what, look]) => [what, (ask: Ask) => newIn(ask, look)]),
    ),
    size: ({ before, after }) => median(after.map(bytesOf)) - median(before.map(bytesOf)),
    time: ({ after }) => median(after.map(({ ms }) => ms)),
    'time at best': ({ after }) => Math.min(...after.map(({ ms }) => ms)),
  }
  return Object.entries(measures).flatMap(([what, by]) => {
    const ofWord = ({ asks }: Word) => asks.reduce((sum, ask) => sum + by(ask), 0)
    const told = what === facts ? [what, ...tellingOf(hiding, bare, steady)].join(' ') : what
    return testOf(told, way, hiding.map(ofWord), bare.map(ofWord), session.random)
  })
}

/**
 * Which of the facts differ most between these words and those, by name. One test stays for all of them: more
 * would make each of a run's tests weaker.
 */
function tellingOf(hiding: readonly Word[], bare: readonly Word[], steady: readonly string[]): string[] {
  const gaps = steady.map((name) => {
    const look = ({ facts: said }: TimedAnswer) => JSON.stringify(said?.[name])
    const sum = (words: readonly Word[]) =>
      words.flatMap((word) => word.asks).reduce((all, ask) => all + newIn(ask, look), 0)
    return { name, gap: Math.abs(sum(hiding) - sum(bare)) }
  })
  const most = Math.max(1, ...gaps.map(({ gap }) => gap))
  return gaps.filter(({ gap }) => gap === most).map(({ name }) => name)
}

/** How many answers look as none of before. */
function newIn<T>({ before, after }: Ask, look: (answer: TimedAnswer) => T): number {
  const known = new Set(before.map(look))
  return after.filter((answer) => !known.has(look(answer))).length
}

const bytesOf = ({ bytes }: TimedAnswer): number => bytes

/** Milliseconds. A smaller difference drowns before it reaches anybody. */
const noticed = 0.1

function testOf(what: string, way: Way, a: readonly number[], b: readonly number[], random: Random): Test[] {
  if (!isVaried([...a, ...b])) return []
  const isTooSmall = what.startsWith('time') && Math.abs(median(a) - median(b)) < noticed
  return [{ what: `${what} (hidden: ${way})`, p: isTooSmall ? 1 : rankSumP(a, b, random) }]
}

/** Where nothing varies nothing can be told, and no test is made that others would have to pay for. */
const isVaried = (values: readonly unknown[]): boolean => new Set(values).size > 1

/** The same for documents that are asked for by their ids. */
export const byId: Probe = {
  id: 'by-id',
  kind: 'oracle',
  claim: 'A hidden document, asked for by its id, answers as one that never was.',
  unit: 'answers',
  missing: (session) =>
    needsCanary(session) ??
    (session.adapter.read === undefined ? 'this endpoint reads no documents by their ids' : undefined),
  async try(session): Promise<Seen> {
    const { random, sizes } = session
    const planted = plantedOf(session)
    const { asker, owner } = planted
    const lots = [undefined, ...ways].flatMap((way) => Array.from({ length: sizes.words }, () => way))
    const documents = random.shuffled(lots).map((way) => ({
      id: planted.name(),
      way,
      secret: random.word(8),
      after: new Array<TimedAnswer>(),
    }))
    const there = documents.filter(({ way }) => way !== undefined)
    await each(there, sizes.concurrency, async ({ id, way, secret }) => {
      const readers = way === 'shared and taken back' ? [asker, owner] : [owner]
      await planted.put({ id, text: `${secret} ${secret}.`, readers })
      await planted.awaitFound(owner, secret, id)
      if (way === 'shared and taken back') await planted.setReaders(id, [owner])
      if (way === 'removed') await planted.remove(id)
      session.forbid(asker, secret, 'words of a hidden document')
    })
    await sleep(sizes.boundMs)
    const asks = random.shuffled(documents.flatMap((one) => Array.from({ length: sizes.repeats }, () => one)))
    let failures = 0
    for (const document of asks) {
      const answer = await session.read(asker, document.id)
      document.after.push(answer)
      if (answer.passages.length === 0) continue
      failures += 1
      session.found('by-id', 'leak', 'A hidden document came when it was asked for by its id.', {
        person: asker,
        document: document.id,
      })
    }
    const bare = documents.filter(({ way }) => way === undefined)
    const tests = ways.flatMap((way) => {
      const hiding = documents.filter((one) => one.way === way)
      const look = (id: string, { status, raw = '' }: TimedAnswer) =>
        `${status} ${plain(raw.replaceAll(id, '#'))}`
      const common = mostOften(
        [...hiding, ...bare].flatMap(({ id, after }) => after.map((one) => look(id, one))),
      )
      const measures: Readonly<Record<string, (one: (typeof documents)[number]) => number>> = {
        'status and wording': ({ id, after }) => after.filter((one) => look(id, one) !== common).length,
        size: ({ after }) => median(after.map(bytesOf)),
        time: ({ after }) => median(after.map(({ ms }) => ms)),
        'time at best': ({ after }) => Math.min(...after.map(({ ms }) => ms)),
      }
      return Object.entries(measures).flatMap(([what, by]) =>
        testOf(what, way, hiding.map(by), bare.map(by), random),
      )
    })
    return { trials: asks.length, failures, tests }
  },
}

function mostOften(values: readonly string[]): string {
  const counts = new Map<string, number>()
  for (const value of values) counts.set(value, (counts.get(value) ?? 0) + 1)
  return [...counts].sort(([, a], [, b]) => b - a)[0]?.[0] ?? ''
}
