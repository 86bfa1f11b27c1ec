import { z } from 'zod'
import { ownElapsed } from '../../../kernel/elapsed.ts'
import { createLru } from '../../../kernel/lru.ts'
import { OutboundError } from '../../../outbound/error.ts'
import type { GuardedFetch } from '../../../outbound/guarded-fetch.ts'
import type { Runtime } from '../../../store/runtime.ts'
import { isRedirect } from '../../registry/clients.ts'
import { isPattern } from './hosts.ts'

/**
 * What a client that nobody registered says of itself at its own address
 * (draft-ietf-oauth-client-id-metadata-document-02).
 */
export interface ClientDocument {
  /** The address itself, as an exact string. */
  readonly clientId: string
  /** Who vouches for the address: whoever has this name. */
  readonly host: string
  /** Those that this server would take of a registered client; at least one. */
  readonly redirectUris: readonly string[]
}

/** Reads and caches client metadata documents by their address. */
export interface ClientDocuments {
  /**
   * Undefined: not such an address, nothing there, or nothing that a public client may be. Kept for 5
   * minutes.
   */
  get(clientId: string): Promise<ClientDocument | undefined>
}

export interface ClientDocumentsDeps extends Pick<Runtime, 'log'> {
  /** Refuses addresses that are not public, redirects included, as answers. */
  readonly outbound: GuardedFetch
  /** For ages, in milliseconds. Default: this process's (kernel/elapsed.ts). */
  readonly elapsed?: () => number
}

const freshMs = 5 * 60_000
// A host that is away for an hour must not sign everybody out; one that took its document away is heard at
// once.
const keptMs = 24 * 3_600_000
const documentsMax = 500
const limits = { timeoutMs: 5_000, bytesMax: 16 * 1_024 } as const

interface Kept {
  readonly found: ClientDocument
  readonly at: number
}

/**
 * Reads clients' documents. The address must be https, of a public host without a label `*`, without user,
 * fragment or dots as segments (draft §3); what is found must name exactly it, hold no secret, and be of a
 * client that proves itself by nothing but its redirect addresses: keys of strangers prove no more, and would
 * be one more thing to fetch. NOT used: its own title, logo and other words.
 */
export function createClientDocuments({
  outbound,
  log,
  elapsed = ownElapsed,
}: ClientDocumentsDeps): ClientDocuments {
  const cachedDocuments = createLru<Kept>({ entriesMax: documentsMax })
  const pendingFetches = new Map<string, Promise<ClientDocument | undefined>>()

  async function read(url: URL, clientId: string): Promise<ClientDocument | undefined> {
    const cachedDocument = cachedDocuments.peek(clientId)
    try {
      const { status, body } = await outbound(clientId, {
        ...limits,
        headers: { accept: 'application/json' },
      })
      const found = status === 200 ? parse(url, clientId, body) : undefined
      if (found === undefined) log('client_document_refused', { host: url.host, status })
      if (found === undefined) cachedDocuments.delete(clientId)
      else cachedDocuments.set(clientId, { found, at: elapsed() })
      return found
    } catch (error) {
      if (!(error instanceof OutboundError)) throw error
      log('client_document_refused', { host: url.host, reason: error.reason })
      const isAway = error.reason === 'unreachable' || error.reason === 'timed_out'
      return isAway && cachedDocument !== undefined && elapsed() - cachedDocument.at < keptMs
        ? cachedDocument.found
        : undefined
    }
  }

  return {
    async get(clientId) {
      const url = addressOf(clientId)
      if (url === undefined) return undefined
      const cachedDocument = cachedDocuments.peek(clientId)
      if (cachedDocument !== undefined && elapsed() - cachedDocument.at < freshMs) return cachedDocument.found
      const going =
        pendingFetches.get(clientId) ?? read(url, clientId).finally(() => pendingFetches.delete(clientId))
      pendingFetches.set(clientId, going)
      return going
    },
  }
}

function addressOf(clientId: string): URL | undefined {
  if (clientId.length > 1_000 || !/^https:\/\/[\x21-\x5b\x5d-\x7e]+$/.test(clientId)) return undefined
  const url = URL.parse(clientId)
  if (
    url === null ||
    isPattern(url.hostname) ||
    clientId.includes('#') ||
    url.username !== '' ||
    url.password !== ''
  )
    return undefined
  // One client has one spelling: a path that the parser would shorten, or a name that it would write
  // otherwise, has two.
  return url.href === clientId && url.pathname !== '/' ? url : undefined
}

const document = z.looseObject({
  client_id: z.string(),
  redirect_uris: z.array(z.string().max(2_000)).max(50),
  token_endpoint_auth_method: z.literal('none').optional(),
  client_secret: z.undefined().optional(),
  client_secret_expires_at: z.undefined().optional(),
})

function parse(url: URL, clientId: string, body: Uint8Array): ClientDocument | undefined {
  const parsed = document.safeParse(jsonOf(body))
  if (!parsed.success || parsed.data.client_id !== clientId) return undefined
  const redirectUris = parsed.data.redirect_uris.filter(isRedirect)
  return redirectUris.length === 0 ? undefined : { clientId, host: url.host, redirectUris }
}

function jsonOf(body: Uint8Array): unknown {
  try {
    return JSON.parse(new TextDecoder('utf-8', { fatal: true }).decode(body))
  } catch {
    return undefined
  }
}
