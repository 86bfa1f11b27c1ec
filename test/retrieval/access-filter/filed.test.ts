import { expect, test } from 'vitest'
import { createFiled } from '../../../src/retrieval/access-filter/visibility.ts'
import { contentOf } from '../../../src/retrieval/access-filter/visible.ts'
import type { CorpusListener } from '../../../src/retrieval/corpus/corpus.ts'
import { DocumentTable } from '../../../src/retrieval/corpus/documents.ts'

function open(bytesMax?: number) {
  let made = 0
  let turned = 0
  class CountingTable extends DocumentTable {
    override filedIn(collections: readonly string[]) {
      made += 1
      return super.filedIn(collections)
    }
    override collectionOf(docNo: number) {
      turned += 1
      return super.collectionOf(docNo)
    }
  }
  const documents = new CountingTable({ newForMs: 0, elapsed: () => 0 })
  for (const docNo of [1, 2, 3])
    documents.put({ docNo, id: `d${docNo}`, collection: 'c', chunks: 1, publication: docNo })
  const listeners: CorpusListener[] = []
  const filed = createFiled({ onChange: (listener) => void listeners.push(listener) }, bytesMax)
  return {
    ask: (name: string) => filed.within(contentOf(Int32Array.of(1, 2, 3), 3), documents, [name]).size,
    change: (docNo: number) => {
      for (const listener of listeners) listener([docNo], documents)
    },
    get made() {
      return made
    },
    get turned() {
      return turned
    },
  }
}

test('however many collections are invented, a changed document turns few bits', () => {
  const world = open()
  for (let at = 0; at < 2_000; at++) expect(world.ask(`x${at}`)).toBe(0)
  expect(world.ask('c')).toBe(3)
  world.change(1)
  expect(world.turned).toBe(500)
})

test('however long their names are, they count as what is kept', () => {
  const world = open(100_000)
  const names = Array.from({ length: 40 }, (_, at) => `${at}`.padEnd(5_000, 'x'))
  for (const name of names) world.ask(name)
  world.change(1)
  expect(world.turned).toBeLessThan(5)
  expect(world.made).toBe(40)
})
