import { type SourceWorld, sourceRules } from '@remit/connector'
import { describe, expect, test } from 'vitest'
import type { KubernetesData, KubernetesDocument } from '../../benchmarks/kubernetes/data.ts'
import { createKubernetesSource } from '../../benchmarks/kubernetes/source.ts'

const tuples = [
  { user: 'user:ann', relation: 'member', object: 'group:k8s/inner' },
  { user: 'group:k8s/inner#member', relation: 'member', object: 'group:k8s/outer' },
  { user: 'group:k8s/outer#member', relation: 'editor', object: 'folder:k8s/repo' },
  { user: 'folder:k8s/repo', relation: 'parent', object: 'folder:k8s/repo/docs' },
]

/** A data set without documents at first, to which a rule can add. */
function openDataSet(): SourceWorld {
  const documents = new Map<string, KubernetesDocument>()
  const spoiled = new Set<string>()
  const idOf = (name: string) => `k8s/repo/docs/${name}.md`
  const read = (): KubernetesData => ({
    documents: [...documents.values()],
    folders: ['k8s/repo', 'k8s/repo/docs'],
    groups: ['k8s/inner', 'k8s/outer'],
    people: ['ann'],
    tuples: [
      ...tuples,
      ...[...documents.keys()].flatMap((name) => [
        { user: 'folder:k8s/repo/docs', relation: 'parent', object: `document:${idOf(name)}` },
        { user: 'user:ann', relation: 'owner', object: `document:${idOf(name)}` },
        { user: 'user:ann', relation: 'editor', object: `document:${idOf(name)}` },
      ]),
      ...[...spoiled].map((name) => ({
        user: 'user:ann',
        relation: 'blocked',
        object: `document:${idOf(name)}`,
      })),
    ],
    queries: [],
    visible: [],
  })
  const put = (name: string, text: string) =>
    documents.set(name, {
      id: idOf(name),
      repo: 'k8s/repo',
      title: name,
      updated: '2026-01-01T00:00:00Z',
      text,
    })
  return {
    source: createKubernetesSource({ read, subjectOf: (person) => `user:bench/${person}` }),
    async put(name, text) {
      spoiled.delete(name)
      put(name, text)
      return idOf(name)
    },
    async remove(name) {
      documents.delete(name)
    },
    async spoil(name) {
      put(name, 'x')
      spoiled.add(name)
    },
  }
}

describe('the Kubernetes data set as a source', () => {
  for (const { title, check } of sourceRules)
    test(`keeps the rule that ${title}`, async () => {
      await expect(check(openDataSet())).resolves.toBeUndefined()
    })

  test('keeps nested groups and folders as they are, and names a reader once who is owner and editor', async () => {
    const world = openDataSet()
    const id = await world.put('a', '1')
    expect(await world.source.directory?.()).toEqual({
      accounts: [{ id: 'ann', subject: 'user:bench/ann' }],
      groups: [
        { id: 'k8s/inner', members: [{ account: 'ann' }] },
        { id: 'k8s/outer', members: [{ group: 'k8s/inner' }] },
      ],
      folders: [
        { id: 'k8s/repo', collection: 'k8s/repo', viewers: ['group:k8s/outer#member'], parents: [] },
        { id: 'k8s/repo/docs', collection: 'k8s/repo', viewers: [], parents: ['folder:k8s/repo'] },
      ],
    })
    expect(await world.source.item(id)).toMatchObject({
      access: { viewers: ['user:bench/ann'], parents: ['folder:k8s/repo/docs'] },
    })
  })

  test('calls a document broken whose relation cannot be said: it may keep somebody from reading', async () => {
    const world = openDataSet()
    await world.spoil('a')
    expect(await world.source.item('k8s/repo/docs/a.md')).toMatchObject({
      kind: 'broken',
      problem: 'It has a relation blocked.',
    })
  })
})
