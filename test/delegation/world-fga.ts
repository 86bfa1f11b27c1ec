import { readFile } from 'node:fs/promises'
import { embeddedUrl, openEmbedded } from '../../src/authz/embedded.ts'
import type { Fga } from '../../src/authz/fga.ts'
import { deployModel } from '../../src/authz/model/deploy.ts'
import { createFga, createFgaApi } from '../../src/authz/openfga.ts'
import type { Clock } from '../../src/kernel/clock.ts'
import type { Database } from '../../src/store/sql.ts'

/** The project's model on the embedded engine, over the same database. */
export async function openFga(database: Database, clock: Clock): Promise<Fga> {
  const { adapter } = await openEmbedded(
    database,
    () => clock.now(),
    () => undefined,
  )
  const api = createFgaApi({ apiUrl: embeddedUrl, timeoutMs: 4_000, adapter })
  const dsl = await readFile(new URL('../../model.fga', import.meta.url), 'utf8')
  const { storeId, model } = await deployModel({
    api,
    database,
    dsl,
    allowList: await readFile(new URL('../../model.allow-list.yaml', import.meta.url), 'utf8'),
    redeploy: false,
    newTxn: () => 't_test',
    now: () => clock.now(),
  })
  return createFga(api, storeId, () => model.id)
}

/** Stored tuples that name this delegation, as `user relation object`. */
export async function tuplesOf(
  fga: Fga,
  id: string,
  scopeTypes: readonly string[] = ['organization:', 'collection:', 'folder:', 'document:'],
): Promise<string[]> {
  const found: string[] = []
  for await (const { user, relation, object } of fga.read({ object: `delegation:${id}` }))
    found.push(`${user} ${relation} ${object}`)
  for (const object of scopeTypes) {
    for await (const tuple of fga.read({ user: `delegation:${id}`, object }))
      found.push(`${tuple.user} ${tuple.relation} ${tuple.object}`)
  }
  return found.sort()
}
