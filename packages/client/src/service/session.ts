import type { Person } from '../tokens/token.ts'
import type { Api } from './api.ts'
import {
  type CollectionList,
  type Document,
  isCollectionList,
  isDocument,
  isRetrieveAnswer,
  type Question,
  type RetrieveAnswer,
} from './contract.ts'

export interface CallOptions {
  readonly signal?: AbortSignal
  /** Milliseconds. Default: what `createRemit` was given. */
  readonly timeoutMs?: number
}

/**
 * One agent, working for one person. Everything that is done through it is done for that person, and everything that is
 * done for a person goes through one: hand it on, do not keep it in a place that conversations share.
 */
export interface Session {
  readonly person: Person
  /** Passages that the person may read, within what they lent to the agent. */
  retrieve(question: Question, options?: CallOptions): Promise<RetrieveAnswer>
  /** A whole document. `approval`: a grant that the person gave for it. */
  readDocument(id: string, options?: CallOptions & { readonly approval?: string }): Promise<Document>
  /** Collections in which there is something to read. */
  collections(options?: CallOptions): Promise<CollectionList>
}

export function createSession(person: Person, api: Api): Session {
  const read = ['docs.search']
  return Object.freeze<Session>({
    person,
    retrieve: (question, options) =>
      api.json(
        person,
        // An approval may be good for one use: what was counted must not be counted twice.
        {
          method: 'POST',
          path: '/retrieve',
          body: question,
          scopes: read,
          isRepeatable: question.approval === undefined,
          ...options,
        },
        isRetrieveAnswer,
      ),
    readDocument: (id, { approval, ...options } = {}) =>
      api.json(
        person,
        {
          method: 'GET',
          path: `/documents/${encodeURIComponent(id)}${approval === undefined ? '' : `?approval=${encodeURIComponent(approval)}`}`,
          scopes: ['docs.read'],
          isRepeatable: approval === undefined,
          ...options,
        },
        isDocument,
      ),
    collections: (options) =>
      api.json(
        person,
        { method: 'GET', path: '/collections', scopes: read, isRepeatable: true, ...options },
        isCollectionList,
      ),
  })
}
