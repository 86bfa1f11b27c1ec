import { randomBytes } from 'node:crypto'
import { dimensions, vectorAt } from '../corpus.ts'
import { slices } from '../load.ts'
import type { OpenPeer } from './peer.ts'
import { type Change, type Peer, topK, type Way } from './way.ts'

const deep = 100

interface Found {
  readonly hits: { readonly hits: readonly { readonly _id: string }[] }
}

/**
 * OpenSearch with the terms of who may read it in each passage. Its security plugin would add that terms
 * query to a role as document-level security; here it is the filter of the k-NN query, as its documents
 * advise.
 */
export const openOpensearch: OpenPeer = async ({ corpus, labels, env }) => {
  const { OPENSEARCH_TEST_URL: url } = env
  if (!url) return 'OpenSearch: needs one with k-NN, OPENSEARCH_TEST_URL'
  const index = `${url}/bench-${randomBytes(6).toString('hex')}`
  const call = async (method: string, path: string, body?: string | object): Promise<unknown> => {
    const response = await fetch(`${index}${path}`, {
      method,
      ...(body !== undefined && {
        headers: { 'content-type': typeof body === 'string' ? 'application/x-ndjson' : 'application/json' },
        body: typeof body === 'string' ? body : JSON.stringify(body),
      }),
    })
    if (!response.ok) throw new Error(`OpenSearch answered ${response.status}: ${await response.text()}`)
    return response.json()
  }
  const bulk = async (lines: readonly object[]): Promise<void> => {
    const text = lines.map((line) => `${JSON.stringify(line)}\n`).join('')
    const { errors } = (await call('POST', '/_bulk', text)) as { readonly errors: boolean }
    if (errors) throw new Error('OpenSearch did not take some passages.')
  }
  await using stack = new AsyncDisposableStack()
  await call('PUT', '', {
    settings: { index: { knn: true, number_of_shards: 1, number_of_replicas: 0 } },
    mappings: {
      properties: {
        open: { type: 'integer' },
        closed: { type: 'integer' },
        vector: {
          type: 'knn_vector',
          dimension: dimensions,
          space_type: 'innerproduct',
          method: { name: 'hnsw', engine: 'lucene' },
        },
      },
    },
  })
  stack.defer(async () => void (await call('DELETE', '')))
  for (const slice of slices(corpus.count, 500))
    await bulk(
      slice.flatMap((at) => {
        const document = corpus.documentOf[at] ?? 0
        const [open, closed] = [labels.open[document], labels.closed[document]]
        return [{ index: { _id: String(at) } }, { vector: [...vectorAt(corpus, at)], open, closed }]
      }),
    )
  await call('POST', '/_refresh')

  const ask = async (vector: Float32Array, k: number, filter?: object) => {
    const { hits } = (await call('POST', '/_search', {
      size: topK,
      _source: false,
      query: { knn: { vector: { vector: [...vector], k, ...(filter && { filter }) } } },
    })) as Found
    return { passages: hits.hits.map(({ _id }) => Number(_id)), checks: 0 }
  }
  const change = async ({ person, document, isGiven }: Change): Promise<void> => {
    const open = [...(labels.open[document] ?? []), ...(isGiven ? [labels.labelOf(person)] : [])]
    const passages = [...corpus.documentOf.keys()].filter((at) => corpus.documentOf[at] === document)
    await bulk(passages.flatMap((at) => [{ update: { _id: String(at) } }, { doc: { open } }]))
  }
  const terms = (name: Peer, k: number, is: string): Way<Peer> => ({
    name,
    kind: 'release',
    is,
    change,
    ask({ person, vector }) {
      const own = labels.ofPerson(person)
      const bool = { filter: { terms: { open: own } }, must_not: { terms: { closed: own } } }
      return ask(vector, k, { bool })
    },
  })
  const owned = stack.move()
  return {
    ways: [
      {
        name: 'OpenSearch, unfiltered',
        kind: 'raw',
        is: `its k-NN query without a filter, k ${deep}: what the two below are worth by its own measure`,
        ask: ({ vector }) => ask(vector, deep),
      },
      terms(
        'OpenSearch, terms',
        topK,
        'one shard, Lucene’s HNSW as it comes; the person’s labels as a terms filter in the k-NN query, k 10',
      ),
      terms(
        'OpenSearch, terms, k 100',
        deep,
        'the same with k 100: a larger k finds more, its documents say',
      ),
    ],
    [Symbol.asyncDispose]: () => owned.disposeAsync(),
  }
}
