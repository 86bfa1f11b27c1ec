import { noCell } from './inverted-lists.ts'
import { countOf, type Vectors } from './kmeans.ts'
import { type CellModel, codeLength, placeIn } from './model.ts'
import type { Placed } from './model-worker.ts'

/** Where each of the vectors lies. One that is all 0 stands for a passage without any. */
export function placeAll(model: CellModel, vectors: Vectors): Placed {
  const count = countOf(vectors)
  const cells = new Uint16Array(count)
  const codes = new Uint8Array(count * codeLength)
  for (let index = 0; index < count; index += 1) {
    const at = index * vectors.dimensions
    if (vectors.numbers.subarray(at, at + vectors.dimensions).every((value) => value === 0)) {
      cells[index] = noCell
      continue
    }
    const { cell, code } = placeIn(model, vectors.numbers, at)
    cells[index] = cell
    codes.set(code, index * codeLength)
  }
  return { cells, codes }
}
