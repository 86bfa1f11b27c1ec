import type { Corpus } from '../corpus.ts'
import { long, passageOf, slices } from '../load.ts'
import type { Place } from '../servers.ts'
import { type Connection, connect } from './connection.ts'
import type { Labels } from './labels.ts'
import { type Peer, topK, type Way } from './way.ts'

const reader = 'remit_search_reader'

/**
 * Ways that copy permissions into the database and ask OpenFGA nothing: row-level security over a table of
 * who may read what, and labels in the row. On a table of their own, with an HNSW index of its own.
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
  const iterative = { 'hnsw.iterative_scan': 'relaxed_order', 'hnsw.ef_search': 40 }
  await using stack = new AsyncDisposableStack()
  const secured = stack.use(await connect(place, { ...iterative, role: reader }))
  const once = stack.use(await connect(place, { 'hnsw.ef_search': 40, role: reader }))
  const labelled = stack.use(await connect(place, iterative))
  const passages = (rows: readonly { chunk_id: string }[]) => ({
    passages: rows.map(({ chunk_id }) => passageOf(chunk_id)),
    checks: 0,
  })
  const secure = (connection: Connection): Pick<Way, 'kind' | 'ask' | 'change'> => ({
    kind: 'release',
    async ask({ person, sent }) {
      await connection.query('who', `select set_config('bench.labels', $1, false)`, [
        arrayOf(labels.ofPerson(person)),
      ])
      return passages(
        await connection.query<{ chunk_id: string }>(
          'secured',
          'select chunk_id from peer_chunks order by embedding <#> $1 limit $2',
          [sent, topK],
        ),
      )
    },
    async change({ person, document, isGiven }) {
      await database.query(
        isGiven
          ? 'insert into peer_readers values ($1, $2) on conflict do nothing'
          : 'delete from peer_readers where doc_no = $1 and label = $2',
        [document + 1, labels.labelOf(person)],
      )
    },
  })
  const owned = stack.move()
  return {
    ways: [
      {
        ...secure(secured),
        name: 'row-level security, iterative',
        is: 'a policy over a table of who may read what, ef_search 40, hnsw.iterative_scan relaxed_order, which pgvector names for filters; hnsw.max_scan_tuples as it comes (20,000)',
      },
      {
        ...secure(once),
        name: 'row-level security, one scan',
        is: 'the same as pgvector comes: ef_search 40, no iterative scan',
      },
      {
        name: 'labels &&, planner',
        kind: 'release',
        is: 'labels in the row with a GIN index beside HNSW, iterative scan, by the planner’s choice',
        ask: async ({ person, sent }) =>
          passages(
            await labelled.query<{ chunk_id: string }>(
              'labelled',
              `select chunk_id from peer_chunks where open && $2::int[] and not closed && $2::int[]
               order by embedding <#> $1 limit $3`,
              [sent, arrayOf(labels.ofPerson(person)), topK],
            ),
          ),
        async change({ person, document, isGiven }) {
          await database.query(
            `update peer_chunks set open = ${isGiven ? 'array_append' : 'array_remove'}(open, $2::int) where doc_no = $1`,
            [document + 1, labels.labelOf(person)],
          )
        },
      },
    ],
    close: () => owned.disposeAsync(),
  }
}
