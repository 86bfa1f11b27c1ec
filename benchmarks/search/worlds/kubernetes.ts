import type { Tuple } from '../../../src/authz/fga.ts'
import type { FgaObject } from '../../../src/kernel/ids.ts'
import { readKubernetes } from '../../kubernetes/data.ts'
import type { Corpus } from '../corpus.ts'
import { personOf, type World } from './world.ts'

/**
 * The real people, teams and owners of the documents. What is open to everybody there is left out, so that
 * some see little; a part of a document has the tuples of the whole. Levels are the people's own: see
 * `askersOf`.
 */
export async function kubernetesWorld(corpus: Corpus, folder: string): Promise<World> {
  const data = await readKubernetes(folder)
  const parts = Map.groupBy(corpus.documents, ({ partOf }) => partOf ?? '')
  const tuples = new Map<string, Tuple>()
  for (const { user, relation, object } of data.tuples) {
    if (user === 'user:*') continue
    const [type, id = ''] = object.split(':')
    const objects =
      type === 'document'
        ? (parts.get(id) ?? []).map((part): FgaObject => `document:${part.id}`)
        : [object as FgaObject]
    const subject = user.startsWith('user:') ? personOf(user.slice('user:'.length)) : user
    // Our model has no editors.
    const ours = relation === 'owner' || relation === 'editor' ? 'viewer' : relation
    for (const one of objects)
      tuples.set(`${subject} ${ours} ${one}`, { user: subject, relation: ours, object: one })
  }
  return {
    policy: 'kubernetes',
    layout: 'topics',
    tuples: [...tuples.values()],
    askers: data.people.map((handle) => ({ person: personOf(handle), level: Number.NaN })),
    excludes: false,
  }
}
