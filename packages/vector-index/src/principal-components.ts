import type { Vectors } from './kmeans.ts'

const rounds = 20

/**
 * The directions in which these vectors differ from 0 most, one after the other, each of length 1 and at right angles to
 * the others: principal axes, by subspace iteration.
 */
export function principalComponents(
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
