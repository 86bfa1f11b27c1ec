import { type Centroids, dot, nearestCentroid, trainCentroids, type Vectors, vectorCount } from './kmeans.ts'

/**
 * Where vectors lie, roughly: the nearest of some centroids, and what is left to it along the axes in which
 * that differs most, four bits each.
 */
export interface IvfModel {
  readonly centroids: Centroids
  /** {@link componentCount} vectors of length 1. */
  readonly components: Float32Array
  /** What 1 in a code stands for, along each axis. */
  readonly steps: Float32Array
  /** Mean squared distance of the samples to their centroids. */
  readonly error: number
}

/**
 * Bytes of a code: two axes each. Twice as many axes of four bits tell far more than half as many of eight.
 */
export const codeLength = 96

/** Components of a residual that are quantized; each takes four bits of the code. */
export const componentCount = 2 * codeLength

/** A vector in a model: its cell, and its code. */
export interface Assignment {
  readonly partition: number
  readonly code: Uint8Array
}

/** The same samples, count and random numbers give the same model. */
export function trainModel(samples: Vectors, count: number, random: () => number): IvfModel {
  const centroids = trainCentroids(samples, count, random)
  const { numbers, dimensions } = samples
  const residuals = new Float32Array(numbers.length)
  let error = 0
  for (let start = 0; start < numbers.length; start += dimensions) {
    const centroidStart = nearestCentroid(centroids, numbers, start) * dimensions
    for (let offset = 0; offset < dimensions; offset += 1) {
      const residual =
        (numbers[start + offset] as number) - (centroids.numbers[centroidStart + offset] as number)
      residuals[start + offset] = residual
      error += residual * residual
    }
  }
  const sample = residuals.subarray(0, componentSamples * dimensions)
  const axes = principalComponents({ numbers: sample, dimensions }, componentCount, random)
  return {
    centroids,
    components: axes,
    steps: stepsOf(sample, axes, dimensions),
    error: error / vectorCount(samples),
  }
}

/** So many samples say which way the axes point. */
const componentSamples = 10_000
const levels = 16
/**
 * Of what is spread normally, 16 steps of this size around 0 lose least, about a hundredth (Max, Quantizing
 * for Minimum Distortion, 1960, table II).
 */
export const stepPerDeviation = 0.3352

/**
 * Mean square of what neither cell nor code tells of a vector of length 1: 0.04 to 0.06 of text, 0.4 of
 * noise.
 */
export const residualVarianceOf = ({ error, steps }: Pick<IvfModel, 'error' | 'steps'>): number =>
  steps.reduce((variance, step) => variance - (step / stepPerDeviation) ** 2, error)

/**
 * The partition and code of the vector that starts at `numbers[start]`. The vector is taken to be of length
 * 1.
 */
export function assign(model: IvfModel, numbers: Float32Array, start: number): Assignment {
  const { centroids, components: axes, steps } = model
  const { dimensions } = centroids
  const partition = nearestCentroid(centroids, numbers, start)
  const residual = new Float32Array(dimensions)
  for (let offset = 0; offset < dimensions; offset += 1)
    residual[offset] =
      (numbers[start + offset] as number) - (centroids.numbers[partition * dimensions + offset] as number)
  const code = new Uint8Array(codeLength)
  for (let axis = 0; axis < componentCount; axis += 1) {
    const along = dot(axes, axis * dimensions, residual, 0, dimensions)
    const level = Math.floor(along / (steps[axis] as number)) + levels / 2
    const { byte, shift } = componentPosition(axis)
    code[byte] = (code[byte] as number) | (Math.max(0, Math.min(levels - 1, level)) << shift)
  }
  return { partition, code }
}

/** What a level stands for, in steps: the middle of those that it is given for. */
export const levelMidpoint = (level: number): number => level - (levels - 1) / 2

/** Where the four bits of an axis stand in a code: as simd.wat reads them, eight axes beside each other. */
export function componentPosition(axis: number): { readonly byte: number; readonly shift: number } {
  const [group, quarter, byteIndex] = [axis >> 5, (axis >> 3) & 3, axis & 7]
  return { byte: 16 * group + 2 * byteIndex + (quarter >> 1), shift: 4 * (quarter & 1) }
}

/** Along each axis, as far as these differ. */
function stepsOf(residuals: Float32Array, axes: Float32Array, dimensions: number): Float32Array {
  const count = Math.max(1, residuals.length / dimensions)
  return Float32Array.from({ length: componentCount }, (_, axis) => {
    let square = 0
    for (let offset = 0; offset < residuals.length; offset += dimensions)
      square += dot(axes, axis * dimensions, residuals, offset, dimensions) ** 2
    // Nothing lies along one axis too many.
    return stepPerDeviation * Math.sqrt(square / count) || 1
  })
}

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

const rounds = 20

/**
 * The directions in which these vectors differ from 0 most, one after the other, each of length 1 and at
 * right angles to the others: principal axes, by subspace iteration.
 */
function principalComponents(
  { numbers, dimensions }: Vectors,
  count: number,
  random: () => number,
): Float32Array {
  const spread = covarianceOf(numbers, dimensions)
  let axes = orthonormal(
    Float64Array.from({ length: count * dimensions }, () => random() - 0.5),
    dimensions,
  )
  for (let round = 0; round < rounds; round += 1)
    axes = orthonormal(times(spread, axes, dimensions), dimensions)
  return Float32Array.from(axes)
}

function covarianceOf(numbers: Float32Array, dimensions: number): Float64Array {
  const sums = new Float64Array(dimensions * dimensions)
  for (let start = 0; start < numbers.length; start += dimensions) {
    for (let row = 0; row < dimensions; row += 1) {
      const value = numbers[start + row] as number
      const offset = row * dimensions
      for (let column = 0; column <= row; column += 1)
        sums[offset + column] =
          (sums[offset + column] as number) + value * (numbers[start + column] as number)
    }
  }
  for (let row = 0; row < dimensions; row += 1)
    for (let column = 0; column < row; column += 1)
      sums[column * dimensions + row] = sums[row * dimensions + column] as number
  return sums
}

function times(matrix: Float64Array, axes: Float64Array, dimensions: number): Float64Array {
  const result = new Float64Array(axes.length)
  for (let start = 0; start < axes.length; start += dimensions) {
    for (let row = 0; row < dimensions; row += 1) {
      let sum = 0
      const offset = row * dimensions
      for (let column = 0; column < dimensions; column += 1)
        sum += (matrix[offset + column] as number) * (axes[start + column] as number)
      result[start + row] = sum
    }
  }
  return result
}

/** Gram–Schmidt. */
function orthonormal(axes: Float64Array, dimensions: number): Float64Array {
  for (let start = 0; start < axes.length; start += dimensions) {
    for (let earlier = 0; earlier < start; earlier += dimensions) {
      let along = 0
      for (let offset = 0; offset < dimensions; offset += 1)
        along += (axes[start + offset] as number) * (axes[earlier + offset] as number)
      for (let offset = 0; offset < dimensions; offset += 1)
        axes[start + offset] = (axes[start + offset] as number) - along * (axes[earlier + offset] as number)
    }
    let square = 0
    for (let offset = 0; offset < dimensions; offset += 1) square += (axes[start + offset] as number) ** 2
    // What is left of one too many is rounding.
    const scale = square > 1e-18 ? 1 / Math.sqrt(square) : 0
    for (let offset = 0; offset < dimensions; offset += 1)
      axes[start + offset] = (axes[start + offset] as number) * scale
  }
  return axes
}
