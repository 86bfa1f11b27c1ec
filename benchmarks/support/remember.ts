import { readFile, writeFile } from 'node:fs/promises'
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

interface Line {
  readonly text: string
  /** Base64 of 32-bit floats. */
  readonly vector: string
}

/** Vectors that an earlier run kept in this file; none where there is no file yet, or no name. */
export async function readVectors(path: string | undefined): Promise<Map<string, Float32Array>> {
  const text = path === undefined ? '' : await readFile(path, 'utf8').catch(() => '')
  const lines = text.split('\n').filter((line) => line !== '')
  return new Map(
    lines.map((line) => {
      const { text: passage, vector } = JSON.parse(line) as Line
      return [passage, new Float32Array(Uint8Array.from(Buffer.from(vector, 'base64')).buffer)]
    }),
  )
}

export async function writeVectors(
  path: string | undefined,
  vectors: ReadonlyMap<string, Float32Array>,
): Promise<void> {
  if (path === undefined) return
  const lines = [...vectors].map(([text, { buffer, byteOffset, byteLength }]) =>
    JSON.stringify({ text, vector: Buffer.from(buffer, byteOffset, byteLength).toString('base64') }),
  )
  await writeFile(path, `${lines.join('\n')}\n`)
}
