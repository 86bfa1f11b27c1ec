import { noPartition } from './inverted-lists.ts'
import { type Vectors, vectorCount } from './kmeans.ts'
import { assign, codeLength, type IvfModel } from './model.ts'

/** The cells and codes of vectors, in their order: `codes` has {@link codeLength} bytes for each. */
export interface Assignments {
  readonly partitions: Uint16Array
  readonly codes: Uint8Array
}

/** Where each of the vectors lies. One that is all 0 stands for a passage without any. */
export function assignAll(model: IvfModel, vectors: Vectors): Assignments {
  const count = vectorCount(vectors)
  const partitions = new Uint16Array(count)
  const codes = new Uint8Array(count * codeLength)
  for (let index = 0; index < count; index += 1) {
    const offset = index * vectors.dimensions
    if (vectors.numbers.subarray(offset, offset + vectors.dimensions).every((value) => value === 0)) {
      partitions[index] = noPartition
      continue
    }
    const { partition, code } = assign(model, vectors.numbers, offset)
    partitions[index] = partition
    codes.set(code, index * codeLength)
  }
  return { partitions, codes }
}
