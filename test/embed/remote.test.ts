import { expect, test } from 'vitest'
import { answer, byText, endpoint, json } from '../support/embeddings-endpoint.ts'

test('sends key, model and plain floats, and makes vectors of length 1', async () => {
  let authorization: string | undefined
  const { embedder, bodies } = await endpoint(
    (body, response, request) => {
      authorization = request.headers.authorization
      byText(body, response, request)
    },
    { apiKey: 'sesame' },
  )
  expect([...(await embedder.embedQuery(''.padEnd(0)))]).toEqual([
    0,
    expect.closeTo(0.6),
    expect.closeTo(0.8),
  ])
  expect(authorization).toBe('Bearer sesame')
  expect(bodies).toEqual([{ model: 'double', input: [''], encoding_format: 'float' }])
  expect(embedder).toMatchObject({ model: 'double', dimensions: 3, tokensMax: 512 })
})

test('keeps the order of passages over batches and over answers that come in another order', async () => {
  const { embedder, bodies } = await endpoint(
    (body, response) => {
      const data = body.input.map((text, index) => ({ index, embedding: [text.length, 3, 4] }))
      json(response, 200, { data: data.reverse() })
    },
    { limits: { inputs: 64 } },
  )
  const done: number[] = []
  const texts = Array.from({ length: 200 }, (_, index) => 'x'.repeat(index + 1))
  const vectors = await embedder.embedPassages(texts, { onProgress: (count) => done.push(count) })
  for (const [index, vector] of vectors.entries()) {
    expect((vector[0] as number) / (vector[1] as number)).toBeCloseTo((index + 1) / 3, 3)
  }
  expect(bodies.map((body) => body.input.length).sort()).toEqual([64, 64, 64, 8])
  expect(done.at(-1)).toBe(200)
  expect(await embedder.embedPassages([])).toEqual([])
})

test('tries again after 429 and 500', async () => {
  const failures = [429, 500, 503]
  const { embedder, bodies } = await endpoint((body, response, request) => {
    const status = failures.shift()
    if (status === undefined) byText(body, response, request)
    else json(response, status, { error: { message: 'later' } }, { 'retry-after-ms': '5' })
  })
  expect(await embedder.embedQuery('a')).toHaveLength(3)
  expect(bodies).toHaveLength(4)
})

test('tries again in time where the clock is set back meanwhile', async () => {
  let now = Date.now()
  const { embedder, bodies } = await endpoint(
    (body, response, request) => {
      if (bodies.length > 1) return byText(body, response, request)
      json(response, 503, { error: { message: 'later' } }, { 'retry-after-ms': '50' })
      setTimeout(() => (now -= 3_600_000), 20)
    },
    { now: () => now },
  )
  const beganAt = performance.now()
  expect(await embedder.embedQuery('a')).toHaveLength(3)
  expect(performance.now() - beganAt).toBeLessThan(5_000)
})

test("gives up as unavailable after its tries, without the endpoint's words in the message", async () => {
  const { embedder, bodies } = await endpoint(
    (_, response) => json(response, 500, { error: { message: 'secret detail' } }, { 'retry-after-ms': '1' }),
    { retriesMax: 1 },
  )
  await expect(embedder.embedQuery('a')).rejects.toMatchObject({
    code: 'unavailable',
    message: 'The embedding endpoint does not answer (HTTP 500).',
  })
  expect(bodies).toHaveLength(2)
})

test('does not try again what the endpoint refuses', async () => {
  const { embedder, bodies } = await endpoint((_, response) =>
    json(response, 401, { error: { message: 'no' } }),
  )
  await expect(embedder.embedQuery('a')).rejects.toMatchObject({ code: 'unavailable' })
  expect(bodies).toHaveLength(1)
})

test.each([
  ['too few numbers', [[1, 2]]],
  ['too many numbers', [[1, 2, 3, 4]]],
  ['too few vectors', []],
  [
    'too many vectors',
    [
      [1, 2, 3],
      [1, 2, 3],
    ],
  ],
  ['no direction', [[0, 0, 0]]],
  ['null for a number', [[1, null, 3]]],
  ['words for numbers', [[1, '2', 3]]],
  ['a number beyond 32 bits', [[1e300, 1, 1]]],
])('refuses an answer with %s', async (_, vectors) => {
  const { embedder } = await endpoint((_body, response) => answer(response, vectors))
  await expect(embedder.embedQuery('a')).rejects.toMatchObject({ code: 'wrong_answer' })
})

test('refuses an answer that names one vector twice', async () => {
  const { embedder, bodies } = await endpoint((body, response) =>
    json(response, 200, { data: body.input.map((text) => ({ index: 0, embedding: [text.length, 3, 4] })) }),
  )
  const [one, three] = await embedder.embedPassages(['a', 'abc'])
  // Each was asked for alone: by itself its answer is right.
  expect(bodies.map(({ input }) => input)).toEqual([['a', 'abc'], ['a', 'abc'], ['probe'], ['a'], ['abc']])
  expect([one?.[0], three?.[0]]).toEqual([
    expect.closeTo(1 / Math.hypot(1, 5)),
    expect.closeTo(3 / Math.hypot(3, 5)),
  ])
})

test('asks for its dimensions only where the model has others of its own', async () => {
  const { embedder, bodies } = await endpoint((body, response) =>
    answer(
      response,
      body.input.map(() => Array.from({ length: body.dimensions ?? 8 }, () => 1)),
    ),
  )
  await embedder.embedQuery('a')
  await embedder.embedQuery('b')
  expect(bodies.map((body) => body.dimensions)).toEqual([undefined, 3, 3])
})

test('gives up on an endpoint that is slower than the time-out', async () => {
  const { embedder } = await endpoint(() => undefined, { timeoutMs: 50, retriesMax: 0 })
  await expect(embedder.embedQuery('a')).rejects.toMatchObject({ code: 'unavailable' })
})

test('stops at once when aborted or closed, with the reason', async () => {
  const { embedder, bodies } = await endpoint(() => undefined)
  const stop = new AbortController()
  const query = expect(embedder.embedQuery('a', { signal: stop.signal })).rejects.toThrow('enough')
  await expect.poll(() => bodies.length).toBe(1)
  stop.abort(new Error('enough'))
  await query
  const passages = expect(embedder.embedPassages(['a'])).rejects.toMatchObject({ code: 'closed' })
  await expect.poll(() => bodies.length).toBe(2)
  await embedder[Symbol.asyncDispose]()
  await passages
  await expect(embedder.embedQuery('b')).rejects.toMatchObject({ code: 'closed' })
})

test('cuts what is longer than it reads at a whole character', async () => {
  const { embedder, bodies } = await endpoint(byText, { tokensMax: 12 })
  await embedder.embedQuery('🙂'.repeat(1000))
  await embedder.embedQuery('short')
  expect(bodies[0]?.input[0]).toBe('🙂'.repeat(7))
  expect(bodies[1]?.input[0]).toBe('short')
  expect(embedder.countTokens('🙂'.repeat(7))).toBeLessThanOrEqual(12)
})
