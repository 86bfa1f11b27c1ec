import type { CollectionList, Document, Question, RetrieveAnswer } from '@remit/contract/retrieval'
import { NoPerson } from '../errors/kinds.ts'
import type { Platform } from '../shared/platform.ts'
import type { Ciba } from '../tokens/ciba.ts'
import type { DeviceFlow } from '../tokens/device.ts'
import type { Person, TokenRequest, TokenSource } from '../tokens/token.ts'
import { type Access, accessFrom } from './access.ts'
import type { Api, CallOptions } from './api.ts'
import { type Approvals, createApprovals } from './approvals.ts'
import { isCollectionList, isDocument, isRetrieveAnswer } from './contract.ts'
import { createVaultFetch, type VaultFetch } from './vault.ts'

export interface RetrieveOptions extends CallOptions {
  /**
   * Asks to be told, in `approval`, whether there is more that the person could release: the token for it holds
   * `approvals.request` too. Default false.
   */
  readonly offers?: boolean
}

/**
 * One agent, working for one person. Everything that is done through it is done for that person, and everything that is
 * done for a person goes through one: hand it on, do not keep it in a place that conversations share.
 */
export interface Session {
  readonly person: Person
  /** Passages that the person may read, within what they lent to the agent. */
  retrieve(question: Question, options?: RetrieveOptions): Promise<RetrieveAnswer>
  /** A whole document. `approval`: a grant that the person gave for it. */
  readDocument(id: string, options?: CallOptions & { readonly approval?: string }): Promise<Document>
  /** Collections in which there is something to read. */
  collections(options?: CallOptions): Promise<CollectionList>
  /** Asks the person for more than they lent. */
  readonly approvals: Approvals
  /** Calls a third party with the account that the person linked. */
  readonly vaultFetch: VaultFetch
  /** Leave to call another API for this person, by tokens of the agent's source. */
  access(api: Omit<TokenRequest, 'person'>): Promise<Access>
}

/** What a session stands on, for this package alone. */
export interface SessionInternals {
  readonly api: Api
  readonly source: TokenSource
  readonly ciba: Ciba | undefined
  readonly device: DeviceFlow | undefined
  readonly platform: Platform
}

// Beside the session, not in it: whoever holds a session calls APIs with it and gets no token out.
const internalsOfSessions = new WeakMap<object, SessionInternals>()

/** The frozen session of one person. Its internals are reachable by this package alone. */
export function createSession(person: Person, internals: SessionInternals): Session {
  const { api, source, platform } = internals
  const session = Object.freeze<Session>({
    person,
    retrieve: (question, { offers = false, ...options } = {}) =>
      api.json(
        person,
        {
          method: 'POST',
          path: '/retrieve',
          body: question,
          scopes: offers ? ['docs.search', 'approvals.request'] : ['docs.search'],
          // An approval may be good for one use: what was counted must not be counted twice.
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
          path: `/documents/${encodeURIComponent(id)}${queryOf({ approval })}`,
          scopes: ['docs.read'],
          isRepeatable: approval === undefined,
          ...options,
        },
        isDocument,
      ),
    collections: (options) =>
      api.json(
        person,
        { method: 'GET', path: '/collections', scopes: ['docs.search'], isRepeatable: true, ...options },
        isCollectionList,
      ),
    approvals: createApprovals(api, person, platform),
    vaultFetch: createVaultFetch(api, person),
    access: (request) => accessFrom(source, { ...request, person }, platform),
  })
  internalsOfSessions.set(session, internals)
  return session
}

/**
 * @throws NoPerson for whatever `remit.for` did not make: a tool works for somebody, or not at all.
 */
export function internalsOf(session: Session | undefined): SessionInternals {
  const internals = typeof session === 'object' ? internalsOfSessions.get(session) : undefined
  if (internals === undefined)
    throw new NoPerson('no_person', { message: 'There is nobody for whom this could be done.' }, {})
  return internals
}

const queryOf = ({ approval }: { readonly approval: string | undefined }): string =>
  approval === undefined ? '' : `?${new URLSearchParams({ approval })}`
