import { createHash } from 'node:crypto'
import type { TupleLine } from '../support/import.ts'
import type { KubernetesData } from './data.ts'

/**
 * Says what a person can view, from the raw tuples of the data set alone: an owner or editor views too, a
 * folder's viewers view what is in it. Shares no code and no model with the service.
 */
export interface Oracle {
  /** Ids of documents. `*`: somebody without an account. */
  visible(person: string): ReadonlySet<string>
}

const grants = new Set(['owner', 'editor', 'viewer'])

export function createOracle(tuples: readonly TupleLine[]): Oracle {
  const grantsTo = new Map<string, string[]>()
  const children = new Map<string, string[]>()
  const groupsOf = new Map<string, string[]>()
  const put = (map: Map<string, string[]>, key: string, value: string): void => {
    const list = map.get(key)
    if (list === undefined) map.set(key, [value])
    else list.push(value)
  }
  for (const { user, relation, object } of tuples) {
    if (relation === 'parent') put(children, user, object)
    else if (relation === 'member') put(groupsOf, user, `${object}#member`)
    else if (grants.has(relation)) put(grantsTo, user, object)
    else throw new Error(`The oracle does not know the relation ${relation}.`)
  }
  return {
    visible(person) {
      const subjects = closure(person === '*' ? ['user:*'] : ['user:*', `user:${person}`], groupsOf)
      const objects = closure(
        [...subjects].flatMap((subject) => grantsTo.get(subject) ?? []),
        children,
      )
      return new Set(
        [...objects].flatMap((object) =>
          object.startsWith('document:') ? [object.slice('document:'.length)] : [],
        ),
      )
    },
  }
}

function closure(
  start: readonly string[],
  next: ReadonlyMap<string, readonly string[]>,
): ReadonlySet<string> {
  const reached = new Set<string>()
  const open = [...start]
  for (let item = open.pop(); item !== undefined; item = open.pop()) {
    if (reached.has(item)) continue
    reached.add(item)
    open.push(...(next.get(item) ?? []))
  }
  return reached
}

/**
 * How many people were compared with the digests that came with the data; throws at the first that differs.
 */
export function verifyOracle(oracle: Oracle, { visible }: Pick<KubernetesData, 'visible'>): number {
  for (const { user, documents, sha256 } of visible) {
    const ids = [...oracle.visible(user)].sort()
    const digest = createHash('sha256').update(ids.join('\n')).digest('hex')
    if (ids.length !== documents || digest !== sha256)
      throw new Error("The oracle differs from the data set's own.")
  }
  return visible.length
}
