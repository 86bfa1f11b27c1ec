import { createServer, type IncomingMessage, type ServerResponse } from 'node:http'
import type { AddressInfo } from 'node:net'
import { afterEach, expect, test } from 'vitest'
import { createRemoteEmbedder, type RemoteEmbedderOptions } from '../../src/embed/remote.ts'

interface Body {
  readonly model: string
  readonly input: readonly string[]
  readonly dimensions?: number
  readonly encoding_format: string
}
type Handler = (body: Body, response: ServerResponse, request: IncomingMessage) => void

const closers: (() => Promise<void>)[] = []
afterEach(async () => {
  for (const close of closers.splice(0)) await close()
})

/** A real HTTP server on loopback that speaks `POST /v1/embeddings`. */
async function endpoint(handler: Handler, options: Partial<RemoteEmbedderOptions> = {}) {
  const bodies: Body[] = []
  const server = createServer((request, response) => {
    const parts: Buffer[] = []
    request.on('data', (part: Buffer) => parts.push(part))
    request.on('end', () => {
      const body: Body = JSON.parse(Buffer.concat(parts).toString())
      bodies.push(body)
      if (request.url !== '/v1/embeddings') response.writeHead(404).end()
      else handler(body, response, request)
    })
  })
  await new Promise<void>((resolve) => server.listen(0, '127.0.0.1', resolve))
  const { port } = server.address() as AddressInfo
  const embedder = createRemoteEmbedder({
    baseUrl: `http://127.0.0.1:${port}/v1`,
    model: 'double',
    dimensions: 3,
    ...options,
  })
  closers.push(async () => {
    await embedder[Symbol.asyncDispose]()
    server.closeAllConnections()
    await new Promise((resolve) => server.close(resolve))
  })
  return { embedder, bodies }
}

const json = (response: ServerResponse, status: number, value: unknown, headers = {}) =>
  response.writeHead(status, { 'content-type': 'application/json', ...headers }).end(JSON.stringify(value))

const answer = (response: ServerResponse, vectors: readonly (readonly unknown[])[]) =>
  json(response, 200, {
    object: 'list',
    model: 'double',
    data: vectors.map((embedding, index) => ({ object: 'embedding', index, embedding })),
    usage: { prompt_tokens: 1, total_tokens: 1 },
  })

/** One number of each vector tells which text it is for. */
const byText: Handler = (body, response) =>
  answer(
    response,
    body.input.map((text) => [text.length, 3, 4]),
  )

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
  const { embedder, bodies } = await endpoint((body, response) => {
    const data = body.input.map((text, index) => ({ index, embedding: [text.length, 3, 4] }))
    json(response, 200, { data: data.reverse() })
  })
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
  const { embedder } = await endpoint((body, response) =>
    json(response, 200, { data: body.input.map(() => ({ index: 0, embedding: [1, 2, 3] })) }),
  )
  await expect(embedder.embedPassages(['a', 'b'])).rejects.toMatchObject({ code: 'wrong_answer' })
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
