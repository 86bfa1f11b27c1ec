import { type Batch, createBatchQueue, type Outcome, type TakeBatch, type Waiting } from './batch-queue.ts'
import { type Embedder, EmbeddingError, type EmbedOptions } from './embedder.ts'
import { createPool } from './pool.ts'
import { readTokens } from './tokens.ts'

export interface LocalEmbedderOptions {
  /** Folder with `model.onnx` and `tokenizer.json`, as `findWeights` gives it. */
  readonly folder: string
  /** Name to store with the vectors, as `findWeights` gives it. */
  readonly model: string
  /**
   * Worker threads at most, each with a session of its own (about 190 MB). Default 1; 2 embed nearly twice as
   * fast. The second runs while there is work for it.
   */
  readonly threads?: 1 | 2
}

/** all-MiniLM-L6-v2 was trained on 256 tokens; the positions behind are there but were never trained. */
const TOKENS_MAX = 256
/** Tokens a batch may have with its filling: bounds how long a query waits behind it, here about 60 ms. */
const BATCH_TOKENS_MAX = 256
const BATCH_TEXTS_MAX = 16
/** A batch that is ready when a thread gets free, so that none waits for this one. */
const BATCHES_AHEAD = 1

/**
 * Sentence embeddings on this machine: BERT tokens, mean pooling over the attention mask, length 1.
 * The work runs in worker threads; only what was not counted elsewhere is counted in the caller's.
 * Throws when the folder holds no model that onnxruntime can load.
 */
export async function createLocalEmbedder(options: LocalEmbedderOptions): Promise<Embedder> {
  const tokens = readTokens(options.folder)
  const startData = { folder: options.folder, tokensMax: TOKENS_MAX }
  const { threads = 1 } = options
  const pool = await createPool({ start: startData, workers: threads })
  const queue = createBatchQueue({
    atOnce: threads + BATCHES_AHEAD,
    take: takeAlike,
    isLongestFirst: true,
    tokensMax: TOKENS_MAX,
    run: eachAloneAtWorst((texts, signal) => pool.submit(texts, { urgent: false, signal })),
  })

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
    embedPassages: (texts, passagesOptions) =>
      queue.embed(texts, { countTokens: tokens.count, ...passagesOptions }),
    async [Symbol.asyncDispose]() {
      queue.close(new EmbeddingError('closed', 'The embedder is closed.'))
      await pool.close()
    },
  }
}

type Submit = (texts: readonly string[], signal: AbortSignal) => Promise<readonly Outcome[]>

/** A batch that fails is tried text by text: what one caller sent never costs the others' vectors. */
export const eachAloneAtWorst =
  (submit: Submit): Submit =>
  async (texts, signal) => {
    try {
      return await submit(texts, signal)
    } catch (error) {
      if (texts.length === 1 || !(error instanceof EmbeddingError) || error.code === 'closed') throw error
      const alone = async (text: string): Promise<Outcome> => {
        const [outcome] = await submit([text], signal)
        return outcome ?? new EmbeddingError('wrong_answer', 'The model answered no vector.')
      }
      const outcomes = await Promise.allSettled(texts.map(alone))
      return outcomes.map((result) => {
        if (result.status === 'fulfilled') return result.value
        if (result.reason instanceof EmbeddingError) return result.reason
        throw result.reason
      })
    }
  }

/**
 * Texts of like length, so that little is spent on filling: the longest of who is next in turn, and with it
 * the longest of all that are no longer, and at least half as long.
 */
export const takeAlike: TakeBatch = <T extends Waiting>(lines: readonly (readonly T[])[]): Batch<T> => {
  const longest = lines[0]?.[0]
  if (longest === undefined) return { items: [], isFull: true }
  const { tokens: width } = longest
  const others = Math.min(BATCH_TEXTS_MAX, Math.floor(BATCH_TOKENS_MAX / width)) - 1
  if (others <= 0) return { items: [longest], isFull: true }
  const alike = lines.flatMap((line) => {
    const start = firstWithin(line, width)
    return line.slice(start, start + others + 1).filter(({ tokens }) => tokens >= width / 2)
  })
  const items = alike.filter((item) => item !== longest).sort((a, b) => b.tokens - a.tokens)
  return { items: [longest, ...items.slice(0, others)], isFull: true }
}

/** Where in a line, longest first, texts of at most `width` tokens begin. */
function firstWithin(line: readonly Waiting[], width: number): number {
  let low = 0
  let high = line.length
  while (low < high) {
    const middle = (low + high) >> 1
    if ((line[middle]?.tokens ?? 0) > width) low = middle + 1
    else high = middle
  }
  return low
}
