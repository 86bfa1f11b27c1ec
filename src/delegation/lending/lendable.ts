import type { Fga } from '../../authz/fga.ts'
import type { AskNamed } from '../../authz/gate/named.ts'
import type { Clock } from '../../kernel/clock.ts'
import { collectionObject, type FgaObject, splitObject } from '../../kernel/ids.ts'
import { isStillInForce, readPublications } from '../../store/in-force.ts'
import { isOpenCollection, isOpenDocument } from '../../store/open-document.ts'
import type { Sql } from '../../store/sql.ts'

/** Something that a person may lend, as they know it. */
export interface Lendable {
  readonly object: FgaObject
  readonly title: string
}

/** What a person may lend at all: only what they may read themselves, now, by OpenFGA's word. */
export interface Lendables {
  /** To choose from: organizations that they belong to, and collections in which they may read something. */
  offered(subject: FgaObject): Promise<readonly Lendable[]>
  /**
   * Those of these that they may lend now, with titles. What is missing, what is forbidden and what its
   * source closes are left out, in the same time.
   */
  among(subject: FgaObject, objects: readonly FgaObject[]): Promise<ReadonlyMap<FgaObject, Lendable>>
}

export interface LendablesDeps {
  readonly sql: Sql
  readonly fga: Pick<Fga, 'listObjects'>
  readonly askNamed: AskNamed
  /** Whether the model in force has it. */
  readonly hasRelation: (type: string, relation: string) => boolean
  readonly clock: Clock
  /** Collections in which the gate has just cleared a document for this person. */
  readonly readableCollections: (
    subject: FgaObject,
    signal: AbortSignal,
  ) => Promise<readonly { readonly id: string; readonly title: string }[]>
}

const msMax = 5_000

/**
 * What OpenFGA has to say yes to. For a collection it is enough that they may read one document that is filed
 * there.
 */
const relations: Readonly<Record<string, string>> = {
  organization: 'member',
  collection: 'can_lend',
  folder: 'can_lend',
  document: 'can_read',
}

/** Titles come only for what the person may read now. */
export function createLendables(deps: LendablesDeps): Lendables {
  const { sql, fga, askNamed, hasRelation, clock, readableCollections } = deps

  /** A model in which nobody is blocked above a document says by `viewer` who may. */
  const relationOf = (type: string): string | undefined =>
    relations[type] !== 'can_lend' || hasRelation(type, 'can_lend') ? relations[type] : 'viewer'

  const byCollection = async (subject: FgaObject, signal: AbortSignal): Promise<Lendable[]> =>
    (await readableCollections(subject, signal)).map(({ id, title }) => ({
      object: collectionObject(id),
      title,
    }))

  return {
    async offered(subject) {
      const signal = AbortSignal.timeout(msMax)
      const organizations: Lendable[] = []
      const listed = fga.listObjects(
        { user: subject, relation: 'member', type: 'organization' },
        { now: clock.now(), signal },
      )
      for await (const object of listed) organizations.push({ object, title: splitObject(object).id })
      return [...organizations, ...(await byCollection(subject, signal))]
    },
    async among(subject, objects) {
      const signal = AbortSignal.timeout(msMax)
      const requestedObjects = [...new Set(objects)].flatMap((object) => {
        const relation = relationOf(splitObject(object).type)
        return relation === undefined ? [] : [{ relation, object }]
      })
      const named = requestedObjects.map(({ object }) => object)
      const asking = askNamed({ user: subject, asked: requestedObjects, signal })
      const publications = await readPublications(sql, idsOf('document', named))
      const closed = await closedOf(sql, named)
      const isOpen = (object: FgaObject): boolean => {
        const { type, id } = splitObject(object)
        return type === 'document' ? publications.has(id) : !closed.has(object)
      }
      const { verdicts } = await asking.answer(isOpen)
      // An error is a no as well: another answer for it would tell that the object is there.
      const allowed = named.filter((object, index) => verdicts[index] === 'allowed' && isOpen(object))
      const isUndecided = named.some(
        (object) => object.startsWith('collection:') && !allowed.includes(object),
      )
      const readable = isUndecided ? await byCollection(subject, signal) : []
      const requestedSet = new Set(named)
      const titles = await titlesOf(sql, allowed, publications)
      return new Map(
        [
          ...allowed.map((object) => ({ object, title: titles.get(object) ?? splitObject(object).id })),
          ...readable.filter(({ object }) => requestedSet.has(object)),
        ].map((lendable) => [lendable.object, lendable]),
      )
    },
  }
}

/** Collections of sources whose word does not count now, and folders that are filed there. */
async function closedOf(sql: Sql, objects: readonly FgaObject[]): Promise<ReadonlySet<string>> {
  const rows = await sql.query<{ object: string }>(
    `select object from (
       select 'collection:' || id as object, id as collection from unnest($1::text[]) as id
       union all
       select object, collection from filings where object = any($2)
     ) as named where not ${isOpenCollection('collection')}`,
    [idsOf('collection', objects), idsOf('folder', objects).map((id) => `folder:${id}`)],
  )
  return new Set(rows.map(({ object }) => object))
}

/**
 * Titles of what this person may read, of documents only while they have these publications, which were read
 * before OpenFGA was asked. Organizations and folders have none.
 */
export async function titlesOf(
  sql: Sql,
  objects: readonly FgaObject[],
  publications: ReadonlyMap<string, number> = new Map(),
): Promise<ReadonlyMap<string, string>> {
  const documents = idsOf('document', objects).flatMap((id) => {
    const publication = publications.get(id)
    return publication === undefined ? [] : [{ id, publication }]
  })
  const rows = await sql.query<{ object: string; title: string }>(
    `select 'collection:' || id as object, title from collections where id = any($1)
     union all
     select 'document:' || id, title from unnest($2::text[], $3::int[]) as cleared (id, publication) join documents using (id)
     where title <> '' and ${isStillInForce('documents', 'cleared.publication')} and ${isOpenDocument}`,
    [
      idsOf('collection', objects),
      documents.map(({ id }) => id),
      Int32Array.from(documents, ({ publication }) => publication),
    ],
  )
  return new Map(rows.map(({ object, title }) => [object, title]))
}

const idsOf = (type: string, objects: readonly FgaObject[]): string[] =>
  objects.map(splitObject).flatMap((object) => (object.type === type ? [object.id] : []))
