import OpenAI from 'openai'
import { ownElapsed } from '../kernel/elapsed.ts'
import type { Timer } from '../kernel/timer.ts'
import { type Backoff, createBackoff } from './backoff.ts'
import {
  type CallLimits,
  callLimitsDefault,
  createBatchQueue,
  type Outcome,
  takeWithin,
} from './batch-queue.ts'
import { type Counting, createCounter } from './counting.ts'
import { type Embedder, EmbeddingError, type EmbedOptions, type EmbedPassagesOptions } from './embedder.ts'
import { CallFailure, isolate, readVectors } from './isolate.ts'

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
  /** Of one call. What is left out is {@link callLimitsDefault}'s. */
  readonly limits?: Partial<CallLimits>
  /** Further tries after 408, 409, 429, 5xx and broken connections, with growing pauses. Default 3. */
  readonly retriesMax?: number
  /** For one try. Default 30000. */
  readonly timeoutMs?: number
  /** Of the pauses, and of what a call that is not full waits for. Keeps the process up by default. */
  readonly timer?: Timer
  /** Milliseconds. Defaults to `Date.now`. */
  readonly now?: () => number
  /** By which a pause is over, in milliseconds. Default: this process's (kernel/elapsed.ts). */
  readonly elapsed?: () => number
  /** From 0 to 1. Defaults to `Math.random`. */
  readonly random?: () => number
}

/** Calls for passages under way at once, of all callers: their waiting overlaps and floods nobody. */
const callsAtOnce = 4
/** How long a call that is not full waits for more texts while another is under way. */
const lingerMs = 100
/** Whoever asks does not wait for longer than some seconds. */
const questionPauseMsMax = 2_000
const passagePauseMsMax = 30_000
/** Fewer inputs a call are not learned: that would let a few bad answers make every call small. */
const inputsLearnedMin = 8
const probe = 'probe'
const BYTES_PER_TOKEN = 3

/**
 * Embeddings from an OpenAI-compatible endpoint. Every answer is checked: count, length, finite numbers.
 * Passages of all callers share calls, pauses and tries. A question has a call of its own: it waits for no
 * passage, only where a question was told to wait. Sends text outside this machine. Does NOT know the model's
 * tokenizer: see `Embedder.countTokens`.
 */
export function createRemoteEmbedder(options: RemoteEmbedderOptions): Embedder {
  const { model, dimensions, tokensMax = 512, retriesMax = 3, timer = keepingTimer } = options
  const { elapsed = ownElapsed, random = Math.random } = options
  const pauses = { failuresMax: retriesMax, elapsed, timer, random }
  const passages = createBackoff({ ...pauses, pauseMsMax: passagePauseMsMax })
  const questions = createBackoff({ ...pauses, pauseMsMax: questionPauseMsMax })
  const request = createRequest(options, tokensMax)
  const closing = new AbortController()
  let limits: CallLimits = { ...callLimitsDefault, ...options.limits }

  /** With its tries; a failure is a {@link CallFailure}. */
  async function ask(
    backoff: Backoff,
    texts: readonly string[],
    signal: AbortSignal,
    retries = retriesMax,
  ): Promise<Outcome[]> {
    for (let attempt = 0; ; attempt++) {
      try {
        return await inTurn(backoff, () => request(texts, signal), { signal })
      } catch (error) {
        if (!(error instanceof CallFailure)) throw error
        if (backoff === questions && error.retryAfterMs !== undefined) passages.hold(error.retryAfterMs)
        if (!error.passes || attempt >= retries) throw error
      }
    }
  }

  async function isWell(signal: AbortSignal): Promise<boolean> {
    try {
      const [outcome] = await inTurn(passages, () => request([probe], signal), { signal, isProbe: true })
      return outcome instanceof Float32Array
    } catch (error) {
      if (error instanceof CallFailure) return false
      throw error
    }
  }

  const queue = createBatchQueue({
    atOnce: callsAtOnce,
    take: takeWithin(() => limits),
    tokensMax,
    bytesOf: (text) => Buffer.byteLength(JSON.stringify(text)) + 1,
    lingerMs,
    timer,
    run: (texts, signal) =>
      isolate(texts, {
        ask: (part) => ask(passages, part, signal),
        askOnce: (part) => ask(passages, part, signal, 0),
        isWell: () => isWell(signal),
        tooMany: (count) => {
          const inputs = Math.min(limits.inputs, Math.max(inputsLearnedMin, count))
          limits = { ...limits, inputs }
        },
      }),
  })
  const countTokens = createCounter(counting)

  return {
    model,
    dimensions,
    tokensMax,
    countTokens,
    counting,
    async embedQuery(text: string, { signal }: EmbedOptions = {}) {
      const stop = signal ? AbortSignal.any([signal, closing.signal]) : closing.signal
      const [outcome] = await ask(questions, [text], stop).catch((error: unknown) => {
        throw error instanceof CallFailure ? error.reason : error
      })
      if (outcome instanceof Float32Array) return outcome
      throw outcome ?? new EmbeddingError('wrong_answer', 'The endpoint answered no vector.')
    },
    embedPassages: (texts, passagesOptions: EmbedPassagesOptions = {}) =>
      queue.embed(texts, { countTokens, ...passagesOptions }),
    async [Symbol.asyncDispose]() {
      const reason = new EmbeddingError('closed', 'The embedder is closed.')
      closing.abort(reason)
      queue.close(reason)
    },
  }
}

