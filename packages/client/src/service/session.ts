import type { CollectionList, Document, Passage, Provenance, Question } from '@remit/contract/retrieval'
import { NoPerson } from '../errors/kinds.ts'
import type { RetrieveAnswer } from '../shared/answers.ts'
import { isSafe } from '../shared/fetch-json.ts'
import { type Platform, type PlatformOptions, platformOf } from '../shared/platform.ts'
import {
  type Check,
  isBoolean,
  isNumber,
  isRecord,
  isText,
  listOf,
  optional,
  orNull,
  shape,
} from '../shared/shape.ts'
import type { Ciba } from '../tokens/ciba.ts'
import type { DeviceFlow } from '../tokens/device.ts'
import type { Person, TokenRequest, TokenSource } from '../tokens/token.ts'
import { type Access, accessFrom } from './access.ts'
import { type Api, type CallOptions, createApi } from './api.ts'
import { type Approvals, createApprovals } from './approvals.ts'
import { createVaultFetch, type VaultFetch } from './vault.ts'

export interface RetrieveOptions extends CallOptions {
  /**
   * Asks to be told, in `approval`, whether there is more that the person could release: the token for it
   * holds `approvals.request` too. Default false.
   */
  readonly offers?: boolean
}

/**
 * One agent, working for one person. Everything that is done through it is done for that person, and
 * everything that is done for a person goes through one: hand it on, do not keep it in a place that
 * conversations share.
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

// Each guard names every member of its type: one that the contract gains, loses or changes is a compile error
// here. Members that are not named, and words that are not known, are let through, so that a newer service
// can say more; a member that is missing or of another type makes the answer unreadable.

const provenance = shape<Provenance>({
  owner: optional(isText),
  source: isText,
  updated_at: orNull(isText),
})

const passage = shape<Passage>({
  chunk_id: isText,
  document_id: isText,
  collection: isText,
  title: isText,
  uri: orNull(isText),
  ordinal: isNumber,
  text: isText,
  rank: isNumber,
  locator: shape<Passage['locator']>({
    headings: listOf(isText),
    page: optional(isNumber),
    start: isNumber,
    end: isNumber,
  }),
  provenance,
})

/** Whether an answer to `POST /retrieve` can be read. */
const isRetrieveAnswer: Check<RetrieveAnswer> = shape<RetrieveAnswer>({
  results: listOf(passage),
  complete: isBoolean,
  mode_used: isText,
  approval: optional(shape<{ offer_id: string }>({ offer_id: isText })),
  freshness: shape<RetrieveAnswer['freshness']>({ index_lag_ms: isNumber, authorization_model_id: isText }),
  scope_key: isText,
  txn: isText,
})

/** Whether an answer to `GET /documents/{id}` can be read. */
const isDocument: Check<Document> = shape<Document>({
  id: isText,
  collection: isText,
  title: isText,
  uri: orNull(isText),
  text: isText,
  metadata: isRecord,
  provenance,
  txn: isText,
})

/** Whether an answer to `GET /collections` can be read. */
const isCollectionList: Check<CollectionList> = shape<CollectionList>({
  collections: listOf(shape<{ id: string; title: string }>({ id: isText, title: isText })),
  complete: isBoolean,
  txn: isText,
})

/** Settings of `createRemit` for one agent at one service. */
export interface RemitOptions extends PlatformOptions {
  /** Of the service: its PUBLIC_URL, exactly. */
  readonly url: string
  /** Where the agent's tokens come from; it is who the agent is. */
  readonly token: TokenSource
  /** Needed for `withApproval`: of the same agent. */
  readonly ciba?: Ciba
  /** Needed for `withDeviceFlow`: a client that stands for the same agent. */
  readonly device?: DeviceFlow
  /** Milliseconds that a call may take, its retries included. Default 30,000. */
  readonly timeoutMs?: number
  /** Of the tokens that serve reading. Default `docs.search docs.read`. */
  readonly scopes?: readonly string[]
}

/** One agent at one service. */
export interface Remit {
  /** The agent, working for this person from here on. Cheap: one for each conversation, or each request. */
  for(person: Person): Session
}

/** One agent's way to the service. Nothing is sent before a session asks. */
export function createRemit(options: RemitOptions): Remit {
  const {
    token: source,
    ciba,
    device,
    timeoutMs = 30_000,
    scopes: readScopes = ['docs.search', 'docs.read'],
  } = options
  // Of JavaScript, or a setting that is not there.
  if (typeof options.url !== 'string')
    throw new TypeError('createRemit needs `url`: the service’s PUBLIC_URL.')
  const url = options.url.replace(/\/$/, '')
  if (!isSafe(url)) throw new TypeError(`${url} has to be an https URL, or http on loopback.`)
  const platform = platformOf(options)
  const api = createApi({ url, source, platform, timeoutMs, readScopes })
  return {
    for(person) {
      if (person.subject === '') throw new TypeError('A person has a subject.')
      return createSession(Object.freeze({ ...person }), { api, source, ciba, device, platform })
    },
  }
}
