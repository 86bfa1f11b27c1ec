import { createHash } from 'node:crypto'
import { type Counting, createCounter } from '../../src/embed/counting.ts'
import { type Embedder, normalize } from '../../src/embed/embedder.ts'

const dimensions = 384
const counting: Counting = { kind: 'estimate', of: 'characters', perToken: 4, marks: 2 }

/**
 * A deterministic embedder for machines without the model: words hashed to places of a vector. Near means
 * "shares words", which is enough to test what may be found; it says nothing of search quality.
 */
export function createWordEmbedder(): Embedder {
  const embed = (text: string): Float32Array => {
    const vector = new Float32Array(dimensions)
    // So that a text without words has a direction too.
    vector[0] = 0.01
    for (const word of text.toLowerCase().match(/[a-z0-9]+/g) ?? []) {
      const digest = createHash('sha256').update(word).digest()
      const place = digest.readUInt16BE(0) % dimensions
      vector[place] = (vector[place] ?? 0) + 1
    }
    return normalize(vector)
  }
  return {
    model: 'test-words',
    dimensions,
    tokensMax: 256,
    countTokens: createCounter(counting),
    counting,
    embedQuery: async (text) => embed(text),
    embedPassages: async (texts) => texts.map(embed),
    [Symbol.asyncDispose]: async () => undefined,
  }
}
