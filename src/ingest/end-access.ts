import { isReservedType } from '../authz/allow-list/reserved.ts'
import type { TupleKey } from '../authz/fga.ts'
import type { FgaObject } from '../kernel/ids.ts'
import { splitObject } from '../kernel/ids.ts'
import { takeAway } from './access.ts'
import type { IngestContext, Writer } from './context.ts'
import { removeTags } from './desired-tuples.ts'

const tuplesAtOnce = 90

/**
 * Takes away all that lets anybody read, and who writes where. Members of groups that are blocked somewhere
 * stay in those, and in what is in those: they would read more without. Returns how many tuples that were.
 */
export async function endAccess(context: IngestContext, writer: Writer): Promise<number> {
  const { database, fga, allowList } = context
  const list = allowList()
  const held = await heldGroups(context)
  let ended = 0
  for (;;) {
    const found: TupleKey[] = []
    for await (const page of fga.readAll()) {
      for (const { user, relation, object } of page) {
        const { type } = splitObject(object)
        if (!isAccess({ relation, object }) || !list.isWidening(type, relation) || held.has(object)) continue
        found.push({ user, relation, object: object as FgaObject })
      }
      if (found.length >= tuplesAtOnce) break
    }
    if (found.length === 0) break
    await takeAway(context, writer, found)
    ended += found.length
  }
  // Of what was never written.
  const left = await database.query<TupleKey>(
    'select subject as "user", relation, object from desired_tuples',
  )
  const tags = left.filter(
    ({ relation, object }) =>
      isAccess({ relation, object }) && list.isWidening(splitObject(object).type, relation),
  )
  await database.transaction((sql) => removeTags(sql, tags))
  return ended + tags.length
}

const isAccess = ({ relation, object }: Pick<TupleKey, 'relation'> & { readonly object: string }): boolean =>
  relation !== 'filed_in' && !isReservedType(splitObject(object).type)

async function heldGroups({ database, fga, allowList }: IngestContext): Promise<ReadonlySet<string>> {
  const list = allowList()
  const tags = await database.query<TupleKey>(
    `select distinct on (subject, relation) subject as "user", relation, object from desired_tuples
     where subject like '%#%'`,
  )
  const waiting = tags.flatMap(({ user, relation, object }) =>
    list.isWidening(splitObject(object).type, relation) ? [] : [user.split('#', 1)[0] ?? ''],
  )
  const held = new Set<string>()
  for (let group = waiting.pop(); group !== undefined; group = waiting.pop()) {
    if (held.has(group)) continue
    held.add(group)
    for await (const { user } of fga.read({ object: group }))
      if (user.includes('#')) waiting.push(user.split('#', 1)[0] ?? '')
  }
  return held
}
