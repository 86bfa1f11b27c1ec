import { type Embedder, EmbeddingError, type EmbedOptions, type EmbedPassagesOptions } from './embedder.ts'
import { createPool, type Pool } from './pool.ts'
import { readTokens } from './tokens.ts'

export interface LocalEmbedderOptions {
  /** Folder with `model.onnx` and `tokenizer.json`, as `findWeights` gives it. */
  readonly folder: string
  /** Name to store with the vectors, as `findWeights` gives it. */
  readonly model: string
  /**
   * Worker threads, each with a session of its own (about 150 MB). Default 1; 2 embed nearly twice as fast.
   */
  readonly threads?: 1 | 2
}

/** all-MiniLM-L6-v2 was trained on 256 tokens; the positions behind are there but were never trained. */
const TOKENS_MAX = 256
/** Tokens a batch may have with its filling: bounds how long a query waits behind it, here about 60 ms. */
const BATCH_TOKENS_MAX = 256
const BATCH_TEXTS_MAX = 16

/**
 * Sentence embeddings on this machine: BERT tokens, mean pooling over the attention mask, length 1.
 * The work runs in worker threads; only what was not counted elsewhere is counted in the caller's.
 * Throws when the folder holds no model that onnxruntime can load.
 */
export async function createLocalEmbedder(options: LocalEmbedderOptions): Promise<Embedder> {
  const tokens = readTokens(options.folder)
  const startData = { folder: options.folder, tokensMax: TOKENS_MAX }
  const pool = await createPool({ start: startData, workers: options.threads ?? 1 })

  async function embedQuery(text: string, { signal }: EmbedOptions = {}): Promise<Float32Array> {
    const [vector] = await pool.submit([text], { urgent: true, ...(signal && { signal }) })
    if (vector === undefined) throw new EmbeddingError('wrong_answer', 'The model answered no vector.')
    return vector
  }

  return {
    model: options.model,
    dimensions: pool.dimensions,
    tokensMax: TOKENS_MAX,
    countTokens: tokens.count,
    counting: { kind: 'model', folder: options.folder },
    embedQuery,
    embedPassages: (texts, passageOptions) =>
      embedBatches(pool, texts, { countTokens: tokens.count, ...passageOptions }),
    [Symbol.asyncDispose]: () => pool.close(),
  }
}

async function embedBatches(
  pool: Pool,
  texts: readonly string[],
  {
    signal,
    onProgress,
    countTokens,
  }: EmbedPassagesOptions & Required<Pick<EmbedPassagesOptions, 'countTokens'>>,
): Promise<Float32Array[]> {
  signal?.throwIfAborted()
  const vectors: Float32Array[] = new Array(texts.length)
  const failed = new AbortController()
  const stop = signal ? AbortSignal.any([signal, failed.signal]) : failed.signal
  let doneCount = 0

  async function embedBatch(batch: readonly number[]): Promise<void> {
    const answers = await pool.submit(
      batch.map((index) => texts[index] ?? ''),
      { urgent: false, signal: stop },
    )
    for (const [position, index] of batch.entries()) {
      const vector = answers[position]
      if (vector === undefined)
        throw new EmbeddingError('wrong_answer', 'The model answered too few vectors.')
      vectors[index] = vector
    }
    doneCount += batch.length
    onProgress?.(doneCount)
  }

  try {
    await Promise.all(batches(texts.map((text) => Math.min(countTokens(text), TOKENS_MAX))).map(embedBatch))
  } catch (error) {
    failed.abort(error)
    throw error
  }
  return vectors
}

/** Groups texts of like length by index, so that little is spent on filling. */
export function batches(lengths: readonly number[]): number[][] {
  const order = [...lengths.keys()].sort((a, b) => (lengths[a] ?? 0) - (lengths[b] ?? 0))
  const groups: number[][] = []
  let group: number[] = []
  for (const index of order) {
    const width = lengths[index] ?? 0
    const full = group.length === BATCH_TEXTS_MAX || (group.length + 1) * width > BATCH_TOKENS_MAX
    if (full && group.length > 0) {
      groups.push(group)
      group = []
    }
    group.push(index)
  }
  if (group.length > 0) groups.push(group)
  return groups
}
