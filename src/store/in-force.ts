import { isOpenDocument } from './open-document.ts'
import type { Sql } from './sql.ts'

/**
 * The numbers of what these documents have in force. To be read before OpenFGA is asked: what is read of a
 * document afterwards counts as readable only while it has the same ({@link isStillInForce}), since somebody
 * may have been taken off before the next was published. Those that are not there, or that their source
 * closes, are left out.
 */
export async function readPublications(
  sql: Sql,
  documentIds: readonly string[],
): Promise<ReadonlyMap<string, number>> {
  const rows = await sql.query<{ id: string; publication: number }>(
    `select id, ${publicationOf('documents')} as publication from documents
     where id = any($1::text[]) and live_revision is not null and ${isOpenDocument}`,
    [documentIds],
  )
  return new Map(rows.map(({ id, publication }) => [id, publication]))
}

/** SQL that is true where a row of `documents` has this publication in force. */
export const isStillInForce = (documents: string, publication: string): string =>
  `${documents}.live_revision is not null and ${publicationOf(documents)} = ${publication}`

/** Those of before publications had numbers have 0. */
export const publicationOf = (documents: string): string => `coalesce(${documents}.publication, 0)`
