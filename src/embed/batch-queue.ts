import { realTimer, type Timer } from '../kernel/timer.ts'
import { EmbeddingError, type EmbedPassagesOptions } from './embedder.ts'

/** A text that waits for its vector. */
export interface Waiting {
  readonly text: string
  /** Of the text as the model reads it, which is cut at the model's limit. */
  readonly tokens: number
  /** What it adds to a request. 0 where nothing is sent. */
  readonly bytes: number
}

/** Texts that go together. A batch that is not full may get more if it waits. */
export interface Batch<T extends Waiting> {
  readonly items: readonly T[]
  readonly isFull: boolean
}

/**
 * Chooses the next batch: at least one text. `lines` has what waits for each caller, next in turn first; none
 * is empty.
 */
export type TakeBatch = <T extends Waiting>(lines: readonly (readonly T[])[]) => Batch<T>

/** What came of one text. An error is this text's alone. */
export type Outcome = Float32Array | EmbeddingError

/** How batches are made and run. */
export interface BatchQueueOptions {
  /** Batches under way at once, of all callers together. */
  readonly atOnce: number
  readonly take: TakeBatch
  /** One outcome for each text, in their order. A rejection is everybody's whose texts are in the batch. */
  readonly run: (texts: readonly string[], signal: AbortSignal) => Promise<readonly Outcome[]>
  /** Longest texts first within a caller; left out: in the caller's order. */
  readonly isLongestFirst?: boolean
  readonly tokensMax: number
  /** Defaults to none. */
  readonly bytesOf?: (text: string) => number
  /** How long a batch that is not full waits for more while another is under way. Defaults to 0. */
  readonly lingerMs?: number
  readonly timer?: Timer
}

/** Makes batches of what all callers wait for. */
export interface BatchQueue {
  /**
   * Vectors in the order of `texts`. Rejects as a whole: with the error of its first text that has one, with
   * the signal's reason at once when it fires. A text that stands there twice is embedded once.
   */
  embed(
    texts: readonly string[],
    options: EmbedPassagesOptions & Required<Pick<EmbedPassagesOptions, 'countTokens'>>,
  ): Promise<Float32Array[]>
  /** Rejects whoever waits, and all that come later. */
  close(reason: EmbeddingError): void
}

interface Item extends Waiting {
  readonly call: Call
  /** Where in the caller's texts it stands. */
  readonly positions: number[]
}

/** What one caller asked for. */
interface Call {
  waiting: Item[]
  readonly vectors: Float32Array[]
  doneCount: number
  isOver: boolean
  readonly onProgress: ((doneCount: number) => void) | undefined
  readonly resolve: (vectors: Float32Array[]) => void
  readonly reject: (reason: unknown) => void
}

interface Running {
  readonly items: readonly Item[]
  readonly stop: AbortController
}

/** What an endpoint takes in one call. */
export interface CallLimits {
  readonly inputs: number
  /** Of all inputs together, as {@link Embedder.countTokens} counts. */
  readonly tokens: number
  /** Of the inputs as they are sent. */
  readonly bytes: number
}

/**
 * Few enough for most endpoints that speak the API: OpenAI's takes 2,048 inputs and 300,000 tokens
 * (platform.openai.com/docs/api-reference/embeddings), common proxies a body of 1 MiB. An answer to 128
 * inputs has some megabytes.
 */
export const callLimitsDefault: CallLimits = { inputs: 128, tokens: 100_000, bytes: 1_000_000 }

/**
 * Callers take turns, so that one with many texts does not keep others waiting, and share batches, so that
 * many with few texts do not make many. What one caller aborts leaves the others alone: a batch under way is
 * stopped only once nobody waits for any of it.
 */
