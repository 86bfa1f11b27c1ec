import { readFile } from 'node:fs/promises'
import type { Fga, Tuple } from '../../src/authz/fga.ts'
import { deployModel } from '../../src/authz/model/deploy.ts'
import { createFga } from '../../src/authz/openfga.ts'
import type { Place } from './servers.ts'

/** The service's model in a store of its own, as a first start makes it, with these tuples in it. */
export async function openStore({ database, api }: Place, tuples: readonly Tuple[]) {
  const dsl = await readFile(new URL('../../model.fga', import.meta.url), 'utf8')
  const { storeId, model } = await deployModel({
    api,
    database,
    dsl,
    redeploy: false,
    newTxn: () => 't_bench',
    now: Date.now,
  })
  const fga = createFga(api, storeId, () => model.id)
  await writeAll(fga, tuples)
  return { fga, model }
}

const atOnce = 4
const pageSize = 100

/** A few calls at a time: one after the other the server waits for its database, many it slows down. */
async function writeAll(fga: Fga, tuples: readonly Tuple[]): Promise<void> {
  let next = 0
  const work = async (): Promise<void> => {
    while (next < tuples.length) {
      const page = tuples.slice(next, next + pageSize)
      next += page.length
      await fga.write({ writes: page })
    }
  }
  await Promise.all(Array.from({ length: atOnce }, work))
}
