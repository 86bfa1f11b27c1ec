import { randomUUID } from 'node:crypto'
import type { Assignments, IvfModel, Vectors } from '@remit/vector-index'
import { modelFromBytes, modelToBytes } from '@remit/vector-index'
import { endExpired, type Lease, takeLease } from '../../../store/lease.ts'
import type { Database, Sql } from '../../../store/sql.ts'
import { type CorpusMark, readChanged, readPages } from '../../corpus/read.ts'

/** A stored model, by its number. */
export interface Generation {
  readonly generation: number
  /** Live passages when it was made. */
  readonly passages: number
}

/** Newest last. */
export async function readGenerations(sql: Sql): Promise<readonly Generation[]> {
  return sql.query<{ generation: number; passages: number }>(
    'select generation, passages from ivf_models order by generation',
  )
}

/** undefined: it is gone, or of another version of this program. */
export async function readModel(sql: Sql, generation: number): Promise<IvfModel | undefined> {
  const [row] = await sql.query<{ model: Buffer }>('select model from ivf_models where generation = $1', [
    generation,
  ])
  return row && modelFromBytes(row.model)
}

/** Stores a model as the newest generation. Throws where the lease went to another process. */
export function saveModel(lease: Lease, model: IvfModel, passages: number): Promise<void> {
  return lease.transaction(async (sql) => {
    await sql.query('insert into ivf_models (model, passages) values ($1, $2)', [
      modelToBytes(model),
      passages,
    ])
  })
}

/** What lies in no older one any more. */
export function dropOlder(lease: Lease, generation: number): Promise<void> {
  return lease.transaction(async (sql) => {
    await sql.query(
      `delete from ivf_models m where generation < $1 and not exists (
         select from document_codes d where d.generation = m.generation and d.partitions <> '')`,
      [generation],
    )
  })
}

/** The assignments of one document's chunks, in their order. None: the document is gone. */
export interface DocumentCodes extends Assignments {
  readonly docNo: number
  readonly generation: number
}

interface CodesRow extends Pick<DocumentCodes, 'docNo' | 'generation'> {
  readonly partitions: Buffer
  readonly codes: Buffer
}

const pageSize = 5_000
const codesTable = { name: 'document_codes', columns: 'doc_no as "docNo", generation, partitions, codes' }

/** Reads all, in pages, and gives the place from which to read on. */
export const readAllCodes = (sql: Sql, onRow: (row: DocumentCodes) => void): Promise<CorpusMark> =>
  readPages<CodesRow>(sql, codesTable, pageSize, (rows) => {
    for (const row of rows) onRow(toDocumentCodes(row))
  })

/** What a snapshot did not show, whenever it was begun. */
export async function readCodesSince(
  sql: Sql,
  mark: CorpusMark,
): Promise<{ readonly rows: readonly DocumentCodes[]; readonly seen: CorpusMark }> {
  const { rows, seen } = await readChanged<CodesRow>(sql, codesTable, mark)
  return { rows: rows.map(toDocumentCodes), seen }
}

// Copies begin at 0: two bytes may not begin anywhere.
const toDocumentCodes = ({ docNo, generation, partitions, codes }: CodesRow): DocumentCodes => ({
  docNo,
  generation,
  partitions: new Uint16Array(Uint8Array.from(partitions).buffer),
  codes: Uint8Array.from(codes),
})

/** Of some documents, in the transaction that makes them live or moves them. */
export async function saveCodes(
  sql: Sql,
  generation: number,
  documents: readonly Omit<DocumentCodes, 'generation'>[],
): Promise<void> {
  await sql.query(
    `insert into document_codes (doc_no, generation, partitions, codes)
     select n, $1, decode(partitions, 'base64'), decode(codes, 'base64')
     from unnest($2::int[], $3::text[], $4::text[]) as d (n, partitions, codes)
     on conflict (doc_no) do update set generation = excluded.generation, partitions = excluded.partitions,
       codes = excluded.codes, changed_in = pg_current_xact_id()`,
    [
      generation,
      Int32Array.from(documents, ({ docNo }) => docNo),
      documents.map(({ partitions }) => bytesOf(partitions).toString('base64')),
      documents.map(({ codes }) => bytesOf(codes).toString('base64')),
    ],
  )
}

const bytesOf = ({ buffer, byteOffset, byteLength }: Uint16Array | Uint8Array): Buffer =>
  Buffer.from(buffer, byteOffset, byteLength)

/** A document with its vectors that the newest model has not assigned. */
export interface Unassigned {
  readonly docNo: number
  readonly revision: number
  readonly vectors: Vectors
}