export function createBatchQueue({
  atOnce,
  take,
  run,
  isLongestFirst = false,
  tokensMax,
  bytesOf = () => 0,
  lingerMs = 0,
  timer = realTimer,
}: BatchQueueOptions): BatchQueue {
  /** Those with texts that wait, next in turn first. */
  let turns: Call[] = []
  const calls = new Set<Call>()
  const running = new Set<Running>()
  let isPlanned = false
  let callOff: (() => void) | undefined
  let closedBy: EmbeddingError | undefined

  /** Not at once: whoever asks in the same turn of the event loop shares the batch. */
  function plan(): void {
    if (isPlanned) return
    isPlanned = true
    setImmediate(() => {
      isPlanned = false
      pump(false)
    })
  }

  function pump(isDue: boolean): void {
    let mayBePart = isDue
    while (running.size < atOnce && turns.length > 0) {
      const batch = take(turns.map(({ waiting }) => waiting))
      if (!batch.isFull && !mayBePart && lingerMs > 0 && running.size > 0) {
        callOff ??= timer(lingerMs, () => {
          callOff = undefined
          pump(true)
        })
        return
      }
      mayBePart = false
      callOff?.()
      callOff = undefined
      void start(batch.items)
    }
  }

  async function start(items: readonly Item[]): Promise<void> {
    leaveLines(new Set(items))
    const batch: Running = { items, stop: new AbortController() }
    running.add(batch)
    try {
      const outcomes = await run(
        items.map(({ text }) => text),
        batch.stop.signal,
      )
      for (const [index, item] of items.entries()) settle(item, outcomes[index] ?? tooFew())
    } catch (error) {
      for (const { call } of items) end(call, () => call.reject(error))
    }
    running.delete(batch)
    pump(false)
  }

  /** Who was next in turn is the last now. */
  function leaveLines(takenItems: ReadonlySet<Item>): void {
    const [first, ...others] = turns
    const servedCalls = new Set([...takenItems].map(({ call }) => call))
    for (const call of servedCalls) call.waiting = call.waiting.filter((item) => !takenItems.has(item))
    turns = [...others, ...(first ? [first] : [])].filter(({ waiting }) => waiting.length > 0)
  }

  function settle({ call, positions }: Item, outcome: Outcome): void {
    if (call.isOver) return
    if (outcome instanceof Error) return end(call, () => call.reject(outcome))
    for (const position of positions) call.vectors[position] = outcome
    call.doneCount += positions.length
    try {
      call.onProgress?.(call.doneCount)
    } catch (error) {
      // Its own mistake: others share the batch.
      return end(call, () => call.reject(error))
    }
    if (call.doneCount === call.vectors.length) end(call, () => call.resolve(call.vectors))
  }

  function end(call: Call, tell: () => void): void {
    if (call.isOver) return
    call.isOver = true
    calls.delete(call)
    call.waiting = []
    turns = turns.filter((other) => other !== call)
    tell()
    for (const { items, stop } of running) if (items.every((item) => item.call.isOver)) stop.abort()
  }

  return {
    async embed(texts, { signal, onProgress, countTokens }) {
      signal?.throwIfAborted()
      if (closedBy) throw closedBy
      if (texts.length === 0) return []
      const { promise, resolve, reject } = Promise.withResolvers<Float32Array[]>()
      const vectors: Float32Array[] = new Array(texts.length)
      const call: Call = { waiting: [], vectors, doneCount: 0, isOver: false, onProgress, resolve, reject }
      const items = new Map<string, Item>()
      for (const [position, text] of texts.entries()) {
        const item = items.get(text)
        if (item) item.positions.push(position)
        else {
          const tokens = Math.min(countTokens(text), tokensMax)
          items.set(text, { call, text, tokens, bytes: bytesOf(text), positions: [position] })
        }
      }
      call.waiting = [...items.values()]
      if (isLongestFirst) call.waiting.sort((a, b) => b.tokens - a.tokens)
      calls.add(call)
      turns.push(call)
      plan()
      const leave = (): void => end(call, () => reject(signal?.reason))
      signal?.addEventListener('abort', leave, { once: true })
      try {
        return await promise
      } finally {
        signal?.removeEventListener('abort', leave)
      }
    },
    close(reason) {
      closedBy ??= reason
      for (const call of [...calls]) end(call, () => call.reject(reason))
      callOff?.()
      callOff = undefined
    },
  }
}

const tooFew = (): EmbeddingError => new EmbeddingError('wrong_answer', 'The model answered too few vectors.')

/**
 * As many as one call may have, whichever limit is met first; one that alone is over a limit goes alone.
 * `limits` is asked each time.
 */
export const takeWithin =
  (limits: () => CallLimits): TakeBatch =>
  <T extends Waiting>(lines: readonly (readonly T[])[]): Batch<T> => {
    const { inputs, tokens, bytes } = limits()
    const items: T[] = []
    let tokensTaken = 0
    let bytesTaken = 0
    for (const line of lines) {
      for (const item of line) {
        tokensTaken += item.tokens
        bytesTaken += item.bytes
        const fits = items.length < inputs && tokensTaken <= tokens && bytesTaken <= bytes
        if (!fits && items.length > 0) return { items, isFull: true }
        items.push(item)
      }
    }
    return { items, isFull: items.length >= inputs }
  }
