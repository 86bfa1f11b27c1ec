import { readdirSync } from 'node:fs'
import { join } from 'node:path'
import { describe, expect, test } from 'vitest'
import { readStoreFile } from '../../src/authz/model/store-file.ts'
import { testStoreFile } from '../../src/authz/model/store-test.ts'
import { isPassing, reportOf } from '../../src/cli/model.ts'
import { needsOpenfga } from '../support/native.ts'
import { engineApi, serverApi } from './store.ts'

// Small models of the kind that people begin with: a drive, a bank, shifts.
const folder = join(import.meta.dirname, 'samples')
const files = readdirSync(folder).filter((name) => name.endsWith('.fga.yaml'))

describe('a sample store', () => {
  test('is there for twelve kinds of models', () => {
    expect(files).toHaveLength(12)
  })

  test.each(files)('%s holds on the engine', async (name) => {
    const results = await testStoreFile(engineApi(), await readStoreFile(join(folder, name)))
    expect(isPassing(results), reportOf(results)).toBe(true)
  })

  test.for(files)('%s gives the same answers on a real server', needsOpenfga, async (name) => {
    const store = await readStoreFile(join(folder, name))
    expect(await testStoreFile(serverApi(), store)).toEqual(await testStoreFile(engineApi(), store))
  })
})
