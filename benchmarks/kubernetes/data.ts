import { join } from 'node:path'
import type { TupleLine } from '../support/import.ts'
import { readLines } from '../support/lines.ts'
import type { Random } from './random.ts'

/** Documents of eight Kubernetes repositories with the project's own people, teams and owners. */
export interface KubernetesData {
  readonly documents: readonly KubernetesDocument[]
  readonly folders: readonly string[]
  readonly groups: readonly string[]
  /** Handles. Never shown: what these people do here is made up. */
  readonly people: readonly string[]
  readonly tuples: readonly TupleLine[]
  readonly queries: readonly { readonly id: string; readonly text: string }[]
  /** Digest of the sorted ids that each person can view, by an oracle of the data's authors. */
  readonly visible: readonly { readonly user: string; readonly documents: number; readonly sha256: string }[]
}

export interface KubernetesDocument {
  readonly id: string
  readonly repo: string
  readonly title: string
  readonly updated: string
  readonly text: string
}

export async function readKubernetes(folder: string): Promise<KubernetesData> {
  const ids = async (file: string): Promise<string[]> =>
    (await readLines<{ id: string }>(join(folder, file))).map(({ id }) => id)
  return {
    documents: await readLines(join(folder, 'documents.jsonl.gz')),
    folders: await ids('folders.jsonl'),
    groups: await ids('groups.jsonl'),
    people: await ids('users.jsonl'),
    tuples: await readLines(join(folder, 'tuples.jsonl.gz')),
    queries: await readLines(join(folder, 'queries.jsonl')),
    visible: await readLines(join(folder, 'visible.jsonl')),
  }
}

/** A share of the documents with only the folders, groups and tuples that bear on them. */
export function sample(data: KubernetesData, share: number, random: Random): KubernetesData {
  if (share >= 1) return data
  const documents = random.pick(data.documents, Math.ceil(data.documents.length * share))
  const byObject = Map.groupBy(data.tuples, ({ object }) => object)
  const bearing = new Set<string>()
  const add = (object: string): void => {
    if (bearing.has(object)) return
    bearing.add(object)
    for (const { user } of byObject.get(object) ?? []) add(user.split('#')[0] ?? '')
  }
  for (const { id } of documents) add(`document:${id}`)
  return {
    ...data,
    documents,
    folders: data.folders.filter((id) => bearing.has(`folder:${id}`)),
    groups: data.groups.filter((id) => bearing.has(`group:${id}`)),
    tuples: data.tuples.filter(({ object }) => bearing.has(object)),
  }
}
