import { join } from 'node:path'
import { readLines, readRows } from '../support/lines.ts'

/** A judged collection: documents, questions, and which documents answer which. */
export interface Collection {
  readonly name: string
  readonly documents: readonly { readonly id: string; readonly title: string; readonly text: string }[]
  readonly queries: readonly { readonly id: string; readonly text: string }[]
  /** Relevant documents by query. */
  readonly relevant: ReadonlyMap<string, ReadonlySet<string>>
}

export async function readCollection(name: string, folder: string): Promise<Collection> {
  const relevant = new Map<string, Set<string>>()
  for (const row of await readRows(join(folder, 'qrels.tsv'))) {
    const [query = '', document = '', judgement] = row.split('\t')
    if (judgement !== '1') continue
    relevant.set(query, (relevant.get(query) ?? new Set()).add(document))
  }
  return {
    name,
    documents: await readLines(join(folder, 'docs.jsonl.gz')),
    queries: await readLines(join(folder, 'queries.jsonl')),
    relevant,
  }
}
