import { operator } from '../../src/audit/record.ts'
import { importDocuments, type TupleLine, writeTuples } from '../support/import.ts'
import { agentName, type Running, serviceName } from '../support/running.ts'
import type { KubernetesData, KubernetesDocument } from './data.ts'

export interface Loaded {
  readonly documents: number
  readonly tuples: number
  readonly tuplesSeconds: number
  /** From the first line sent until the last document was published. */
  readonly importSeconds: number
}

/** Takes the data in as a service would: tuples by `POST /access`, documents with their access by `POST /imports`. */
export async function loadKubernetes(
  running: Running,
  data: KubernetesData,
  say: (text: string) => void,
): Promise<Loaded> {
  const { service } = running
  const collections = [
    ...new Set([...data.documents.map(({ repo }) => repo), ...data.folders.map(collectionOf)]),
  ].sort()
  for (const id of collections) {
    await service.ingest.saveCollection(operator('benchmark'), { id, title: id, publicAllowed: true })
  }
  const prefixes = [...new Set(data.groups.map((id) => `${id.split('/')[0]}/`))]
  await service.services.save({ name: serviceName, collections, prefixes })

  const tuples = data.tuples.map((tuple) => translate(tuple, running))
  const byType = Map.groupBy(distinct(tuples), ({ object }) => object.split(':')[0] ?? '')
  const filings = data.folders.map((id) => ({
    user: `collection:${collectionOf(id)}`,
    relation: 'filed_in',
    object: `folder:${id}`,
  }))
  const started = performance.now()
  // A folder's parent must exist before it is named.
  const direct = [...(byType.get('group') ?? []), ...filings, ...(byType.get('folder') ?? [])]
  await writeTuples(running, direct)
  const tuplesDone = performance.now()
  const access = Map.groupBy(byType.get('document') ?? [], ({ object }) => object)
  await importDocuments(
    running,
    data.documents.map((document) => wireOf(document, access)),
    say,
  )
  return {
    documents: data.documents.length,
    tuples: direct.length + (byType.get('document') ?? []).length,
    tuplesSeconds: (tuplesDone - started) / 1_000,
    importSeconds: (performance.now() - tuplesDone) / 1_000,
  }
}

/** Lends a person's everything to the agent: all collections, and with them whatever the person may read there. */
export async function lendAll(running: Running, person: string, data: KubernetesData): Promise<string> {
  const collections = [...new Set(data.documents.map(({ repo }) => repo))]
  const { id } = await running.service.delegations.lend({
    subject: running.subject(person),
    agent: agentName,
    scope: collections.map((collection) => `collection:${collection}` as const),
    purpose: 'benchmark',
    expiresAt: new Date(Date.now() + 24 * 3_600_000),
  })
  return id
}

/** A folder belongs to its repository; what stands above repositories has a collection of its own. */
const collectionOf = (folder: string): string => folder.split('/').slice(0, 2).join('/')

/** Our model has no editors, and people have their issuer's namespace. */
function translate({ user, relation, object }: TupleLine, running: Running): TupleLine {
  const [type, id = ''] = user.split(':')
  return {
    user: type === 'user' && id !== '*' ? running.subject(id) : user,
    relation: relation === 'owner' || relation === 'editor' ? 'viewer' : relation,
    object,
  }
}

const distinct = (tuples: readonly TupleLine[]): TupleLine[] => [
  ...new Map(tuples.map((tuple) => [`${tuple.user} ${tuple.relation} ${tuple.object}`, tuple])).values(),
]

function wireOf(document: KubernetesDocument, access: ReadonlyMap<string, readonly TupleLine[]>): object {
  const tuples = access.get(`document:${document.id}`) ?? []
  const subjects = (wanted: string): string[] =>
    tuples.flatMap(({ user, relation }) => (relation === wanted ? [user] : []))
  return {
    id: document.id,
    collection: document.repo,
    title: document.title,
    text: document.text,
    mime_type: 'text/markdown',
    updated_at: document.updated,
    access: { viewers: subjects('viewer'), parents: subjects('parent') },
  }
}
