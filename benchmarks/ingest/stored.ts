import { dirname, join } from 'node:path'
import { openPglite } from '../../src/store/pglite.ts'

/** What two ingestions of one folder left in the store of a service that does not run. */
export interface Compared {
  readonly documents: number
  readonly passages: number
  /** Of the second: passages and rows of access that it has not, and the first has. */
  readonly missing: number
  /** Passages and rows of access that it has, and the first has not, or not so often. */
  readonly twice: number
  /** Passages without a vector, of either. */
  readonly withoutVector: number
  /**
   * Revisions, passages and permissions that still wait to be put in or taken away, and work of jobs not
   * done, of either.
   */
  readonly leftOver: number
  /** Documents of the second that were begun again. No loss: the newest revision alone is found. */
  readonly begunAgain: number
}

// One row for each thing that a document is made of; of a passage its text and place count, not its id, of
// which the revision is a part.
const things = `
  select split_part(d.id, '/', 2) as document, 'document' as kind, md5(t.text) as what
    from documents d join document_texts t using (doc_no) where d.collection = $1 and d.live_revision is not null
  union all
  select split_part(d.id, '/', 2), 'passage', c.ordinal || ' ' || x.text
    from documents d join chunks c using (doc_no) join chunk_texts x using (chunk_id) join chunk_words w using (chunk_id)
    where d.collection = $1
  union all
  select split_part(object, '/', 2), 'access', relation || ' ' || replace(subject, $1, '')
    from engine_tuples where object like 'document:' || $1 || '/%'
  union all
  select split_part(object, '/', 2), 'tag', relation || ' ' || replace(subject, $1, '')
    from desired_tuples where object like 'document:' || $1 || '/%'`

/** Compares the `killed` collection with the `whole` one, thing by thing, each as often as it is there. */
export async function compareStored(home: string, whole: string, killed: string): Promise<Compared> {
  await using database = await openPglite({ dataDir: join(home, 'db'), socketDir: dirname(home) })
  const there = async (collection: string) =>
    (await database.query<{ document: string; kind: string; what: string }>(things, [collection])).map(
      ({ document, kind, what }) => `${document}\n${kind}\n${what}`,
    )
  const [first, second] = [await there(whole), await there(killed)]
  const [row] = await database.query<Pick<Compared, 'withoutVector' | 'leftOver' | 'begunAgain'>>(
    `select (select count(*)::int from chunks c join documents d using (doc_no)
         where c.embedding is null and d.collection in ($1, $2)) as "withoutVector",
       ((select count(*) from revisions) + (select count(*) from staged_chunks) + (select count(*) from unreconciled)
         + (select coalesce(sum(total - done - failed), 0) from jobs))::int as "leftOver",
       (select count(*)::int from documents where collection = $2 and live_revision > 1) as "begunAgain"`,
    [whole, killed],
  )
  if (row === undefined) throw new Error('The store does not say what is left over.')
  return {
    documents: second.filter((thing) => thing.includes('\ndocument\n')).length,
    passages: second.filter((thing) => thing.includes('\npassage\n')).length,
    missing: notIn(first, second),
    twice: notIn(second, first),
    ...row,
  }
}

/** How many of these are not among the others, each as often as it is there. */
function notIn(these: readonly string[], others: readonly string[]): number {
  const left = new Map<string, number>()
  for (const other of others) left.set(other, (left.get(other) ?? 0) + 1)
  return these.filter((one) => {
    const count = left.get(one) ?? 0
    left.set(one, count - 1)
    return count <= 0
  }).length
}
