import { setTimeout as sleep } from 'node:timers/promises'
import { expect, test } from 'vitest'
import type { CallLimits } from '../../src/embed/batch-queue.ts'
import type { Embedder } from '../../src/embed/embedder.ts'
import { type Body, byText, endpoint, type Handler, json } from '../support/embeddings-endpoint.ts'
import { steeredClock } from '../support/steered-clock.ts'

const texts = (count: number, of: (index: number) => string = (index) => `passage ${index}`): string[] =>
  Array.from({ length: count }, (_, index) => of(index))

const estimate = (text: string): number => Math.ceil(Buffer.byteLength(text) / 3) + 2

/** Refuses a call that is over a limit of its own, as an API does. */
const within =
  ({ inputs, tokens, bytes }: CallLimits, then: Handler = byText): Handler =>
  (body, response, request) => {
    const tokensAsked = body.input.reduce((sum, text) => sum + estimate(text), 0)
    const isOver =
      body.input.length > inputs ||
      tokensAsked > tokens ||
      Buffer.byteLength(JSON.stringify(body.input)) > bytes
    if (isOver) json(response, 400, { error: { message: 'too much' } })
    else then(body, response, request)
  }

/** One import: groups of documents, eight at a time, as ingestion asks. */
async function importAll(embedder: Embedder, groups: readonly (readonly string[])[]): Promise<void> {
  const left = [...groups]
  async function worker(): Promise<void> {
    for (let group = left.shift(); group !== undefined; group = left.shift()) {
      const vectors = await embedder.embedPassages(group)
      expect(vectors).toHaveLength(group.length)
    }
  }
  await Promise.all(texts(8).map(worker))
}

const roomy: CallLimits = { inputs: 1_000, tokens: 1_000_000, bytes: 10_000_000 }

test.each([
  ['inputs', { ...roomy, inputs: 32 }, (all: readonly string[]) => all.length / 32],
  [
    'tokens',
    { ...roomy, tokens: 600 },
    (all: readonly string[]) => all.reduce((sum, text) => sum + estimate(text), 0) / 600,
  ],
  [
    'bytes',
    { ...roomy, bytes: 1_500 },
    (all: readonly string[]) => all.reduce((sum, text) => sum + Buffer.byteLength(text) + 3, 0) / 1_500,
  ],
])(
  'an import makes at most a tenth more calls than the limit of %s needs, and none that is refused',
  async (_, limits, least) => {
    const { embedder, bodies } = await endpoint(within({ ...limits, bytes: limits.bytes + '[]'.length }), {
      limits,
    })
    const groups = Array.from({ length: 150 }, (_, group) =>
      texts(
        1 + ((group * 7) % 40),
        (index) => `group ${group} passage ${index} ${'word '.repeat(index % 9)}`,
      ),
    )
    await importAll(embedder, groups)
    const all = groups.flat()
    expect(bodies.flatMap(({ input }) => input).sort()).toEqual([...all].sort())
    expect(bodies.length).toBeLessThanOrEqual(Math.ceil(least(all)) * 1.1)
  },
)

test('many documents of one passage share calls', async () => {
  const { embedder, bodies } = await endpoint(byText, { limits: { inputs: 50 } })
  await Promise.all(texts(500).map((text) => embedder.embedPassages([text])))
  expect(bodies).toHaveLength(10)
})

test('a text that stands there twice is sent once, and has its vector at both places', async () => {
  const { embedder, bodies } = await endpoint(byText)
  const done: number[] = []
  const [first, other, second] = await embedder.embedPassages(['same', 'else!', 'same'], {
    onProgress: (count) => done.push(count),
  })
  expect(bodies.map(({ input }) => input)).toEqual([['same', 'else!']])
  expect(second).toEqual(first)
  expect(other).not.toEqual(first)
  expect(done.at(-1)).toBe(3)
})

