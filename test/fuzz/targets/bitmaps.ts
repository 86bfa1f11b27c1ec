import assert from 'node:assert/strict'
import { toRoaring } from '../../../src/retrieval/chunk-index/opensearch/bitmap.ts'

/** Read by the specification, word for word, a bitmap holds the numbers that went into it. */
export function fuzz(bytes: Uint8Array): void {
  const numbers = numbersOf(bytes)
  assert.deepEqual(slowRead(toRoaring(Int32Array.from(numbers))), numbers)
}

/** Steps and runs: four bytes each, ascending without end. */
function numbersOf(bytes: Uint8Array): number[] {
  const numbers: number[] = []
  let at = -1
  for (let index = 0; index + 4 <= bytes.length; index += 4) {
    const [small = 0, middle = 0, high = 0, run = 0] = bytes.subarray(index, index + 4)
    at += 1 + small + middle * 256 + high * 4_096
    const last = at + run * 24
    for (; at < last && at < 0x7fff_ffff; at += 1) numbers.push(at)
    if (at >= 0x7fff_ffff) break
    numbers.push(at)
  }
  return numbers
}

/** https://github.com/RoaringBitmap/RoaringFormatSpec */
function slowRead(bytes: Buffer): number[] {
  const cookie = bytes.readUInt32LE(0)
  const hasRuns = (cookie & 0xffff) === 12_347
  if (!hasRuns) assert.equal(cookie, 12_346)
  const count = hasRuns ? (cookie >>> 16) + 1 : bytes.readUInt32LE(4)
  const flags = hasRuns ? bytes.subarray(4, 4 + Math.ceil(count / 8)) : Buffer.alloc(0)
  const described = hasRuns ? 4 + flags.length : 8
  const hasOffsets = !hasRuns || count >= 4
  let at = described + 4 * count + (hasOffsets ? 4 * count : 0)
  const numbers: number[] = []
  for (let nth = 0; nth < count; nth += 1) {
    const base = bytes.readUInt16LE(described + 4 * nth) * 65_536
    const size = bytes.readUInt16LE(described + 4 * nth + 2) + 1
    if (hasOffsets) assert.equal(bytes.readUInt32LE(described + 4 * count + 4 * nth), at)
    const before = numbers.length
    if (((flags[nth >> 3] ?? 0) >> (nth & 7)) & 1) {
      const runs = bytes.readUInt16LE(at)
      for (let run = 0; run < runs; run += 1) {
        const first = bytes.readUInt16LE(at + 2 + 4 * run)
        for (let step = 0; step <= bytes.readUInt16LE(at + 4 + 4 * run); step += 1)
          numbers.push(base + first + step)
      }
      at += 2 + 4 * runs
    } else if (size <= 4_096) {
      for (let one = 0; one < size; one += 1) numbers.push(base + bytes.readUInt16LE(at + 2 * one))
      at += 2 * size
    } else {
      for (let bit = 0; bit < 65_536; bit += 1)
        if (((bytes[at + (bit >> 3)] ?? 0) >> (bit & 7)) & 1) numbers.push(base + bit)
      at += 8_192
    }
    assert.equal(numbers.length - before, size)
  }
  assert.equal(at, bytes.length)
  return numbers
}
