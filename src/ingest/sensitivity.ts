import type { Fga } from '../authz/fga.ts'
import { documentObject, type FgaObject, splitObject } from '../kernel/ids.ts'
import { hasSensitive, type Tag } from './desired-tuples.ts'
import type { StoredDocument } from './document-rows.ts'
import { askSensitive } from './rights.ts'

/** Whether documents are sensitive, as OpenFGA said, and whether tags alone would make them so. */
export interface Sensitivity {
  /**
   * Whether the object is sensitive; a document by anything that was ever accepted and that nobody who may has ended: what
   * is in force, what waits to be published, what was withdrawn or refused. False for an object that was not asked about.
   */
  of(object: FgaObject): boolean
  /** Whether an object with these tags is sensitive, by itself or by where they put it. */
  by(tags: readonly Tag[]): boolean
}

/** More that is asked in the same call. */
interface More {
  readonly objects?: readonly FgaObject[]
  readonly tags?: readonly (readonly Tag[])[]
}

/**
 * What every decision about sensitivity rests on: marking takes a writer, unmarking `security.write`, whatever state a
 * document is in. Stays true for as long as the documents' locks are held. Throws 503 when OpenFGA does not answer.
 */
export async function askSensitivity(
  { fga, now }: { readonly fga: Fga; readonly now: number },
  documents: ReadonlyMap<string, StoredDocument>,
  { objects = [], tags: moreTags = [] }: More = {},
): Promise<Sensitivity> {
  const knownTags = [...documents.values()].flatMap((storedDocument) => [
    storedDocument.tags,
    storedDocument.pendingTags,
  ])
  const sensitive = await askSensitive(
    fga,
    [
      ...[...documents.keys()].map(documentObject),
      ...objects,
      ...[...knownTags, ...moreTags].flatMap(placesOf),
    ],
    now,
  )
  const isSensitiveBy = (documentTags: readonly Tag[]): boolean =>
    hasSensitive(documentTags) || placesOf(documentTags).some((placement) => sensitive.has(placement))
  return {
    by: isSensitiveBy,
    of: (object) => {
      if (sensitive.has(object)) return true
      const { type, id } = splitObject(object)
      const storedDocument = type === 'document' ? documents.get(id) : undefined
      return (
        storedDocument !== undefined &&
        (storedDocument.wasSensitive ||
          isSensitiveBy(storedDocument.tags) ||
          isSensitiveBy(storedDocument.pendingTags))
      )
    },
  }
}

const placesOf = (documentTags: readonly Tag[]): FgaObject[] =>
  documentTags.flatMap(({ relation, subject }) =>
    relation === 'parent' || relation === 'filed_in' ? [subject as FgaObject] : [],
  )
