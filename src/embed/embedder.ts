import type { Counting } from './counting.ts'

/** Turns text into vectors. One for the whole service; closing it ends its threads or connections. */
export interface Embedder extends AsyncDisposable {
  /** Name and size are stored with the vectors; a mismatch refuses to start. */
  readonly model: string
  readonly dimensions: number
  /** Longest input in tokens that the model reads; what is longer is cut there. */
  readonly tokensMax: number
  /**
   * Tokens of `text` as the model reads it, its own marks ([CLS], [SEP]) included, before any cut.
   * Exact for the local model. For a remote one an estimate that errs on the high side for prose in
   * any script: UTF-8 bytes / 3, since its tokenizer is not known here.
   */
  countTokens(text: string): number
  /** The same for a thread that has no embedder. */
  readonly counting: Counting
  /**
   * A vector of length 1. Goes ahead of passages that wait. Rejects with the signal's reason when aborted.
   */
  embedQuery(text: string, options?: EmbedOptions): Promise<Float32Array>
  /**
   * Vectors of length 1, in the order of `texts`. Rejects as a whole: there is no half answer. Callers share
   * batches: ask for the texts of each document by itself, and what a model does not take of one document is
   * that caller's error alone.
   */
  embedPassages(texts: readonly string[], options?: EmbedPassagesOptions): Promise<Float32Array[]>
}

export interface EmbedOptions {
  readonly signal?: AbortSignal
}

export interface EmbedPassagesOptions extends EmbedOptions {
  /** Called with the number of texts done so far. */
  readonly onProgress?: (doneCount: number) => void
  /**
   * What is known of the texts' tokens, where they were counted elsewhere. Left out: they are counted in this
   * thread.
   */
  readonly countTokens?: (text: string) => number
}

/**
 * `unavailable`: the model or its endpoint does not answer; another try may do.
 * `refused`: the endpoint takes other texts, and not this one.
 * `wrong_answer`: it answered something that is no vector of ours (size, count, not finite); stop and look.
 * `closed`: the embedder was closed.
 */
export class EmbeddingError extends Error {
  readonly code: 'unavailable' | 'refused' | 'wrong_answer' | 'closed'

  constructor(code: EmbeddingError['code'], message: string, cause?: unknown) {
    super(message, { cause })
    this.name = 'EmbeddingError'
    this.code = code
  }
}

/** Scales to length 1, so that the inner product is the cosine. A vector that has no direction is refused. */
export function normalize(vector: Float32Array): Float32Array {
  let sum = 0
  for (const value of vector) sum += value * value
  const length = Math.sqrt(sum)
  if (!Number.isFinite(length) || length === 0) {
    throw new EmbeddingError('wrong_answer', 'The model answered a vector that has no direction.')
  }
  return vector.map((value) => value / length)
}
