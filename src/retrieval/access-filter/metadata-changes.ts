import type { Database, Statement } from '../../store/sql.ts'
import { snapshotColumns } from '../corpus/read.ts'
import type { Fields } from '../filter.ts'

/** What was read of documents' metadata is of this moment: whatever it did not show yet is asked again. */
export interface MetadataSnapshot {
  readonly snapshot: string
  readonly server: string
}

/** Declared fields, and the documents whose metadata changed since a snapshot. */
export interface MetadataChanges extends MetadataSnapshot {
  readonly fields: Fields
  /**
   * Numbers of documents whose rows changed since. undefined: by an older copy or another server, which
   * cannot tell.
   */
  readonly changed: Int32Array | undefined
}

/**
 * The fields, and what changed since a snapshot: a trigger sets `changed_in` with whatever changes metadata,
 * or whether a document is found. Of no snapshot nothing did.
 */
const lookStatement: Statement = {
  name: 'filter_look',
  text: `select ${snapshotColumns},
    pg_snapshot_xmax(pg_current_snapshot()) < pg_snapshot_xmax($1::pg_snapshot) as is_older,
    (select coalesce(json_object_agg(name, type), '{}') from fields) as fields,
    (select string_agg(int4send(doc_no), '') from documents
     where changed_in >= pg_snapshot_xmin($1::pg_snapshot)
       and changed_in < pg_snapshot_xmax(pg_current_snapshot())
       and not pg_visible_in_snapshot(changed_in, $1::pg_snapshot)) as changed`,
}

/** Counts publications of any process from their commit on. */
export async function readMetadataChanges(
  database: Database,
  sinceSnapshot: MetadataSnapshot | undefined,
): Promise<MetadataChanges> {
  const [row] = await database.queryFixedPlan<{
    snapshot: string
    server: string
    is_older: boolean | null
    fields: Record<string, 'string' | 'number' | 'boolean' | 'date'>
    changed: Uint8Array | null
  }>(lookStatement, [sinceSnapshot?.snapshot ?? null])
  if (row === undefined) throw new Error('A statement that always gives a row gave none.')
  const { snapshot, server, is_older: isOlder, fields, changed } = row
  const isOther = isOlder === true || (sinceSnapshot !== undefined && sinceSnapshot.server !== server)
  return {
    snapshot,
    server,
    fields: new Map(Object.entries(fields)),
    changed: isOther ? undefined : numbersIn(changed),
  }
}

/** As `int4send` writes them: bytes are read sooner than as many rows. */
export function numbersIn(bytes: Uint8Array | null): Int32Array {
  if (bytes === null) return new Int32Array(0)
  const view = new DataView(bytes.buffer, bytes.byteOffset, bytes.byteLength)
  return Int32Array.from({ length: bytes.byteLength >> 2 }, (_, index) => view.getInt32(4 * index))
}
