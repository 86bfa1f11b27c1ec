import { type CellModel, codeLength } from './model.ts'

const header = 28

/** Little-endian: three int32 (dimensions, groups, centroids), two float64 (step, error), then the arrays. */
export function modelToBytes({ centroids, axes, step, error }: CellModel): Buffer {
  const { dimensions, groups, starts, numbers } = centroids
  const head = Buffer.alloc(header)
  head.writeInt32LE(dimensions, 0)
  head.writeInt32LE(groups.length / dimensions, 4)
  head.writeInt32LE(numbers.length / dimensions, 8)
  head.writeDoubleLE(step, 12)
  head.writeDoubleLE(error, 20)
  return Buffer.concat([head, ...[groups, starts, numbers, axes].map(bytesOf)])
}

/** undefined: of another length than it says, as one with shorter codes is. */
export function modelFromBytes(bytes: Buffer): CellModel | undefined {
  const [dimensions, groupCount, count] = [bytes.readInt32LE(0), bytes.readInt32LE(4), bytes.readInt32LE(8)]
  // A copy begins at 0: typed arrays may not begin anywhere.
  const body = Uint8Array.from(bytes.subarray(header)).buffer
  const lengths = [
    groupCount * dimensions,
    groupCount + 1,
    count * dimensions,
    codeLength * dimensions,
  ] as const
  if (body.byteLength !== 4 * lengths.reduce((sum, length) => sum + length, 0)) return undefined
  const [toStarts, toNumbers, toAxes] = [
    4 * lengths[0],
    4 * (lengths[0] + lengths[1]),
    4 * (lengths[0] + lengths[1] + lengths[2]),
  ]
  return {
    centroids: {
      dimensions,
      groups: new Float32Array(body, 0, lengths[0]),
      starts: new Int32Array(body, toStarts, lengths[1]),
      numbers: new Float32Array(body, toNumbers, lengths[2]),
    },
    axes: new Float32Array(body, toAxes, lengths[3]),
    step: bytes.readDoubleLE(12),
    error: bytes.readDoubleLE(20),
  }
}

const bytesOf = ({ buffer, byteOffset, byteLength }: Float32Array | Int32Array): Uint8Array =>
  new Uint8Array(buffer, byteOffset, byteLength)
