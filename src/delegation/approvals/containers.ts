import type { Fga } from '../../authz/fga.ts'
import type { Clock } from '../../kernel/clock.ts'
import { collectionObject, documentObject, type FgaObject, splitObject } from '../../kernel/ids.ts'
import type { Sql } from '../../store/sql.ts'
import { titlesOf } from '../lending/lendable.ts'
import type { RememberableContainer, ShownDocument } from './view.ts'

export interface ContainersDeps {
  readonly sql: Sql
  readonly fga: Fga
  readonly clock: Clock
}

const msMax = 5_000

/**
 * Where a yes may be remembered, later documents included: the collections in which these documents are
 * filed, which their reader may know of (`GET /collections`), and the folders and collections that they lie
 * in, where the person is a viewer there. Give it only documents that they were just cleared for.
 */
export async function rememberableContainers(
  { sql, fga, clock }: ContainersDeps,
  subject: FgaObject,
  documents: readonly ShownDocument[],
): Promise<RememberableContainer[]> {
  if (documents.length === 0) return []
  const filed = new Set<FgaObject>(documents.map(({ collection }) => collectionObject(collection)))
  const holding = new Map<FgaObject, Set<string>>()
  const hold = (object: FgaObject, id: string) =>
    holding.set(object, (holding.get(object) ?? new Set()).add(id))
  for (const { id, collection } of documents) {
    hold(collectionObject(collection), id)
    for await (const { user } of fga.read({ object: documentObject(id), relation: 'parent' }))
      if (isContainer(user)) hold(user, id)
  }
  const unfiledContainers = [...holding.keys()].filter((object) => !filed.has(object))
  const { verdicts } = await fga.batchCheck(
    unfiledContainers.map((object) => ({ user: subject, relation: 'viewer', object })),
    { now: clock.now(), signal: AbortSignal.timeout(msMax), consistency: 'fresh' },
  )
  const visible = [...filed, ...unfiledContainers.filter((_, index) => verdicts[index] === 'allowed')].sort()
  const titles = await titlesOf(sql, visible)
  return visible.map((object) => ({
    object,
    title: titles.get(object) ?? splitObject(object).id,
    documentIds: [...(holding.get(object) ?? [])],
  }))
}

const isContainer = (object: string): object is FgaObject =>
  object.startsWith('folder:') || object.startsWith('collection:')
