import { setImmediate } from 'node:timers/promises'
import { record } from '../audit/record.ts'
import { type Clearance, type Gate, questionFor } from '../authz/gate.ts'
import type { Nominator } from '../authz/nominate.ts'
import type { Principal } from '../kernel/principal.ts'
import { isOpenDocument } from '../store/open-document.ts'
import type { Sql } from '../store/sql.ts'
import type { Sights } from './access-filter/sights.ts'
import type { Snapshot } from './access-filter/snapshots.ts'
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

/** Sights name candidates, the nominator does where they cannot, the gate decides. */
export interface CollectionListerDeps {
  readonly sql: Sql
  readonly sights: Sights
  readonly nominator: Nominator
  readonly gate: Gate
  readonly approvals: Pick<Approvals, 'presentable'>
}

interface Filed {
  readonly documentId: string
  readonly collection: string
}

// So many ids go to the database and through the gate at a time: who sees a million documents stops nobody.
const pageMax = 1_000
// So many visible documents are looked at in one go.
const lookMax = 10_000

/**
 * Collections in which the gate has just cleared at least one document; filing alone shows nothing.
 * Asks about one document of each, as it is now (`strict`), then about more of those that are not proven yet.
 * A document without text counts only where what is visible is not known from memory.
 */
export function createCollectionLister(dependencies: CollectionListerDeps): CollectionLister {
  const { sql, sights, nominator, gate, approvals } = dependencies
  return async (principal, { signal }) => {
    // By remembered grants alone: nothing of a document leaves, so that this is no use of one that is
    // counted.
    const presentedGrants = await approvals.presentable(principal, { named: [] })
    const grants = presentedGrants.map(({ id }) => id)
    const { collections: allowedCollections } = narrowedCollections(principal)
    const lookUp = (ids: readonly string[]) =>
      sql.query<{ id: string; collection: string }>(
        `select id, collection from documents
         where id = any($1) and live_revision is not null and ($2::text[] is null or collection = any($2))
           and ${isOpenDocument}`,
        [ids, allowedCollections ?? null],
      )

    /** What is visible where memory does not tell. */
    async function nominate(): Promise<{ readonly visible: readonly Filed[]; readonly complete: boolean }> {
      const { documentIds, complete } = await nominator.nominate(principal, { signal, grants })
      const visible: Filed[] = []
      for (const page of pagesOf(documentIds))
        for (const { id, collection } of await lookUp(page)) visible.push({ documentId: id, collection })
      return { visible, complete }
    }

    const { isWhole, snapshots } = await sights.of([questionFor(principal, grants)], signal)
    const [snapshot] = snapshots
    const { visible, complete } =
      snapshot === undefined ? await nominate() : { visible: inMemory(snapshot), complete: true }
    const provenCollections = new Set<string>()
    const askedIds = new Set<string>()
    const clearing = gate.open(principal, {
      consistency: 'strict',
      grants: shownGrants(presentedGrants),
      signal,
    })
    const isWanted = ({ documentId, collection }: Filed): boolean =>
      allowedCollections?.includes(collection) !== false &&
      !provenCollections.has(collection) &&
      !askedIds.has(documentId)
    let stopped: Clearance<Filed>['stopped']
    for (let perCollection = 1; stopped === undefined; perCollection *= 4) {
      const wave = await takeEach(visible, perCollection, isWanted)
      if (wave.length === 0) break
      for (const page of pagesOf(wave)) {
        for (const id of page) askedIds.add(id)
        const filed = (await lookUp(page)).map(({ id, collection }) => ({ documentId: id, collection }))
        const clearance = await clearing.clear(
          filed.filter(({ collection }) => !provenCollections.has(collection)),
        )
        for (const { collection } of clearance.cleared) provenCollections.add(collection)
        stopped = clearance.stopped
        if (stopped !== undefined) break
      }
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
    return { collections, complete: complete && isWhole && stopped === undefined && errors === 0 }
  }
}

/** Anew each time that it is gone through. */
const inMemory = ({ content, documents }: Snapshot): Iterable<Filed> => ({
  *[Symbol.iterator]() {
    for (const docNo of content.docNos()) {
      const documentId = documents.idOf(docNo)
      const collection = documents.collectionOf(docNo)
      if (documentId !== undefined && collection !== undefined) yield { documentId, collection }
    }
  },
})

function* pagesOf(ids: readonly string[]): Generator<readonly string[]> {
  for (let offset = 0; offset < ids.length; offset += pageMax) yield ids.slice(offset, offset + pageMax)
}

/** Ids of at most so many of each collection. Lets others have their turn on the way. */
async function takeEach(
  visible: Iterable<Filed>,
  perCollection: number,
  isWanted: (filed: Filed) => boolean,
): Promise<readonly string[]> {
  const takenByCollection = new Map<string, number>()
  const taken: string[] = []
  let looked = 0
  for (const filed of visible) {
    if (++looked % lookMax === 0) await setImmediate()
    const count = takenByCollection.get(filed.collection) ?? 0
    if (count === perCollection || !isWanted(filed)) continue
    takenByCollection.set(filed.collection, count + 1)
    taken.push(filed.documentId)
  }
  return taken
}
