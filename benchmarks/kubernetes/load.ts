import { createWriter } from '@remit/client'
import { memoryState, syncOnce } from '@remit/connector'
import { operator } from '../../src/audit/record.ts'
import { agentName, type Running, serviceClient, serviceName } from '../support/running.ts'
import type { KubernetesData } from './data.ts'
import { collectionOf, createKubernetesSource } from './source.ts'

export interface Loaded {
  readonly documents: number
  readonly tuples: number
  readonly tuplesSeconds: number
  /** From the first line sent until the last document was published. */
  readonly importSeconds: number
}

/**
 * Takes the data in as a source of a service: tuples by `POST /access`, documents with their access by
 * `POST /imports`.
 */
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

  const source = createKubernetesSource({ read: () => data, subjectOf: running.subject })
  const started = performance.now()
  let tuplesDone = started
  const { directory, failed, imported } = await syncOnce(source, writerOf(running), memoryState(), {
    onProgress(step, done) {
      if (step === 'directory') tuplesDone = performance.now()
      else say(`${done} of ${data.documents.length} documents`)
    },
  })
  const [problem] = [...failed, ...(directory?.failed ?? [])]
  if (problem !== undefined) throw new Error(`The import failed: ${JSON.stringify(problem)}`)
  const direct = data.tuples.filter(({ object }) => object.startsWith('document:'))
  return {
    documents: imported,
    tuples: (directory?.written ?? 0) + direct.length,
    tuplesSeconds: (tuplesDone - started) / 1_000,
    importSeconds: (performance.now() - tuplesDone) / 1_000,
  }
}

/** A fresh token for every call: one lives five minutes, an import longer. */
const writerOf = (running: Running) =>
  createWriter({
    url: running.url,
    token: () =>
      running.token({
        sub: serviceClient,
        client_id: serviceClient,
        scope: 'docs.write directory.write',
      }),
  })

/**
 * Lends a person's everything to the agent: all collections, and with them whatever the person may read
 * there.
 */
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
