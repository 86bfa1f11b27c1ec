import { toSql } from 'pgvector'
import type { Database } from '../../../store/sql.ts'
import type { ChunkVectors } from '../port.ts'
import { retireGenerations } from './retire-generations.ts'

/** The vectors of the chunks in Postgres, of the type that pgvector has for this database. */
export function createChunkVectors({ vectorType }: Pick<Database, 'vectorType'>): ChunkVectors {
  return {
    async shape(sql, dimensions) {
      const type = `${vectorType}(${dimensions})`
      await sql.query('drop index if exists chunks_embedding')
      // Where the old vectors lay says nothing of the new ones.
      await sql.query('delete from document_codes')
      await sql.query('delete from ivf_models')
      await retireGenerations(sql)
      for (const table of ['chunks', 'staged_chunks'])
        await sql.query(`alter table ${table} alter column embedding type ${type} using null::${type}`)
    },

    // As in migration 0001.
    async finish(sql) {
      await sql.query(
        `create index if not exists chunks_embedding on chunks using hnsw (embedding ${vectorType}_ip_ops)`,
      )
    },

    async dimensions(sql) {
      const [row] = await sql.query<{ dimensions: number }>(
        `select atttypmod as dimensions from pg_attribute
         where attrelid = 'chunks'::regclass and attname = 'embedding'`,
      )
      return row?.dimensions ?? 0
    },

    async countMissing(sql) {
      const [row] = await sql.query<{ count: number }>('select count(*) from chunks where embedding is null')
      return row?.count ?? 0
    },

    async missing(sql, afterId, limit) {
      const rows = await sql.query<{ chunk_id: string }>(
        'select chunk_id from chunks where embedding is null and chunk_id > $1 order by chunk_id limit $2',
        [afterId, limit],
      )
      return rows.map(({ chunk_id }) => chunk_id)
    },

    async stagedWithout(sql) {
      const rows = await sql.query<{ doc_no: number; revision: number }>(
        'select distinct doc_no, revision from staged_chunks where embedding is null',
      )
      return rows.map(({ doc_no, revision }) => ({ docNo: doc_no, revision }))
    },

    async put(sql, chunks) {
      await sql.query(
        `update chunks c set embedding = v.embedding::${vectorType}
         from unnest($1::text[], $2::text[]) as v (chunk_id, embedding) where c.chunk_id = v.chunk_id`,
        [chunks.map(({ chunkId }) => chunkId), chunks.map(({ vector }) => toSql([...vector]))],
      )
      // A search engine is filled anew.
      await retireGenerations(sql)
    },
  }
}