test('a lone passage goes at once; more wait a moment only while a call is under way', async () => {
  const clock = steeredClock()
  const answers: (() => void)[] = []
  const { embedder, bodies } = await endpoint(
    (body, response, request) => answers.push(() => byText(body, response, request)),
    { ...clock.options },
  )
  const lone = embedder.embedPassages(['lone'])
  await expect.poll(() => bodies.length).toBe(1)
  const second = embedder.embedPassages(['second'])
  const third = embedder.embedPassages(['third'])
  await clock.settled()
  expect(bodies).toHaveLength(1)
  clock.advance(100)
  await expect.poll(() => bodies.length).toBe(2)
  expect(bodies[1]?.input).toEqual(['second', 'third'])
  const fourth = embedder.embedPassages(['fourth'])
  await clock.settled()
  // Nothing is under way any more: it waits for no clock.
  for (const reply of answers) reply()
  await Promise.all([lone, second, third])
  await expect.poll(() => bodies.length).toBe(3)
  answers.at(-1)?.()
  await fourth
})

test('a question waits for no passage: not for calls under way, not for a pause that passages were told', async () => {
  const clock = steeredClock()
  const { embedder, bodies } = await endpoint(
    (body, response, request) => {
      if (body.input.includes('question')) byText(body, response, request)
      else if (body.input.includes('refused')) json(response, 429, { error: {} }, { 'retry-after': '30' })
    },
    { ...clock.options, limits: { inputs: 1 } },
  )
  const stop = new AbortController()
  const passages = ['refused', ...texts(20)].map((text) =>
    embedder.embedPassages([text], { signal: stop.signal }).catch(() => 'stopped'),
  )
  await expect.poll(() => bodies.length).toBe(4)
  expect(await embedder.embedQuery('question')).toHaveLength(3)
  stop.abort(new Error('enough'))
  expect(new Set(await Promise.all(passages))).toEqual(new Set(['stopped']))
})

test('one with many passages does not keep others waiting', async () => {
  const { embedder, bodies } = await endpoint(byText, { limits: { inputs: 10 } })
  const large = embedder.embedPassages(texts(400))
  const small = embedder.embedPassages(['small one', 'small two'])
  await small
  expect(bodies.length).toBeLessThanOrEqual(5)
  await large
  expect(bodies.length).toBeLessThanOrEqual(42)
})

const refuses =
  (bad: (text: string) => boolean, status = 400): Handler =>
  (body, response, request) =>
    body.input.some(bad)
      ? json(response, status, { error: { message: 'refused' } }, { 'retry-after-ms': '1' })
      : byText(body, response, request)

const outcomeOf = (asked: Promise<unknown>): Promise<string> =>
  asked.then(
    () => 'embedded',
    (error: unknown) => (error instanceof Error && 'code' in error ? String(error.code) : String(error)),
  )

test.each([
  ['refuses', 400, 18],
  ['finds too long', 413, 18],
  ['stumbles over', 500, 21],
])('a text that the endpoint %s costs its own document alone, in few calls', async (_, status, callsMax) => {
  const { embedder, bodies } = await endpoint(refuses((text) => text === 'passage 77', status))
  const outcomes = await Promise.all(texts(128).map((text) => outcomeOf(embedder.embedPassages([text]))))
  expect(
    outcomes.map((outcome, index) => [index, outcome]).filter(([, outcome]) => outcome !== 'embedded'),
  ).toEqual([[77, 'refused']])
  expect(bodies.length).toBeLessThanOrEqual(callsMax)
})

test('of many refused texts those that are not found in as many calls as there are texts may come again', async () => {
  const { embedder, bodies } = await endpoint(
    refuses((text) => text.startsWith('passage')),
    {
      limits: { inputs: 32 },
    },
  )
  const outcomes = await Promise.all(texts(32).map((text) => outcomeOf(embedder.embedPassages([text]))))
  expect(new Set(outcomes)).toEqual(new Set(['refused', 'unavailable']))
  expect(bodies.length).toBeLessThanOrEqual(34)
})

test.each([
  ['a key that is wrong', 401, 1],
  ['a model that is wrong', 400, 2],
  ['an endpoint that is not there', 404, 1],
])('%s is no text’s fault, and takes no series of calls', async (_, status, calls) => {
  const { embedder, bodies } = await endpoint(refuses(() => true, status))
  const outcomes = await Promise.all(texts(100).map((text) => outcomeOf(embedder.embedPassages([text]))))
  expect(new Set(outcomes)).toEqual(new Set(['unavailable']))
  expect(bodies).toHaveLength(calls)
})

