import { readdirSync, readFileSync } from 'node:fs'
import { expect, test } from 'vitest'
import { libraries } from './table.ts'

test('what the docs say of a library is compared with what its program did, for every row', () => {
  const folder = new URL('.', import.meta.url)
  const files = readdirSync(folder).filter((name) => name.endsWith('.test.ts'))
  const compared = files.flatMap((name) => {
    const text = readFileSync(new URL(name, folder), 'utf8')
    return [...text.matchAll(/expect\(shown\(said\)\)\.toEqual\(rowOf\('([^']+)'\)\)/g)].map(([, row]) => row)
  })
  expect(compared.length).toBeGreaterThan(3)
  expect(compared.sort()).toEqual([...libraries()].sort())
})
