import type { Canary } from '../../packages/prove/src/adapter.ts'
import { startOpenFga } from '../support/openfga-server.ts'

/** An OpenFGA server of its own, in whose store people are `viewer` of documents by themselves. */
export interface Readers extends AsyncDisposable {
  readonly url: string
  readonly store: string
  /** Documents of a search that knows no readers, and their readers here. */
  canaryOf(search: Search): Canary
}

export interface Search {
  put(id: string, text: string): void | Promise<void>
  remove(id: string): void | Promise<void>
}

const model = {
  schema_version: '1.1',
  type_definitions: [
    { type: 'user' },
    {
      type: 'document',
      relations: { viewer: { this: {} } },
      metadata: { relations: { viewer: { directly_related_user_types: [{ type: 'user' }] } } },
    },
  ],
}

/** It remembers verdicts for ten seconds: whoever does not ask for higher consistency gets them. */
export async function openReaders(): Promise<Readers> {
  const server = await startOpenFga(undefined, undefined, {
    OPENFGA_AUTHN_METHOD: 'none',
    OPENFGA_CHECK_QUERY_CACHE_ENABLED: 'true',
    OPENFGA_CHECK_QUERY_CACHE_TTL: '10s',
  })
  const post = async (path: string, body: object) => {
    const answer = await fetch(`${server.url}/stores${path}`, { method: 'POST', body: JSON.stringify(body) })
    if (!answer.ok) throw new Error(`OpenFGA answered ${answer.status}: ${await answer.text()}`)
    return (await answer.json()) as { readonly id: string }
  }
  const { id: store } = await post('', { name: 'read' })
  await post(`/${store}/authorization-models`, model)
  const readersOf = new Map<string, readonly string[]>()

  async function set(document: string, readers: readonly string[]): Promise<void> {
    const before = readersOf.get(document) ?? []
    const keys = (people: readonly string[], others: readonly string[]) => {
      const differing = people.filter((person) => !others.includes(person))
      const tuples = differing.map((one) => ({
        user: `user:${one}`,
        relation: 'viewer',
        object: `document:${document}`,
      }))
      return tuples.length > 0 ? { tuple_keys: tuples } : undefined
    }
    const [writes, deletes] = [keys(readers, before), keys(before, readers)]
    if (writes || deletes) await post(`/${store}/write`, { writes, deletes })
    readersOf.set(document, readers)
  }

  return {
    url: server.url,
    store,
    canaryOf: (search) => ({
      async put({ id, text, readers }) {
        // Who loses it, before the text comes; who gets it, after that.
        await set(
          id,
          (readersOf.get(id) ?? []).filter((one) => readers.includes(one)),
        )
        await search.put(id, text)
        await set(id, readers)
      },
      setReaders: set,
      async remove(id) {
        await search.remove(id)
        await set(id, [])
      },
    }),
    async [Symbol.asyncDispose]() {
      // Told to end, it waits ten seconds for connections that are kept.
      server.signal('SIGKILL')
      await server[Symbol.asyncDispose]()
    },
  }
}
