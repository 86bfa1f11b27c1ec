import { startWardowl } from '../../../test/support/wardowl.ts'
import { dimensions } from '../corpus.ts'
import { passageOf } from '../load.ts'
import type { OpenPeer } from './peer.ts'
import { type Peer, topK, type Way } from './way.ts'

interface Found {
  readonly hits: readonly { readonly id: string }[]
  readonly complete: boolean
}

/** Of a call to OpenFGA, for a machine that others use as well; it comes with two. */
const timeoutSeconds = 30

/** As its own `add` writes a chunk: its text, and the document that OpenFGA is asked about. */
const fill = `insert into wardowl_chunks (id, content, metadata, embedding)
  select chunk_id, 'Passage ' || chunk_id, jsonb_build_object('doc_id', id), embedding::vector
  from chunks join documents using (doc_no) on conflict do nothing`

/** wardowl's own HTTP service, over a table of its own in the same Postgres, and the same OpenFGA. */
export const openWardowl: OpenPeer = async ({ place: { url }, servers, world, store, ef99, env }) => {
  const { openfga } = servers
  if (!env.WARDOWL_PATH || openfga === undefined || url === undefined)
    return 'wardowl: needs native Postgres, a real OpenFGA server, and WARDOWL_PATH'
  // Of the tuples that end, OpenFGA then says that it lacks the time, and wardowl answers 503.
  if (world.tuples.some(({ condition }) => condition !== undefined))
    return `wardowl, ${world.policy}: it sends OpenFGA no time, which access that ends needs`
  await using stack = new AsyncDisposableStack()
  const database = new URL(url)
  // To build its index in memory.
  database.searchParams.set('options', '-cmaintenance_work_mem=1GB')
  const open = async (
    name: Peer,
    settings: { readonly retriever?: object; readonly backend?: object },
    is: string,
  ): Promise<Way<Peer>> => {
    const service = stack.use(
      await startWardowl({
        ...settings,
        dim: dimensions,
        fill,
        database: database.href,
        openfga: openfga.url,
        store: store.fga.storeId,
        authorizer: {
          authorization_model_id: store.model.id,
          relations: { read: 'can_read' },
          headers: { authorization: `Bearer ${openfga.token}` },
          timeout: timeoutSeconds,
        },
      }),
    )
    return {
      name,
      kind: 'release',
      is,
      async ask({ person, vector }) {
        const response = await fetch(`${service.at}/v1/retrieve`, {
          method: 'POST',
          headers: {
            'content-type': 'application/json',
            authorization: `Bearer ${person.slice('user:'.length)}`,
          },
          body: JSON.stringify({ vector: [...vector], k: topK }),
        })
        // It says nothing rather than what it could not ask about.
        if (response.status === 503) return { passages: [], checks: 0, complete: false }
        if (!response.ok) throw new Error(`wardowl answered ${response.status}: ${await response.text()}`)
        const { hits, complete } = (await response.json()) as Found
        return { passages: hits.map(({ id }) => passageOf(id)), checks: 0, complete }
      },
    }
  }
  const asItComes = await open(
    'wardowl',
    {},
    'its HTTP service in Python over pgvector and OpenFGA, all as it comes: list below 1,000 documents, else at most 1,000 candidates checked, every hit checked again; only its timeout to OpenFGA is 30 s in place of 2',
  )
  const tuned = await open(
    'wardowl, tuned',
    { retriever: { max_candidates: 10_000 }, backend: { ef_search: ef99 } },
    `the same with max_candidates 10,000 and ef_search ${ef99}`,
  )
  const owned = stack.move()
  return { ways: [asItComes, tuned], [Symbol.asyncDispose]: () => owned.disposeAsync() }
}
