import { readFileSync } from 'node:fs'
import { join } from 'node:path'
import { gunzipSync } from 'node:zlib'

/** Texts of the Kubernetes documents whose sizes are nearest to the median, by rank. */
export function readDocuments(shared: string, count: number): readonly string[] {
  const packed = readFileSync(join(shared, 'data/kubernetes/documents.jsonl.gz'))
  const texts = gunzipSync(packed)
    .toString()
    .trim()
    .split('\n')
    .map((line) => (JSON.parse(line) as { readonly text: string }).text)
    .sort((a, b) => a.length - b.length)
  const from = Math.max(0, Math.floor((texts.length - count) / 2))
  return texts.slice(from, from + count)
}
