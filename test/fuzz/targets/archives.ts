import assert from 'node:assert/strict'
import { readZip, writeZip, ZipError } from '../../../src/kernel/zip.ts'
import { assertLinear, unlessRefused } from '../oracles.ts'

const bytesMax = 100_000

/** What can be unpacked is the same after it is packed again. */
export async function fuzz(bytes: Uint8Array): Promise<void> {
  const files = unlessRefused([ZipError], () => unpacked(bytes))
  await assertLinear(bytes, (all) => unlessRefused([ZipError], () => readZip(all)))
  if (files === undefined) return
  const byName = [...new Map(files.map((file) => [file.name, file])).values()]
  assert.deepEqual(unpacked(writeZip(byName)), byName)
}

const unpacked = (bytes: Uint8Array) =>
  readZip(bytes).map((entry) => ({ name: entry.name, bytes: Uint8Array.from(entry.read(bytesMax)) }))
