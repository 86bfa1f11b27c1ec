import { Counter, type Registry } from 'prom-client'

/** Counts the passages that the embedding model was asked for, tried again or not. A process counts its own. */
export function observeEmbedding(registry: Registry): (passages: number) => void {
  const passages = new Counter({
    name: 'remit_passages_embedded_total',
    help: 'Passages that the embedding model was asked for; a document that comes unchanged adds none.',
    registers: [registry],
  })
  return (count) => passages.inc(count)
}
