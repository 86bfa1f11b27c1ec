import { createHash } from 'node:crypto'
import { readFile } from 'node:fs/promises'
import { join } from 'node:path'
import { type Embedder, normalize } from '../embed/embedder.ts'

const keyBytes = 16

/**
 * An embedder that has the vectors of the sample's passages from `vectors/MODEL` of the sample's folder,
 * where its model's are there: reading those passages is the longest part of a first start. Texts of which
 * one is not the sample's go to `embedder` as they are. Numbers are rounded to 255 steps. Does NOT check the
 * file.
 */
export async function withSampleVectors(embedder: Embedder, dir: string): Promise<Embedder> {
  const { model, dimensions } = embedder
  const stored = await readFile(join(dir, 'vectors', model)).catch((error: unknown) => {
    if (error instanceof Error && 'code' in error && error.code === 'ENOENT') return undefined
    throw error
  })
  if (stored === undefined) return embedder
  const vectors = readVectors(stored, dimensions)
  return {
    ...embedder,
    async embedPassages(texts, options) {
      const known = texts.map((text) => vectors.get(keyOf(text)))
      return known.every((vector) => vector !== undefined) ? known : embedder.embedPassages(texts, options)
    },
  }
}

function readVectors(stored: Buffer, dimensions: number): Map<string, Float32Array> {
  const vectors = new Map<string, Float32Array>()
  for (let at = 0; at < stored.length; at += keyBytes + dimensions) {
    const key = stored.toString('hex', at, at + keyBytes)
    const numbers = Float32Array.from({ length: dimensions }, (_, index) =>
      stored.readInt8(at + keyBytes + index),
    )
    vectors.set(key, normalize(numbers))
  }
  return vectors
}

/** What a text's vector is found by: the first half of its SHA-256, in hex. */
export const keyOf = (text: string): string =>
  createHash('sha256')
    .update(text)
    .digest('hex')
    .slice(0, 2 * keyBytes)
