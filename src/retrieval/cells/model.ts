import { principalAxes } from './axes.ts'
import { type Centroids, countOf, dot, nearestCentroid, trainCentroids, type Vectors } from './kmeans.ts'

/**
 * Where vectors lie, roughly: the nearest of some centroids, and what is left to it along the axes in which that differs
 * most, one byte each.
 */
export interface CellModel {
  readonly centroids: Centroids
  /** {@link codeLength} vectors of length 1. */
  readonly axes: Float32Array
  /** What 1 in a code stands for. */
  readonly step: number
  /** Mean squared distance of the samples to their centroids. */
  readonly error: number
}

/** Bytes of a code. With 32 a tenth of the best is lost on real vectors, with 96 one in a hundred. */
export const codeLength = 96

/** A vector in a model: its cell, and its code. */
export interface Place {
  readonly cell: number
  readonly code: Int8Array
}

/** The same samples, count and random numbers give the same model. */
export function trainModel(samples: Vectors, count: number, random: () => number): CellModel {
  const centroids = trainCentroids(samples, count, random)
  const { numbers, dimensions } = samples
  const rest = new Float32Array(numbers.length)
  let error = 0
  for (let at = 0; at < numbers.length; at += dimensions) {
    const from = nearestCentroid(centroids, numbers, at) * dimensions
    for (let offset = 0; offset < dimensions; offset += 1) {
      const left = (numbers[at + offset] as number) - (centroids.numbers[from + offset] as number)
      rest[at + offset] = left
      error += left * left
    }
  }
  const axes = principalAxes(
    { numbers: rest.subarray(0, axesFrom * dimensions), dimensions },
    codeLength,
    random,
  )
  return { centroids, axes, step: stepOf(rest, axes, dimensions), error: error / countOf(samples) }
}

/** So many samples say which way the axes point. */
const axesFrom = 10_000
const largest = 127

export function placeIn(model: CellModel, numbers: Float32Array, at: number): Place {
  const { centroids, axes, step } = model
  const { dimensions } = centroids
  const cell = nearestCentroid(centroids, numbers, at)
  const code = new Int8Array(codeLength)
  for (let axis = 0; axis < codeLength; axis += 1) {
    const along =
      dot(axes, axis * dimensions, numbers, at, dimensions) -
      dot(axes, axis * dimensions, centroids.numbers, cell * dimensions, dimensions)
    code[axis] = Math.max(-largest, Math.min(largest, Math.round(along / step)))
  }
  return { cell, code }
}

/** Four times the usual length along the longest axis still fits into a byte. */
function stepOf(rest: Float32Array, axes: Float32Array, dimensions: number): number {
  let square = 0
  for (let at = 0; at < rest.length; at += dimensions) square += dot(axes, 0, rest, at, dimensions) ** 2
  return (4 * Math.sqrt(square / Math.max(1, rest.length / dimensions))) / largest || 1 / largest
}
