import { readFile } from 'node:fs/promises'
import { gunzipSync } from 'node:zlib'

/** One JSON object a line; `.gz` is unpacked. */
export async function readLines<T>(path: string): Promise<T[]> {
  return (await readRows(path)).map((line) => JSON.parse(line) as T)
}

/** The lines that are not empty. */
export async function readRows(path: string): Promise<string[]> {
  const bytes = await readFile(path)
  const text = (path.endsWith('.gz') ? gunzipSync(bytes) : bytes).toString('utf8')
  return text.split('\n').filter((line) => line !== '')
}
