import type { Embedder } from '../../src/embed/embedder.ts'

/**
 * Keeps the vectors of passages, so that the same documents on another backend need not wait for the model
 * again. `vectors` is the caller's to share; it grows by 1.5 kB a passage.
 */
export function remembering(embedder: Embedder, vectors: Map<string, Float32Array>): Embedder {
  return {
    ...embedder,
    async embedPassages(texts, options) {
      const missing = [...new Set(texts.filter((text) => !vectors.has(text)))]
      const made = missing.length === 0 ? [] : await embedder.embedPassages(missing, options)
      for (const [index, text] of missing.entries()) {
        const vector = made[index]
        if (vector !== undefined) vectors.set(text, vector)
      }
      return texts.map((text) => {
        const vector = vectors.get(text)
        if (vector === undefined) throw new Error('The model answered too few vectors.')
        return vector
      })
    },
  }
}