/** One call when it may go. What comes of it tells all other callers how the endpoint is. */
async function inTurn(
  backoff: Backoff,
  send: () => Promise<Outcome[]>,
  { signal, isProbe = false }: { readonly signal: AbortSignal; readonly isProbe?: boolean },
): Promise<Outcome[]> {
  const turn = await backoff.turn(signal, isProbe)
  try {
    const outcomes = await send()
    backoff.answered(turn)
    return outcomes
  } catch (error) {
    if (!(error instanceof CallFailure)) backoff.stopped()
    else if (error.passes) backoff.failed(turn, error.retryAfterMs)
    else backoff.answered(turn)
    throw error
  }
}

/** Sends texts once. Rejects with {@link CallFailure}, or with the signal's reason. */
function createRequest(
  options: RemoteEmbedderOptions,
  tokensMax: number,
): (texts: readonly string[], signal: AbortSignal) => Promise<Outcome[]> {
  const { model, dimensions } = options
  const client = createClient(options)
  let asksDimensions: boolean | undefined

  async function send(texts: readonly string[], asks: boolean, signal: AbortSignal): Promise<Outcome[]> {
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
      if (signal.aborted) throw signal.reason
      throw asFailure(error, options.now ?? Date.now)
    }
  }

  return async (texts, signal) => {
    if (asksDimensions !== undefined) return send(texts, asksDimensions, signal)
    // Some endpoints refuse `dimensions`, others need it: the first answer shows which.
    try {
      const outcomes = await send(texts, false, signal)
      asksDimensions = false
      return outcomes
    } catch (error) {
      if (!(error instanceof CallFailure && error.reason.code === 'wrong_answer')) throw error
      const outcomes = await send(texts, true, signal)
      asksDimensions = true
      return outcomes
    }
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
    maxRetries: 0,
    timeout: options.timeoutMs ?? 30_000,
  })
}

/** What an endpoint says of what stands in a request, or of how much; 500 where it stumbles over it. */
const ofTexts = new Set([400, 413, 422, 500])
/** And all that are 5xx. */
const passing = new Set([408, 409, 429])

function asFailure(error: unknown, now: () => number): CallFailure {
  if (error instanceof EmbeddingError) return new CallFailure(error, { passes: false, isOfTexts: 'known' })
  const { status, headers } = error instanceof OpenAI.APIError ? error : {}
  // A 4xx names the key or the text in its message: said by status only.
  const statusText = status === undefined ? '' : ` (HTTP ${status})`
  const reason = new EmbeddingError(
    'unavailable',
    `The embedding endpoint does not answer${statusText}.`,
    error,
  )
  // A call that breaks off or takes too long may have too much in it.
  if (status === undefined) return new CallFailure(reason, { passes: true, isOfTexts: 'perhaps' })
  const passes = passing.has(status) || status >= 500
  const retryAfterMs = passes ? readRetryAfter(headers, now) : undefined
  return new CallFailure(reason, {
    passes,
    isOfTexts: ofTexts.has(status) ? 'known' : 'no',
    ...(retryAfterMs !== undefined && { retryAfterMs }),
  })
}

/** RFC 9110 §10.2.3, seconds or a date; some endpoints also tell milliseconds. */
function readRetryAfter(headers: Headers | undefined, now: () => number): number | undefined {
  const milliseconds = Number.parseFloat(headers?.get('retry-after-ms') ?? '')
  if (milliseconds >= 0) return milliseconds
  const retryAfter = headers?.get('retry-after') ?? ''
  const seconds = Number.parseFloat(retryAfter)
  if (seconds >= 0) return seconds * 1_000
  const until = Date.parse(retryAfter)
  return Number.isNaN(until) ? undefined : Math.max(0, until - now())
}

/** A pause of ours must not let a command end. */
const keepingTimer: Timer = (ms, then) => {
  const timer = setTimeout(then, ms)
  return () => clearTimeout(timer)
}

const counting: Counting = { kind: 'estimate', of: 'bytes', perToken: BYTES_PER_TOKEN, marks: 2 }

/** Cuts by the same estimate, at a whole character: an endpoint refuses what is too long for its model. */
function cut(text: string, tokensMax: number): string {
  const bytesMax = (tokensMax - 2) * BYTES_PER_TOKEN
  if (text.length * 3 <= bytesMax || Buffer.byteLength(text) <= bytesMax) return text
  const { read } = new TextEncoder().encodeInto(text, new Uint8Array(bytesMax))
  return text.slice(0, read)
}
