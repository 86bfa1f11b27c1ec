import type { Tuple } from '../../../src/authz/fga.ts'
import type { FgaObject } from '../../../src/kernel/ids.ts'
import type { Random } from '../../kubernetes/random.ts'
import type { Corpus } from '../corpus.ts'
import { orderOf } from './order.ts'
import { drawStretches } from './stretches.ts'
import { type Asker, type Layout, levelsAll, personOf, type World } from './world.ts'

const groupsEach = 2
const peopleEach = 5

/**
 * Against every index of policies: each document is shared by itself, and with one person of its own, so that
 * none is like another.
 */
export function distinctAclsWorld(corpus: Corpus, layout: Layout, random: Random): World {
  const order = orderOf(corpus, layout, random)
  const document = (at: number): FgaObject => `document:${corpus.documents[order[at] ?? 0]?.id}`
  const tuples: Tuple[] = order.map((_, at) => ({
    user: personOf(`alone-${at}`),
    relation: 'viewer',
    object: document(at),
  }))
  const askers: Asker[] = []
  for (const level of levelsAll) {
    for (const [index, [from, to]] of drawStretches(order.length, level, groupsEach, random).entries()) {
      const group = `group:shared/${level}/${index}` as const
      for (let at = from; at < to; at++)
        tuples.push({ user: `${group}#member`, relation: 'viewer', object: document(at) })
      for (let at = 0; at < peopleEach; at++) {
        const person = personOf(`doors-${level}-${index}-${at}`)
        tuples.push({ user: person, relation: 'member', object: group })
        askers.push({ person, level })
      }
    }
  }
  return { policy: 'doors', layout, tuples, askers, excludes: false }
}
