import { operator } from '../../src/audit/record.ts'
import { importDocuments } from '../support/import.ts'
import { type Running, serviceName } from '../support/running.ts'
import type { Collection } from './collection.ts'
import { type Measures, mean, measure } from './measures.ts'

export type Mode = 'hybrid' | 'vector' | 'keyword'

const reader = 'reader'

/** Imports a collection as a service does, readable by one person. */
export async function loadCollection(
  running: Running,
  { name, documents }: Collection,
  say: (text: string) => void,
): Promise<void> {
  const { service } = running
  await service.ingest.saveCollection(operator('benchmark'), { id: name, title: name, publicAllowed: false })
  await service.services.save({ name: serviceName, collections: [name], prefixes: [] })
  const wire = documents.map(({ id, title, text }) => ({
    id: `${name}/${id}`,
    collection: name,
    title: title === '' ? id : title,
    text,
    mime_type: 'text/plain',
    access: { viewers: [running.subject(reader)] },
  }))
  await importDocuments(running, wire, say)
  // Else a minute later: how common the words are.
  await service.ranking.renew()
}

/**
 * Asks every judged question as that person and compares with the judgements. Passages count as their
 * documents.
 */
export async function evaluate(
  running: Running,
  { name, queries, relevant }: Collection,
  mode: Mode,
): Promise<Measures> {
  const measured: Measures[] = []
  for (const { id, text } of queries) {
    const wanted = relevant.get(id)
    if (wanted === undefined) continue
    const token = await running.token({ sub: reader })
    const body = JSON.stringify({ query: text, mode, top_k: passagesMax })
    const answer = (await running.call('POST', '/retrieve', token, body)) as RetrieveAnswer
    if (answer.mode_used !== mode) throw new Error(`Asked for ${mode}, answered by ${answer.mode_used}.`)
    const ranked = [...new Set(answer.results.map(({ document_id }) => document_id.slice(name.length + 1)))]
    measured.push(measure(ranked, wanted))
  }
  return mean(measured)
}

// A document has a few passages: 40 hold ten documents and more.
const passagesMax = 40

interface RetrieveAnswer {
  readonly results: readonly { readonly document_id: string }[]
  readonly mode_used: string
}
