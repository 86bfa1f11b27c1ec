import { record } from '../audit/record.ts'
import type { Clearance, Gate } from '../authz/gate.ts'
import type { Nominator } from '../authz/nominate.ts'
import type { Principal } from '../kernel/principal.ts'
import type { Sql } from '../store/sql.ts'
import { type Approvals, shown } from './approvals.ts'
import type { Deadline } from './deadline.ts'
import { narrowedCollections } from './scope.ts'

export interface CollectionSummary {
  readonly id: string
  readonly title: string
}

export interface CollectionList {
  readonly collections: readonly CollectionSummary[]
  readonly complete: boolean
}

export type CollectionLister = (principal: Principal, deadline: Deadline) => Promise<CollectionList>

export interface CollectionListerDeps {
  readonly sql: Sql
  readonly nominator: Nominator
  readonly gate: Gate
  readonly approvals: Pick<Approvals, 'presentable'>
  /** Whether the permission index has heard of all that OpenFGA held a moment ago; it may wait a little for that. */
  readonly hasTail: () => boolean | Promise<boolean>
}

interface Filed {
  readonly documentId: string
  readonly collection: string
}

/**
 * Collections in which the gate has just cleared at least one document; filing alone shows nothing.
 * Asks about one document of each, as it is now (`strict`), then about more of those that are not proven yet.
 */
export function createCollectionLister(deps: CollectionListerDeps): CollectionLister {
  const { sql, nominator, gate, approvals, hasTail } = deps
  return async (principal, { signal }) => {
    // By remembered grants alone: nothing of a document leaves, so that this is no use of one that is counted.
    const presented = await approvals.presentable(principal, { named: [] })
    const grants = presented.map(({ id }) => id)
    const isWhole = await hasTail()
    const { documentIds, complete } = await nominator.nominate(principal, { signal, grants })
    const { collections: within } = narrowedCollections(principal)
    const rows = await sql.query<{ id: string; collection: string }>(
      `select id, collection from documents
       where id = any($1) and live_revision is not null and ($2::text[] is null or collection = any($2))
       order by collection, id`,
      [documentIds, within ?? null],
    )
    let open = rows.map(({ id, collection }): Filed => ({ documentId: id, collection }))
    const proven = new Set<string>()
    const clearing = gate.open(principal, {
      consistency: 'strict',
      grants: shown(presented),
      signal,
    })
    let stopped: Clearance<Filed>['stopped']
    for (let each = 1; open.length > 0 && stopped === undefined; each *= 4) {
      const wave = takeEach(open, each)
      const clearance = await clearing.clear(wave)
      for (const { collection } of clearance.cleared) proven.add(collection)
      stopped = clearance.stopped
      const asked = new Set(wave)
      open = open.filter((item) => !asked.has(item) && !proven.has(item.collection))
    }
    if (stopped !== undefined && proven.size === 0) throw stopped
    const { considered, denied, passedOver, errors } = clearing.counts
    const collections = await sql.query<{ id: string; title: string }>(
      'select id, title from collections where id = any($1) order by id',
      [[...proven]],
    )
    await record(sql, principal, {
      event: 'collections_listed',
      collections: collections.map(({ id }) => id),
      model_id: clearing.modelId,
      considered,
      denied,
      passed_over: passedOver,
      errors,
    })
    // A document without a verdict may have been the one that its collection lacks.
    return { collections, complete: complete && isWhole && stopped === undefined && errors === 0 }
  }
}

function takeEach(items: readonly Filed[], each: number): Filed[] {
  const taken = new Map<string, number>()
  return items.filter(({ collection }) => {
    const count = (taken.get(collection) ?? 0) + 1
    taken.set(collection, count)
    return count <= each
  })
}
