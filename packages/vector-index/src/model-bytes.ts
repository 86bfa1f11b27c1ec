import { componentCount, type IvfModel } from './model.ts'

const header = 20

/** Little-endian: three int32 (dimensions, groups, centroids), a float64 (error), then the arrays. */
export function modelToBytes({ centroids, components: axes, steps, error }: IvfModel): Buffer {
  const { dimensions, groups, starts, numbers } = centroids
  const head = Buffer.alloc(header)
  head.writeInt32LE(dimensions, 0)
  head.writeInt32LE(groups.length / dimensions, 4)
  head.writeInt32LE(numbers.length / dimensions, 8)
  head.writeDoubleLE(error, 12)
  return Buffer.concat([head, ...[groups, starts, numbers, axes, steps].map(bytesOf)])
}

/** undefined: of another length than it says, as one with shorter codes is. */
export function modelFromBytes(bytes: Buffer): IvfModel | undefined {
  const [dimensions, groupCount, count] = [bytes.readInt32LE(0), bytes.readInt32LE(4), bytes.readInt32LE(8)]
  // A copy begins at 0: typed arrays may not begin anywhere.
  const body = Uint8Array.from(bytes.subarray(header)).buffer
  const lengths = [
    groupCount * dimensions,
    groupCount + 1,
    count * dimensions,
    componentCount * dimensions,
    componentCount,
  ] as const
  if (body.byteLength !== 4 * lengths.reduce((sum, length) => sum + length, 0)) return undefined
  const starts = lengths.map(
    (_, index) => 4 * lengths.slice(0, index).reduce((sum, length) => sum + length, 0),
  )
  const [groups = 0, sampleCount = 0, numbers = 0, axes = 0, steps = 0] = starts
  return {
    centroids: {
      dimensions,
      groups: new Float32Array(body, groups, lengths[0]),
      starts: new Int32Array(body, sampleCount, lengths[1]),
      numbers: new Float32Array(body, numbers, lengths[2]),
    },
    components: new Float32Array(body, axes, lengths[3]),
    steps: new Float32Array(body, steps, lengths[4]),
    error: bytes.readDoubleLE(12),
  }
}

const bytesOf = ({ buffer, byteOffset, byteLength }: Float32Array | Int32Array): Uint8Array =>
  new Uint8Array(buffer, byteOffset, byteLength)
