import assert from 'node:assert/strict'
import { resolvePath } from '../../../src/delegation/vault/path.ts'
import { textOf } from '../oracles.ts'

const origins = ['https://api.example.test', 'https://uploads.example.test'] as const

/** What is taken is sent letter for letter, to the origin that it names; read again it is the same. */
export function fuzz(bytes: Uint8Array): void {
  const read = resolvePath(textOf(bytes), origins)
  if (!read.ok) return
  const { url, text, segments } = read.value
  const parsed = new URL(url)
  assert.equal(parsed.href, url)
  assert.ok(origins.some((origin) => origin === parsed.origin))
  assert.deepEqual(resolvePath(text, origins), read)
  // As another server may read it: decoded once more, wide letters as plain ones.
  for (const segment of segments) {
    const plain = segment.normalize('NFKC')
    assert.ok(plain !== '.' && plain !== '..' && !/[/\\]/.test(plain), segment)
    assert.ok(!/%2e|%2f|%5c/i.test(plain), segment)
  }
}
