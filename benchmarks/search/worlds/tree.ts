import type { Tuple } from '../../../src/authz/fga.ts'
import type { Random } from '../../kubernetes/random.ts'
import type { Corpus } from '../corpus.ts'
import { createFolderTree } from './folders.ts'
import { orderOf } from './order.ts'
import { drawStretches } from './stretches.ts'
import { type Asker, type Layout, levelsAll, personOf, type World } from './world.ts'

const rolesEach = 10
const peopleEach = 10

/**
 * Roles over a tree of folders, as in papers on vectors under roles (HoneyBee, arXiv 2505.01538): 1,000
 * people in two teams of each of 100 roles, ten roles a level, each with a stretch of the tree.
 */
export function treeWorld(corpus: Corpus, layout: Layout, random: Random): World {
  const order = orderOf(corpus, layout, random)
  const folders = createFolderTree(corpus, order, 'tree')
  const tuples: Tuple[] = [...folders.tuples]
  const askers: Asker[] = []
  for (const level of levelsAll) {
    for (const [index, [from, to]] of drawStretches(order.length, level, rolesEach, random).entries()) {
      const role = `group:role/${level}/${index}` as const
      for (const object of folders.cover(from, to))
        tuples.push({ user: `${role}#member`, relation: 'viewer', object })
      for (const team of ['a', 'b']) {
        const group = `group:team/${level}/${index}/${team}` as const
        tuples.push({ user: `${group}#member`, relation: 'member', object: role })
        for (let at = 0; at < peopleEach / 2; at++) {
          const person = personOf(`tree-${level}-${index}-${team}${at}`)
          tuples.push({ user: person, relation: 'member', object: group })
          askers.push({ person, level })
        }
      }
    }
  }
  return { policy: 'tree', layout, tuples, askers, excludes: false }
}
