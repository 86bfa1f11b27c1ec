import OpenAI, { APIUserAbortError } from 'openai'
import { type Counting, createCounter } from './counting.ts'
import {
  type Embedder,
  EmbeddingError,
  type EmbedOptions,
  type EmbedPassagesOptions,
  normalize,
} from './embedder.ts'

export interface RemoteEmbedderOptions {
  /** Of any endpoint that speaks OpenAI's `POST {baseUrl}/embeddings`. */
  readonly baseUrl: string
  readonly model: string
  /** Length that every vector must have. Asked for with `dimensions` only where the model's own differs. */
  readonly dimensions: number
  /** Sent as bearer token. A local endpoint without keys gets the word `none`. */
  readonly apiKey?: string
  /** Longest passage in tokens; also the size of chunks. Default 512: longer ones make vague vectors. */
  readonly tokensMax?: number
  /** Further tries after 408, 409, 429, 5xx and broken connections, with growing pauses. Default 3. */
  readonly retriesMax?: number
  /** For one try. Default 30000. */
  readonly timeoutMs?: number
}

const BATCH_TEXTS_MAX = 64
/** Batches under way at once for one import, so that its waiting overlaps without flooding the endpoint. */
const BATCHES_AT_ONCE = 2
const BYTES_PER_TOKEN = 3

/**
 * Embeddings from an OpenAI-compatible endpoint. Every answer is checked: count, length, finite numbers.
 * Sends text outside this machine. Does NOT know the model's tokenizer: see `Embedder.countTokens`.
 */
export function createRemoteEmbedder(options: RemoteEmbedderOptions): Embedder {
  const { model, dimensions, tokensMax = 512 } = options
  const client = createClient(options)
  const closing = new AbortController()
  let asksDimensions: boolean | undefined

  async function embed(texts: readonly string[], signal: AbortSignal): Promise<Float32Array[]> {
    if (asksDimensions !== undefined) return request(texts, asksDimensions, signal)
    // Some endpoints refuse `dimensions`, others need it: the first answer shows which.
    try {
      const vectors = await request(texts, false, signal)
      asksDimensions = false
      return vectors
    } catch (error) {
      if (!(error instanceof EmbeddingError && error.code === 'wrong_answer')) throw error
      const vectors = await request(texts, true, signal)
      asksDimensions = true
      return vectors
    }
  }

  async function request(
    texts: readonly string[],
    asks: boolean,
    signal: AbortSignal,
  ): Promise<Float32Array[]> {
    try {
      const answer = await client.embeddings.create(
        {
          model,
          input: texts.map((text) => cut(text, tokensMax)),
          encoding_format: 'float',
          ...(asks && { dimensions }),
        },
        { signal },
      )
      return readVectors(answer, texts.length, dimensions)
    } catch (error) {
      throw asEmbeddingError(error, signal)
    }
  }

  const withClosing = (signal: AbortSignal | undefined): AbortSignal =>
    signal ? AbortSignal.any([signal, closing.signal]) : closing.signal

  return {
    model,
    dimensions,
    tokensMax,
    countTokens: createCounter(counting),
    counting,
    async embedQuery(text: string, { signal }: EmbedOptions = {}) {
      const [vector] = await embed([text], withClosing(signal))
      if (vector === undefined) throw new EmbeddingError('wrong_answer', 'The endpoint answered no vector.')
      return vector
    },
    embedPassages: (texts, { signal, onProgress }: EmbedPassagesOptions = {}) =>
      inBatches(texts, withClosing(signal), embed, onProgress),
    async [Symbol.asyncDispose]() {
      closing.abort(new EmbeddingError('closed', 'The embedder is closed.'))
    },
  }
}

/**
 * Everything that the client would otherwise read from the environment is given, so that settings have one
 * door.
 */
function createClient(options: RemoteEmbedderOptions): OpenAI {
  return new OpenAI({
    baseURL: options.baseUrl,
    apiKey: options.apiKey ?? 'none',
    organization: null,
    project: null,
    webhookSecret: null,
    logLevel: 'off',
    maxRetries: options.retriesMax ?? 3,
    timeout: options.timeoutMs ?? 30_000,
  })
}

