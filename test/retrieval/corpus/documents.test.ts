import { expect, test } from 'vitest'
import { DocumentTable } from '../../../src/retrieval/corpus/documents.ts'

test('what came into force counts as new for as long as OpenFGA’s caches may lag, and no longer', () => {
  let elapsed = 0
  const table = new DocumentTable({ newForMs: 10, elapsed: () => elapsed })
  const put = (publication: number, collection = 'c') =>
    table.put({ docNo: 1, id: 'a', collection, chunks: 1, publication })
  const isNewAt = (time: number) => {
    elapsed = time
    return table.foundAs(1)?.isNew
  }
  put(1)
  // Nobody knows since when it is there before all was read.
  expect(isNewAt(100)).toBe(true)
  table.allRead()
  expect([isNewAt(109), isNewAt(110)]).toEqual([true, false])
  put(2)
  expect([isNewAt(119), isNewAt(120)]).toEqual([true, false])
  put(2, 'filed elsewhere')
  expect([isNewAt(121), table.foundAs(1)?.publication]).toEqual([false, 2])
})
