import type { Tuple } from '../../../src/authz/fga.ts'
import type { FgaObject } from '../../../src/kernel/ids.ts'
import type { Random } from '../../kubernetes/random.ts'
import type { Corpus } from '../corpus.ts'
import { createFolderTree } from './folders.ts'
import { orderOf } from './order.ts'
import { drawStretches } from './stretches.ts'
import { type Asker, type Layout, levelsAll, personOf, type World } from './world.ts'

const circlesEach = 5
const peopleEach = 4
const day = 86_400_000

/**
 * As in a company's drive: folders in folders, groups in groups in groups, an owner for each document, 3 %
 * shared with one person more, two of a thousand public, a tenth of what a circle is given closed to some of
 * it, and for every other circle its folders only until next month, beside as many that were its until
 * yesterday.
 */
export function driveWorld(corpus: Corpus, layout: Layout, random: Random, now: number): World {
  const order = orderOf(corpus, layout, random)
  const folders = createFolderTree(corpus, order, 'drive')
  const document = (at: number): FgaObject => `document:${corpus.documents[order[at] ?? 0]?.id}`
  const until = (at: number) =>
    ({ name: 'until', context: { expires_at: new Date(at).toISOString() } }) as const
  const tuples: Tuple[] = [...folders.tuples]
  for (let at = 0; at < order.length; at++) {
    tuples.push({ user: personOf(`owner-${at % 500}`), relation: 'owner', object: document(at) })
    if (random.next() < 0.03)
      tuples.push({
        user: personOf(`guest-${Math.floor(random.next() * 300)}`),
        relation: 'viewer',
        object: document(at),
      })
    if (random.next() < 0.002) tuples.push({ user: 'user:*', relation: 'viewer', object: document(at) })
  }
  const askers: Asker[] = []
  for (const level of levelsAll.filter((one) => one >= 0.005)) {
    for (const [index, [from, to]] of drawStretches(order.length, level, circlesEach, random).entries()) {
      const [circle, inner, team, barred] = ['circle', 'inner', 'team', 'barred'].map(
        (kind) => `group:${kind}/${level}/${index}` as const,
      ) as [`group:${string}`, `group:${string}`, `group:${string}`, `group:${string}`]
      const ends = index % 2 === 1 ? { condition: until(now + 30 * day) } : {}
      const given = new Set(folders.cover(from, to))
      for (const object of given)
        tuples.push({ user: `${circle}#member`, relation: 'viewer', object, ...ends })
      const [was] = drawStretches(order.length, Math.min(level, 0.01), 1, random)
      if (index % 2 === 1 && was !== undefined) {
        const before = { user: `${circle}#member`, relation: 'viewer', condition: until(now - day) } as const
        for (const object of folders.cover(was[0], was[1]))
          if (!given.has(object)) tuples.push({ ...before, object })
      }
      for (let at = from; at < to; at++) {
        if (random.next() < 0.1)
          tuples.push({ user: `${barred}#member`, relation: 'blocked', object: document(at) })
      }
      tuples.push({ user: `${inner}#member`, relation: 'member', object: circle })
      tuples.push({ user: `${team}#member`, relation: 'member', object: inner })
      for (let at = 0; at < peopleEach; at++) {
        const person = personOf(`drive-${level}-${index}-${at}`)
        tuples.push({ user: person, relation: 'member', object: team })
        if (at % 2 === 0) tuples.push({ user: person, relation: 'member', object: barred })
        askers.push({ person, level })
      }
    }
  }
  return { policy: 'drive', layout, tuples, askers, excludes: true }
}