/** Live documents after this number that do not lie in this generation, with their vectors by ordinal. */
export async function readUnassigned(
  database: Database,
  generation: number,
  afterDocNo: number,
  passagesMax: number,
): Promise<readonly Unassigned[]> {
  const rows = await database.query<{ doc_no: number; revision: number; vectors: (Buffer | null)[] }>(
    `select d.doc_no, d.live_revision as revision,
       (select array_agg(${send(database)}(c.embedding) order by c.ordinal) from chunks c where c.doc_no = d.doc_no) as vectors
     from (
       select d.doc_no, d.live_revision, sum(d.chunk_count) over (order by d.doc_no) - d.chunk_count as before
       from documents d left join document_codes m on m.doc_no = d.doc_no and m.partitions <> ''
       where d.doc_no > $2 and d.live_revision is not null and d.chunk_count > 0
         and m.generation is distinct from $1 and coalesce(m.generation, 0) < $1
       order by d.doc_no limit 500
     ) d where d.before < $3`,
    [generation, afterDocNo, passagesMax],
  )
  return rows.map(({ doc_no, revision, vectors }) => ({
    docNo: doc_no,
    revision,
    vectors: vectorsFrom(database, vectors),
  }))
}

/** Some of the live vectors, as if drawn by lot. */
export async function readSample(database: Database, percent: number): Promise<Vectors> {
  const rows = await database.query<{ vector: Buffer }>(
    `select ${send(database)}(embedding) as vector from chunks tablesample bernoulli ($1)
     where embedding is not null`,
    [Math.min(100, Math.max(0.001, percent))],
  )
  return vectorsFrom(
    database,
    rows.map(({ vector }) => vector),
  )
}

/** Of documents that are about to be live; one without chunks is left out. */
export async function readStagedVectors(
  sql: Sql,
  vectorType: Database['vectorType'],
  revisions: readonly Pick<Unassigned, 'docNo' | 'revision'>[],
): Promise<readonly Omit<Unassigned, 'revision'>[]> {
  const rows = await sql.query<{ doc_no: number; vectors: (Buffer | null)[] }>(
    `select s.doc_no, array_agg(${send({ vectorType })}(s.embedding) order by s.ordinal) as vectors
     from unnest($1::int[], $2::bigint[]) as r (doc_no, revision) join staged_chunks s using (doc_no, revision)
     group by s.doc_no order by s.doc_no`,
    [revisions.map(({ docNo }) => docNo), revisions.map(({ revision }) => revision)],
  )
  return rows.map(({ doc_no, vectors }) => ({
    docNo: doc_no,
    vectors: vectorsFrom({ vectorType }, vectors),
  }))
}

/**
 * Places of documents that are still at the revision whose vectors were read; one that was replaced or
 * withdrawn meanwhile is left out.
 */
export async function saveAssigned(
  lease: Lease,
  generation: number,
  documents: readonly (Unassigned & { readonly assignments: Assignments })[],
): Promise<void> {
  await lease.transaction(async (sql) => {
    const rows = await sql.query<{ doc_no: number; revision: number }>(
      `select doc_no, live_revision as revision from documents where doc_no = any($1::int[]) order by doc_no for share`,
      [Int32Array.from(documents, ({ docNo }) => docNo)],
    )
    const liveRevisions = new Map(rows.map(({ doc_no, revision }) => [doc_no, revision]))
    const unchanged = documents.filter(({ docNo, revision }) => liveRevisions.get(docNo) === revision)
    await saveCodes(
      sql,
      generation,
      unchanged.map(({ docNo, assignments }) => ({ docNo, ...assignments })),
    )
  })
}

// Beside it in its table lie documents, folders and collections, which have a colon in their names.
const training = ['ivf']
const lost = () => new Error('Another process trains the index by now.')

/** The right to train the index, without which nothing of it is written; undefined: somebody else does. */
export async function takeTrainingLease(database: Database, seconds: number): Promise<Lease | undefined> {
  await endExpired(database, training)
  return takeLease({ database, seconds, lost }, training, randomUUID())
}

const send = ({ vectorType }: Pick<Database, 'vectorType'>): string =>
  vectorType === 'halfvec' ? 'halfvec_send' : 'vector_send'

/** As `halfvec_send` and `vector_send` write them. One that is missing is all 0. */
function vectorsFrom(
  { vectorType }: Pick<Database, 'vectorType'>,
  rows: readonly (Buffer | null)[],
): Vectors {
  const dimensions = rows.find((row) => row !== null)?.readInt16BE(0) ?? 0
  const numbers = new Float32Array(rows.length * dimensions)
  const size = vectorType === 'halfvec' ? 2 : 4
  for (const [index, row] of rows.entries()) {
    if (row === null) continue
    const view = new DataView(row.buffer, row.byteOffset, row.byteLength)
    const offset = index * dimensions
    for (let axis = 0; axis < dimensions; axis += 1)
      numbers[offset + axis] = size === 2 ? view.getFloat16(4 + 2 * axis) : view.getFloat32(4 + 4 * axis)
  }
  return { numbers, dimensions }
}
