import { invalid } from '../kernel/errors.ts'
import { splitObject } from '../kernel/ids.ts'
import { sourcePrefix } from '../store/open-document.ts'
import { lockPrefixes } from '../store/prefixes.ts'
import type { Sql } from '../store/sql.ts'
import type { Entry } from './desired-tuples.ts'

/**
 * Throws `invalid_request` for the first writer or tagger of a source's collection that is not the source.
 * Until the end of the transaction no source gets a collection that is named here.
 */
export async function assertNoSources(sql: Sql, entries: readonly Entry[]): Promise<void> {
  const rights = entries.flatMap(({ field, operation, tuple: { user, relation, object } }) => {
    const { type, id: collection } = splitObject(object)
    const isRight = type === 'collection' && (relation === 'writer' || relation === 'tagger')
    return isRight && operation === 'write' ? [{ field, user, collection }] : []
  })
  if (rights.length === 0) return
  await lockPrefixes(sql)
  const sources = await sql.query<{ id: string; collections: readonly string[] }>(
    'select id, collections from sources where collections && $1',
    [rights.map(({ collection }) => collection)],
  )
  for (const { field, user, collection } of rights)
    for (const { id, collections } of sources)
      if (collections.includes(collection) && user !== `service:${sourcePrefix}${id}`)
        throw invalid(field, `The source ${id} has this of its own: nobody else writes there.`)
}
