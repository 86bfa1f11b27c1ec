import { afterAll, beforeAll, describe, expect, test } from 'vitest'
import { operator } from '../../src/audit/record.ts'
import type { Tuple } from '../../src/authz/fga.ts'
import { readMarker, writeMarker } from '../../src/delegation/recovery/restore-detection.ts'
import { type DirectoryWorld, openDirectoryWorld } from './world.ts'

let world: DirectoryWorld
beforeAll(async () => {
  // It only says that tuples are kept apart, so that one of the two can be the older copy.
  world = await openDirectoryWorld({ env: { OPENFGA_API_URL: 'http://127.0.0.1:9', OPENFGA_API_TOKEN: 'x' } })
})
afterAll(() => world?.[Symbol.asyncDispose]())

/** Has one of the two look like an older copy of itself, to this process too. */
async function age(older: 'database' | 'openfga'): Promise<void> {
  const number = (await readMarker(world.service.fga)) + 5
  await writeMarker(world.service.fga, number)
  await world.database.query('update epochs set number = $1, told = $2', [
    older === 'database' ? number - 1 : number + 1,
    older === 'database' ? number - 1 : number + 1,
  ])
  expect(await world.service.mayHaveForgotten()).toBe(true)
}
const isStored = async (tuple: Tuple): Promise<boolean> => {
  for await (const _ of world.service.fga.read(tuple)) return true
  return false
}

describe('a recovery of an OpenFGA that is older', () => {
  test('loses who was blocked then and is no more; where nothing tells which is older, such a block stays', async () => {
    const block = { user: 'user:mallory', relation: 'blocked', object: 'organization:bank' } as const
    const change = (operation: 'writes' | 'deletes') =>
      world.service.ingest.applyTuples(operator('t_1'), { writes: [], deletes: [], [operation]: [block] })
    await change('writes')
    await change('deletes')
    await world.service.fga.write({ writes: [block] })
    await world.service.recover('t_2')
    expect(await isStored(block)).toBe(true)
    await age('openfga')
    expect(await world.service.recover('t_3')).toMatchObject({ older: 'openfga', access_mended: 1 })
    expect(await isStored(block)).toBe(false)
  })
})