async function inBatches(
  texts: readonly string[],
  signal: AbortSignal,
  embed: (texts: readonly string[], signal: AbortSignal) => Promise<Float32Array[]>,
  onProgress: ((doneCount: number) => void) | undefined,
): Promise<Float32Array[]> {
  const vectors: Float32Array[] = new Array(texts.length)
  const failed = new AbortController()
  const stop = AbortSignal.any([signal, failed.signal])
  let nextIndex = 0
  let doneCount = 0

  async function runBatches(): Promise<void> {
    while (nextIndex < texts.length) {
      const startIndex = nextIndex
      nextIndex += BATCH_TEXTS_MAX
      const batch = await embed(texts.slice(startIndex, nextIndex), stop)
      for (const [position, vector] of batch.entries()) vectors[startIndex + position] = vector
      doneCount += batch.length
      onProgress?.(doneCount)
    }
  }

  try {
    await Promise.all(Array.from({ length: BATCHES_AT_ONCE }, runBatches))
  } catch (error) {
    failed.abort(error)
    throw error
  }
  return vectors
}

function readVectors(answer: unknown, count: number, dimensions: number): Float32Array[] {
  const entries = typeof answer === 'object' && answer !== null && 'data' in answer ? answer.data : undefined
  if (!Array.isArray(entries) || entries.length !== count) {
    throw new EmbeddingError('wrong_answer', `The endpoint did not answer ${count} vectors.`)
  }
  const vectors: (Float32Array | undefined)[] = new Array(count).fill(undefined)
  for (const [position, entry] of entries.entries())
    vectors[indexOf(entry, position)] = readVector(entry, dimensions)
  return vectors.map((vector) => {
    if (vector === undefined)
      throw new EmbeddingError('wrong_answer', 'The endpoint answered one vector twice.')
    return vector
  })
}

/** Answers may come in another order than the question, each with its `index`. */
function indexOf(entry: unknown, position: number): number {
  const index = typeof entry === 'object' && entry !== null && 'index' in entry ? entry.index : position
  return typeof index === 'number' ? index : position
}

function readVector(entry: unknown, dimensions: number): Float32Array {
  const numbers =
    typeof entry === 'object' && entry !== null && 'embedding' in entry ? entry.embedding : undefined
  if (!Array.isArray(numbers) || numbers.length !== dimensions) {
    const size = Array.isArray(numbers) ? `${numbers.length} numbers` : 'no list of numbers'
    throw new EmbeddingError(
      'wrong_answer',
      `The endpoint answered ${size}, not the ${dimensions} that are set.`,
    )
  }
  if (!numbers.every((value) => typeof value === 'number' && Number.isFinite(value))) {
    throw new EmbeddingError('wrong_answer', 'The endpoint answered something that is no number.')
  }
  return normalize(Float32Array.from(numbers))
}

function asEmbeddingError(error: unknown, signal: AbortSignal): unknown {
  if (error instanceof EmbeddingError) return error
  if (error instanceof APIUserAbortError || signal.aborted) return signal.reason
  // A 4xx names the key or the text in its message: said by status only.
  const status =
    error instanceof OpenAI.APIError && error.status !== undefined ? ` (HTTP ${error.status})` : ''
  return new EmbeddingError('unavailable', `The embedding endpoint does not answer${status}.`, error)
}

const counting: Counting = { kind: 'estimate', of: 'bytes', perToken: BYTES_PER_TOKEN, marks: 2 }

/** Cuts by the same estimate, at a whole character: an endpoint refuses what is too long for its model. */
function cut(text: string, tokensMax: number): string {
  const bytesMax = (tokensMax - 2) * BYTES_PER_TOKEN
  if (text.length * 3 <= bytesMax || Buffer.byteLength(text) <= bytesMax) return text
  const { read } = new TextEncoder().encodeInto(text, new Uint8Array(bytesMax))
  return text.slice(0, read)
}
