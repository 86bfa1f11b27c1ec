const arrayMax = 4_096
const bitmapBytes = 8_192
const cookieWithRuns = 12_347
const cookieWithoutRuns = 12_346
/** From so many containers on, one with runs has offsets, too. */
const offsetsFrom = 4

/** Numbers that share their upper 16 bits. */
interface Container {
  readonly key: number
  /** Their lower 16 bits, ascending. */
  readonly values: Uint16Array
  readonly runs: number
  readonly isRuns: boolean
  readonly bytes: number
}

/**
 * A set of numbers as a roaring bitmap in the portable form
 * (https://github.com/RoaringBitmap/RoaringFormatSpec), the smallest of the three containers each. `numbers`:
 * 0 to 2³¹ − 1, ascending, each once; that is NOT checked.
 */
export function toRoaring(numbers: Int32Array): Buffer {
  const containers = toContainers(numbers)
  const hasRuns = containers.some(({ isRuns }) => isRuns)
  const flagBytes = hasRuns ? Math.ceil(containers.length / 8) : 0
  const hasOffsets = !hasRuns || containers.length >= offsetsFrom
  const headBytes = (hasRuns ? 4 + flagBytes : 8) + (hasOffsets ? 8 : 4) * containers.length
  const out = Buffer.alloc(headBytes + containers.reduce((sum, { bytes }) => sum + bytes, 0))
  if (hasRuns) out.writeUInt32LE(cookieWithRuns + (containers.length - 1) * 65_536, 0)
  else {
    out.writeUInt32LE(cookieWithoutRuns, 0)
    out.writeUInt32LE(containers.length, 4)
  }
  const describedAt = hasRuns ? 4 + flagBytes : 8
  let at = headBytes
  for (const [nth, container] of containers.entries()) {
    if (container.isRuns) out[4 + (nth >> 3)] = (out[4 + (nth >> 3)] ?? 0) | (1 << (nth & 7))
    out.writeUInt16LE(container.key, describedAt + 4 * nth)
    out.writeUInt16LE(container.values.length - 1, describedAt + 4 * nth + 2)
    if (hasOffsets) out.writeUInt32LE(at, describedAt + 4 * containers.length + 4 * nth)
    writeContainer(out, at, container)
    at += container.bytes
  }
  return out
}

function toContainers(numbers: Int32Array): readonly Container[] {
  const containers: Container[] = []
  for (let start = 0; start < numbers.length; ) {
    const key = (numbers[start] ?? 0) >> 16
    let end = start
    let runs = 0
    for (; end < numbers.length && (numbers[end] ?? 0) >> 16 === key; end += 1)
      if (end === start || (numbers[end] ?? 0) !== (numbers[end - 1] ?? 0) + 1) runs += 1
    const plainBytes = end - start <= arrayMax ? 2 * (end - start) : bitmapBytes
    const isRuns = 2 + 4 * runs < plainBytes
    containers.push({
      key,
      // Its numbers are taken modulo 2¹⁶.
      values: new Uint16Array(numbers.subarray(start, end)),
      runs,
      isRuns,
      bytes: isRuns ? 2 + 4 * runs : plainBytes,
    })
    start = end
  }
  return containers
}

function writeContainer(out: Buffer, start: number, { values, runs, isRuns }: Container): void {
  if (isRuns) {
    out.writeUInt16LE(runs, start)
    let at = start + 2
    for (let first = 0; first < values.length; ) {
      let last = first
      while (values[last + 1] === (values[last] ?? 0) + 1) last += 1
      out.writeUInt16LE(values[first] ?? 0, at)
      out.writeUInt16LE(last - first, at + 2)
      at += 4
      first = last + 1
    }
  } else if (values.length <= arrayMax)
    for (const [nth, value] of values.entries()) out.writeUInt16LE(value, start + 2 * nth)
  else
    for (const value of values)
      out[start + (value >> 3)] = (out[start + (value >> 3)] ?? 0) | (1 << (value & 7))
}
