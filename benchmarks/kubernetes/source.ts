import { createHash } from 'node:crypto'
import {
  type BrokenItem,
  changesByListing,
  type Directory,
  type ItemChange,
  itemByListing,
  type Source,
} from '@remit/connector'
import type { TupleLine } from '../support/import.ts'
import type { KubernetesData, KubernetesDocument } from './data.ts'

export interface KubernetesSourceOptions {
  /** The data as it is now. */
  readonly read: () => KubernetesData
  /** A person of the data → who they are in Remit. */
  readonly subjectOf: (person: string) => string
}

/** Our model has no editors. */
const relations: Readonly<Record<string, 'viewer' | 'parent'>> = {
  viewer: 'viewer',
  editor: 'viewer',
  owner: 'viewer',
  parent: 'parent',
}

/**
 * The Kubernetes data set as a source: its people and teams as accounts and groups, its folders as folders,
 * its files as items. A document with a relation that cannot be said here is broken: it may be one that keeps
 * somebody from reading.
 */
export function createKubernetesSource({ read, subjectOf }: KubernetesSourceOptions): Source {
  async function list(): Promise<readonly (ItemChange | BrokenItem)[]> {
    const data = read()
    const byObject = Map.groupBy(data.tuples, ({ object }) => object)
    return data.documents.map((document) =>
      itemOf(document, byObject.get(`document:${document.id}`) ?? [], subjectOf),
    )
  }
  return {
    changes: (cursor, signal) => changesByListing(list, cursor, signal),
    item: (id, signal) => itemByListing(list, id, signal),
    directory: async () => directoryOf(read(), subjectOf),
  }
}

/** A folder belongs to its repository; what stands above repositories has a collection of its own. */
export const collectionOf = (folder: string): string => folder.split('/').slice(0, 2).join('/')

function itemOf(
  { id, repo, title, text, updated }: KubernetesDocument,
  tuples: readonly TupleLine[],
  subjectOf: (person: string) => string,
): ItemChange | BrokenItem {
  const unknown = tuples.find(({ relation }) => relations[relation] === undefined)
  if (unknown !== undefined)
    return { kind: 'broken', id, name: title, problem: `It has a relation ${unknown.relation}.` }
  const content = { collection: repo, title, text, mime_type: 'text/markdown', updated_at: updated }
  const access = accessOf(tuples, subjectOf)
  const version = createHash('sha256')
    .update(JSON.stringify([content, access]))
    .digest('base64url')
  return { kind: 'item', id, name: title, version, access, content }
}

function directoryOf(data: KubernetesData, subjectOf: (person: string) => string): Directory {
  const byObject = Map.groupBy(data.tuples, ({ object }) => object)
  return {
    accounts: data.people.map((person) => ({ id: person, subject: subjectOf(person) })),
    groups: data.groups.map((id) => ({
      id,
      members: (byObject.get(`group:${id}`) ?? []).map(({ user }) => memberOf(user)),
    })),
    folders: data.folders.map((id) => ({
      id,
      collection: collectionOf(id),
      ...accessOf(byObject.get(`folder:${id}`) ?? [], subjectOf),
    })),
  }
}

/** `user:ann` or `group:team#member` */
function memberOf(user: string): Directory['groups'][number]['members'][number] {
  const [type, id = ''] = user.split(/[:#]/)
  return type === 'group' ? { group: id } : { account: id }
}

/** Each reader and parent once: an editor may be an owner as well. */
function accessOf(
  tuples: readonly TupleLine[],
  subjectOf: (person: string) => string,
): { readonly viewers: readonly string[]; readonly parents: readonly string[] } {
  const usersWith = (wanted: 'viewer' | 'parent') => [
    ...new Set(
      tuples.flatMap(({ user, relation }) => {
        const [type, id = ''] = user.split(':')
        if (relations[relation] !== wanted) return []
        return [type === 'user' && id !== '*' ? subjectOf(id) : user]
      }),
    ),
  ]
  return { viewers: usersWith('viewer'), parents: usersWith('parent') }
}