test('an endpoint that takes fewer inputs than is set costs a few calls once, and is asked for as many from then on', async () => {
  const limits = { ...roomy, inputs: 32 }
  const { embedder, bodies } = await endpoint(within(limits))
  await embedder.embedPassages(texts(128))
  const before = bodies.length
  expect(await embedder.embedPassages(texts(320, (index) => `later ${index}`))).toHaveLength(320)
  expect(bodies.length - before).toBe(10)
})

test('a vector that is none costs its own document alone', async () => {
  const { embedder, bodies } = await endpoint((body, response) =>
    json(response, 200, {
      data: body.input.map((text, index) => ({ index, embedding: text === 'b' ? [0, null, 0] : [1, 2, 3] })),
    }),
  )
  const outcomes = ['a', 'b', 'c'].map((text) => outcomeOf(embedder.embedPassages([text])))
  expect(await Promise.all(outcomes)).toEqual(['embedded', 'wrong_answer', 'embedded'])
  expect(bodies).toHaveLength(1)
})

test('who gives up leaves the others their call; when nobody is left the call ends', async () => {
  let ended = 0
  const { embedder, bodies } = await endpoint((_body, response) => {
    response.on('close', () => ended++)
  })
  const [first, second] = [new AbortController(), new AbortController()]
  const asked = [
    embedder.embedPassages(['a'], { signal: first.signal }),
    embedder.embedPassages(['b'], { signal: second.signal }),
  ].map((promise) => outcomeOf(promise))
  await expect.poll(() => bodies.length).toBe(1)
  first.abort(new Error('first'))
  expect(await asked[0]).toBe('Error: first')
  await sleep(100)
  expect(ended).toBe(0)
  second.abort(new Error('second'))
  expect(await asked[1]).toBe('Error: second')
  await expect.poll(() => ended).toBe(1)
})

test('after 429 nobody asks before Retry-After is over; then one asks, and the others once that one got through', async () => {
  const clock = steeredClock()
  let isBusy = true
  const waiting: (() => void)[] = []
  const { embedder, bodies } = await endpoint(
    (body, response, request) => {
      if (isBusy) json(response, 429, { error: {} }, { 'retry-after': '7' })
      else waiting.push(() => byText(body, response, request))
    },
    { ...clock.options, limits: { inputs: 1 } },
  )
  const all = Promise.all(texts(12).map((text) => embedder.embedPassages([text])))
  // Four at once were under way when the first was told to wait.
  await expect.poll(() => bodies.length).toBe(4)
  await clock.settled()
  isBusy = false
  clock.advance(6_900)
  await clock.settled()
  expect(bodies).toHaveLength(4)
  clock.advance(200)
  await expect.poll(() => bodies.length).toBe(5)
  await clock.settled()
  expect(bodies).toHaveLength(5)
  const reply = (): void => {
    for (const tell of waiting.splice(0)) tell()
  }
  reply()
  await expect.poll(() => bodies.length).toBe(9)
  const answering = setInterval(reply, 5)
  await all
  clearInterval(answering)
})

test('while the endpoint is away all callers together make few calls, and are told soon', async () => {
  const { embedder, bodies } = await endpoint(
    refuses(() => true, 503),
    { limits: { inputs: 4 } },
  )
  const outcomes = await Promise.all(texts(200).map((text) => outcomeOf(embedder.embedPassages([text]))))
  expect(new Set(outcomes)).toEqual(new Set(['unavailable']))
  // Four under way when it went away, then one for each pause.
  expect(bodies.length).toBeLessThanOrEqual(40)
})

test('a pause of more than a minute is told at once instead of waited for', async () => {
  const clock = steeredClock()
  const { embedder, bodies } = await endpoint(
    (_body: Body, response) => json(response, 429, { error: {} }, { 'retry-after': '3600' }),
    { ...clock.options },
  )
  expect(await outcomeOf(embedder.embedPassages(['a']))).toBe('unavailable')
  expect(await outcomeOf(embedder.embedPassages(['b']))).toBe('unavailable')
  expect(bodies).toHaveLength(1)
  // Ten minutes at most: then it is asked again.
  clock.advance(600_000)
  expect(await outcomeOf(embedder.embedPassages(['c']))).toBe('unavailable')
  expect(bodies).toHaveLength(2)
})
