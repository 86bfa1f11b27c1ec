import { operator } from '../../src/audit/record.ts'
import type { Tuple } from '../../src/authz/fga.ts'
import type { Service } from '../../src/compose/compose.ts'
import { normalize } from '../../src/embed/embedder.ts'
import { createIvfIndex } from '../../src/retrieval/chunk-index/ivf/ivf-index.ts'
import type { Database, Sql } from '../../src/store/sql.ts'
import { createRandom } from '../kubernetes/random.ts'

export const dimensions = 384
export const agent = 'bench-bot'
const passagesOfDocument = 10
const foldersCount = 100
const text = 'A passage of the size that passages have. '.repeat(24)

/** Draws a vector near one of the topics. */
export type DrawVector = () => Float32Array

export function createVectors(seed: number): DrawVector {
  const { next: random } = createRandom(seed)
  const draw = () => Float32Array.from({ length: dimensions }, () => random() + random() + random() - 1.5)
  const topics = Array.from({ length: 50 }, draw)
  return () => {
    const topic = topics[Math.floor(random() * topics.length)] ?? draw()
    return normalize(draw().map((noise, at) => (topic[at] ?? 0) + noise))
  }
}

/**
 * Stores so many passages; `passages / 10` documents in a hundred folders, of which each person may read a
 * share.
 */
export async function fillCorpus(
  { service, database }: { readonly service: Service; readonly database: Database },
  { passages, shares, draw }: { passages: number; shares: ReadonlyMap<string, number>; draw: DrawVector },
): Promise<void> {
  await service.ingest.saveCollection(operator('t_bench'), { id: 'c', title: 'C', publicAllowed: false })
  const documents = passages / passagesOfDocument
  await database.transaction((sql) => fill(sql, documents, draw))
  await database.query('analyze')
  // As the service does within a minute.
  await using ivf = createIvfIndex({ database, log: () => undefined })
  await ivf.renew()
  const tuples: Tuple[] = Array.from({ length: documents }, (_, at) => [
    { user: 'collection:c', relation: 'filed_in', object: `document:${at}` } as const,
    { user: `folder:${at % foldersCount}`, relation: 'parent', object: `document:${at}` } as const,
  ]).flat()
  for (const [user, share] of shares) {
    for (let at = 0; at < foldersCount * share; at += 1)
      tuples.push({ user: `user:${user}`, relation: 'viewer', object: `folder:${at}` })
  }
  for (let from = 0; from < tuples.length; from += 100)
    await service.fga.write({ writes: tuples.slice(from, from + 100) })
  await service.agents.save({
    id: agent,
    owner: 'user:all',
    purpose: 'b',
    issuer: service.ownIssuer,
    sub: agent,
  })
  for (const user of shares.keys()) {
    await service.people.save({ key: user, name: user })
    await service.delegations.lend({
      subject: `user:${user}`,
      agent,
      scope: ['collection:c'],
      purpose: 'bench',
      expiresAt: new Date(Date.now() + 36_000_000),
    })
  }
}

async function fill(sql: Sql, documents: number, draw: DrawVector): Promise<void> {
  await sql.query('set local statement_timeout = 0')
  await sql.query(
    `insert into documents (id, collection, live_revision, chunk_count)
     select n, 'c', 1, $2 from generate_series(0, $1::int) n`,
    [documents - 1, passagesOfDocument],
  )
  for (let from = 0; from < documents; from += 100) {
    const count = Math.min(100, documents - from) * passagesOfDocument
    await sql.query(
      `insert into chunks (chunk_id, doc_no, ordinal, embedding)
       select 'c_' || md5(d.id || ' ' || (v.nth - 1) % $3::int), d.doc_no, (v.nth - 1) % $3::int, v.embedding::halfvec
       from unnest($1::text[]) with ordinality as v (embedding, nth)
       join documents d on d.id = ($2::int + (v.nth - 1) / $3::int)::text`,
      [Array.from({ length: count }, () => `[${draw().join(',')}]`), from, passagesOfDocument],
    )
  }
  await sql.query(
    `insert into chunk_texts (chunk_id, doc_no, ordinal, text, headings, start_offset, end_offset)
     select chunk_id, doc_no, ordinal, $1, '{Heading}', 0, 1000 from chunks`,
    [text],
  )
}
