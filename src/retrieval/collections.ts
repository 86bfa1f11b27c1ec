import { record } from '../audit/record.ts'
import type { Clearance, Gate } from '../authz/gate.ts'
import type { Nominator } from '../authz/nominate.ts'
import type { Principal } from '../kernel/principal.ts'
import { isOpenDocument } from '../store/open-document.ts'
import type { Sql } from '../store/sql.ts'
import { type Approvals, shownGrants } from './approvals.ts'
import type { Deadline } from './deadline.ts'
import { narrowedCollections } from './scope.ts'

/** A collection in which the caller may read something. */
export interface CollectionSummary {
  readonly id: string
  readonly title: string
}

/** Collections, in the order of their ids. */
export interface CollectionList {
  readonly collections: readonly CollectionSummary[]
  readonly complete: boolean
}

/** Lists collections in which the gate cleared at least one document. */
export type CollectionLister = (principal: Principal, deadline: Deadline) => Promise<CollectionList>

/** The nominator names candidates, the gate decides. */
export interface CollectionListerDeps {
  readonly sql: Sql
  readonly nominator: Nominator
  readonly gate: Gate
  readonly approvals: Pick<Approvals, 'presentable'>
  /**
   * Whether the permission index has heard of all that OpenFGA held a moment ago; it may wait a little for
   * that.
   */
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
export function createCollectionLister(dependencies: CollectionListerDeps): CollectionLister {
  const { sql, nominator, gate, approvals, hasTail } = dependencies
  return async (principal, { signal }) => {
    // By remembered grants alone: nothing of a document leaves, so that this is no use of one that is
    // counted.
    const presentedGrants = await approvals.presentable(principal, { named: [] })
    const grants = presentedGrants.map(({ id }) => id)
    const isWhole = await hasTail()
    const { documentIds, complete: isNominationComplete } = await nominator.nominate(principal, {
      signal,
      grants,
    })
    const { collections: allowedCollections } = narrowedCollections(principal)
    const rows = await sql.query<{ id: string; collection: string }>(
      `select id, collection from documents
       where id = any($1) and live_revision is not null and ($2::text[] is null or collection = any($2))
         and ${isOpenDocument}
       order by collection, id`,
      [documentIds, allowedCollections ?? null],
    )
    let remaining = rows.map(({ id, collection }): Filed => ({ documentId: id, collection }))
    const provenCollections = new Set<string>()
    const clearing = gate.open(principal, {
      consistency: 'strict',
      grants: shownGrants(presentedGrants),
      signal,
    })
    let stopped: Clearance<Filed>['stopped']
    for (let perCollection = 1; remaining.length > 0 && stopped === undefined; perCollection *= 4) {
      const wave = takeEach(remaining, perCollection)
      const clearance = await clearing.clear(wave)
      for (const { collection } of clearance.cleared) provenCollections.add(collection)
      stopped = clearance.stopped
      const askedFiled = new Set(wave)
      remaining = remaining.filter(
        (filed) => !askedFiled.has(filed) && !provenCollections.has(filed.collection),
      )
    }
    if (stopped !== undefined && provenCollections.size === 0) throw stopped
    const { considered, denied, passedOver, errors } = clearing.counts
    const collections = await sql.query<{ id: string; title: string }>(
      'select id, title from collections where id = any($1) order by id',
      [[...provenCollections]],
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
    return { collections, complete: isNominationComplete && isWhole && stopped === undefined && errors === 0 }
  }
}

function takeEach(filedDocuments: readonly Filed[], perCollection: number): Filed[] {
  const takenByCollection = new Map<string, number>()
  return filedDocuments.filter(({ collection }) => {
    const count = (takenByCollection.get(collection) ?? 0) + 1
    takenByCollection.set(collection, count)
    return count <= perCollection
  })
}
