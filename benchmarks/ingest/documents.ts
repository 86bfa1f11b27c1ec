import { readFileSync } from 'node:fs'
import { join } from 'node:path'
import { gunzipSync } from 'node:zlib'

/**
 * Texts of the `count` shortest Kubernetes documents of at least so many characters, no text twice, shortest
 * first.
 */
export function readDocuments(shared: string, count: number, charactersMin: number): readonly string[] {
  const packed = readFileSync(join(shared, 'data/kubernetes/documents.jsonl.gz'))
  const texts = gunzipSync(packed)
    .toString()
    .trim()
    .split('\n')
    .map((line) => (JSON.parse(line) as { readonly text: string }).text)
    .filter(({ length }) => length >= charactersMin)
    .sort((a, b) => a.length - b.length)
  return [...new Set(texts)].slice(0, count)
}
