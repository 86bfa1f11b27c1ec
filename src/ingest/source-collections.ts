import type { TupleKey } from '../authz/fga.ts'
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
  const written = entries.filter(({ operation, tuple }) => operation === 'write' && isRight(tuple))
  if (written.length === 0) return
  await lockPrefixes(sql)
  const sourceOf = await readSourcesOf(
    sql,
    written.map(({ tuple }) => tuple),
  )
  for (const { field, tuple } of written) {
    const source = sourceOf(tuple)
    if (source !== undefined)
      throw invalid(field, `The source ${source} has this of its own: nobody else writes there.`)
  }
}

/** Says which source has the collection in which somebody else has such a right; undefined: none has. */
export async function readSourcesOf(
  sql: Sql,
  tuples: readonly TupleKey[],
): Promise<(tuple: TupleKey) => string | undefined> {
  const sources = await sql.query<{ id: string; collections: readonly string[] }>(
    'select id, collections from sources where collections && $1',
    [tuples.filter(isRight).map(({ object }) => splitObject(object).id)],
  )
  return (tuple) =>
    isRight(tuple)
      ? sources.find(
          ({ id, collections }) =>
            collections.includes(splitObject(tuple.object).id) &&
            tuple.user !== `service:${sourcePrefix}${id}`,
        )?.id
      : undefined
}

const isRight = ({ relation, object }: TupleKey): boolean =>
  splitObject(object).type === 'collection' && (relation === 'writer' || relation === 'tagger')
