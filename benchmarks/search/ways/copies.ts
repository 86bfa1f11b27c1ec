import type { Corpus } from '../corpus.ts'
import { long, passageOf, slices } from '../load.ts'
import type { Place } from '../servers.ts'
import { connect } from './connection.ts'
import type { Labels } from './labels.ts'
import { type Peer, topK, type Way } from './way.ts'

const reader = 'remit_search_reader'

/**
 * Two ways that copy permissions into the database and ask OpenFGA nothing: row-level security over a table
 * of who may read what, and labels in the row. On a table of their own, with an HNSW index of its own.
 */
export async function copyWays(
  place: Place,
  corpus: Corpus,
  labels: Labels,
): Promise<{ readonly ways: readonly Way<Peer>[]; readonly close: () => Promise<void> }> {
  const { database } = place
  await long(database, [
    'create table peer_documents (doc_no integer primary key, open integer[] not null, closed integer[] not null)',
  ])
  const arrayOf = (of: readonly number[]): string => `{${of.join(',')}}`
  for (const slice of slices(corpus.documents.length, 5_000))
    await database.query(
      `insert into peer_documents select no, open::int[], closed::int[]
       from unnest($1::int[], $2::text[], $3::text[]) as d (no, open, closed)`,
      [
        slice.map((at) => at + 1),
        slice.map((at) => arrayOf(labels.open[at] ?? [])),
        slice.map((at) => arrayOf(labels.closed[at] ?? [])),
      ],
    )
  await long(database, [
    `create table peer_chunks as
     select chunk_id, doc_no, embedding, open, closed from chunks join peer_documents using (doc_no)`,
    `create index on peer_chunks using hnsw (embedding ${database.vectorType}_ip_ops)`,
    'create index on peer_chunks using gin (open)',
    'create index on peer_chunks (doc_no)',
    `create table peer_readers as
     select doc_no, unnest(open) as label from peer_documents`,
    'alter table peer_readers add primary key (doc_no, label)',
    'create index on peer_readers (label)',
    `create table peer_barred as
     select doc_no, unnest(closed) as label from peer_documents`,
    'create index on peer_barred (doc_no, label)',
    `do $$ begin create role ${reader}; exception when duplicate_object or unique_violation then null; end $$`,
    `grant select on peer_chunks, peer_readers, peer_barred to ${reader}`,
    'alter table peer_chunks enable row level security',
    `create policy readers on peer_chunks for select to ${reader} using (
       exists (select 1 from peer_readers r where r.doc_no = peer_chunks.doc_no
               and r.label = any(current_setting('bench.labels')::int[]))
       and not exists (select 1 from peer_barred b where b.doc_no = peer_chunks.doc_no
                       and b.label = any(current_setting('bench.labels')::int[])))`,
    'analyze peer_chunks',
    'analyze peer_readers',
    'analyze peer_barred',
  ])
  const settings = { 'hnsw.iterative_scan': 'relaxed_order', 'hnsw.ef_search': 40 }
  const secured = await connect(place, { ...settings, role: reader })
  const labelled = await connect(place, settings)
  const passages = (rows: readonly { chunk_id: string }[]) => ({
    passages: rows.map(({ chunk_id }) => passageOf(chunk_id)),
    checks: 0,
  })
  return {
    ways: [
      {
        name: 'row-level security, iterative',
        kind: 'release',
        async ask({ person, sent }) {
          await secured.query('who', `select set_config('bench.labels', $1, false)`, [
            arrayOf(labels.ofPerson(person)),
          ])
          return passages(
            await secured.query<{ chunk_id: string }>(
              'secured',
              'select chunk_id from peer_chunks order by embedding <#> $1 limit $2',
              [sent, topK],
            ),
          )
        },
      },
      {
        name: 'labels &&, planner',
        kind: 'release',
        ask: async ({ person, sent }) =>
          passages(
            await labelled.query<{ chunk_id: string }>(
              'labelled',
              `select chunk_id from peer_chunks where open && $2::int[] and not closed && $2::int[]
               order by embedding <#> $1 limit $3`,
              [sent, arrayOf(labels.ofPerson(person)), topK],
            ),
          ),
      },
    ],
    close: async () => {
      await secured[Symbol.asyncDispose]()
      await labelled[Symbol.asyncDispose]()
    },
  }
}
