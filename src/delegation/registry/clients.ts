import { isDeepStrictEqual } from 'node:util'
import { z } from 'zod'
import { AppError, invalid } from '../../kernel/errors.ts'
import { readRows, type Sql } from '../../store/sql.ts'

/** A client of the built-in issuer. One that is not registered is taken for an agent's. */
export type Client =
  | { readonly clientId: string; readonly kind: 'person' }
  | { readonly clientId: string; readonly kind: 'agent'; readonly agent: string }
  | { readonly clientId: string; readonly kind: 'service'; readonly service: string }

/** The command line, by which people sign in at this service: public, for the device flow only. */
export const cliClient = 'remit-cli'

/** The console at `/console`: public, in a browser, for administrators themselves. */
export const consoleClient = 'remit-console'

/** What the authorization server has to know of a client that starts flows. */
export interface Registration {
  /** Shown to people. */
  readonly title: string
  /** Compared as exact strings. */
  readonly redirectUris: readonly string[]
  /** Public keys for `private_key_jwt`; undefined: a public client, which proves nothing. */
  readonly jwks: { readonly keys: readonly PublicJwk[] } | undefined
  /**
   * Where it is told that an answer is there (CIBA, ping); left out: it polls. An address of outside: only
   * the guarded fetcher asks it.
   */
  readonly notificationEndpoint?: string | undefined
  /** The one algorithm by which it signs whatever it asks people (CIBA §7.1.1); left out: it may, by any. */
  readonly requestAlgorithm?: RequestAlgorithm | undefined
  /** What its ID tokens are signed by. Default ES256. */
  readonly idTokenAlgorithm?: (typeof idTokenAlgorithms)[number] | undefined
}

/** RS256 is what a client of OpenID Connect expects that says nothing (Registration §2); FAPI refuses it. */
export const idTokenAlgorithms = ['RS256', 'ES256'] as const

/**
 * Algorithms by which a client may sign what it asks for (FAPI 1.0 Advanced §8.6, and Ed25519 beside them).
 */
export const requestAlgorithms = ['ES256', 'PS256', 'EdDSA', 'Ed25519'] as const
/** An algorithm by which a client signs its requests. */
export type RequestAlgorithm = (typeof requestAlgorithms)[number]

const publicJwk = z
  .looseObject({ kty: z.enum(['EC', 'OKP', 'RSA']), kid: z.string().optional() })
  .refine((key) => !['d', 'p', 'q', 'dp', 'dq', 'qi', 'k', 'oth'].some((member) => member in key), {
    message: 'holds a private key: register the public one',
  })
type PublicJwk = z.infer<typeof publicJwk>

/** Public keys as they are registered. A private member is refused: whoever sent it has shown their key. */
export const publicJwks = z.strictObject({ keys: z.array(publicJwk).min(1).max(10) })
/** A key set with public keys only. */
export type PublicJwks = z.infer<typeof publicJwks>

/** One row as the operator sees it; `of` is the agent or the service that it is, `keys` how many it has. */
export interface ListedClient {
  readonly clientId: string
  readonly kind: Client['kind']
  readonly of: string | null
  /** null: it starts no flow. */
  readonly title: string | null
  readonly redirectUris: readonly string[]
  readonly keys: number
  /** null: it polls. */
  readonly notificationEndpoint: string | null
  /** null: it need not sign what it asks people. */
  readonly requestAlgorithm: string | null
  /** null: ES256. */
  readonly idTokenAlgorithm: string | null
}

/** The registry of OAuth clients. */
export interface Clients {
  /**
   * Registers a client; a client's kind never changes, and throws where it is known as something else. What
   * the authorization server knows of it is replaced where `registration` is given.
   */
  register(client: Client, registration?: Registration): Promise<void>
  get(clientId: string): Promise<Client | undefined>
  list(): Promise<ListedClient[]>
  /** Throws for a client that is not there, and 409 for one that an API's row names as its own. */
  assertRemovable(clientId: string): Promise<void>
  /** No token of it counts from then on. Its consents have to be ended before: see `Consents.endOf`. */
  remove(clientId: string): Promise<void>
  /** Undefined for a client that is unknown, may start no flow, or whose agent is disabled. */
  registered(clientId: string): Promise<(Client & Registration) | undefined>
}

/** Reads and writes rows. Does NOT check who asks. */
export function createClients({ sql }: { readonly sql: Sql }): Clients {
  const get: Clients['get'] = async (clientId) => {
    const text = 'select client_id, kind, agent, service from clients where client_id = $1'
    return (await sql.query<ClientRow>(text, [clientId])).map(fromRow)[0]
  }
  return {
    get,
    list: () =>
      sql.query<ListedClient>(
        `select client_id as "clientId", kind, coalesce(agent, service) as of, title,
           redirect_uris as "redirectUris", coalesce(jsonb_array_length(jwks::jsonb -> 'keys'), 0) as keys,
           notification_endpoint as "notificationEndpoint", request_alg as "requestAlgorithm",
           id_token_alg as "idTokenAlgorithm"
         from clients order by client_id`,
      ),
    async assertRemovable(clientId) {
      if ((await get(clientId)) === undefined) throw invalid('client_id', `There is no client ${clientId}.`)
      if (clientId === cliClient || clientId === consoleClient)
        throw invalid('client_id', 'Every start registers it anew.')
      const owned = await sql.query<{ resource: string }>(
        'select resource from resources where owner_client = $1 order by resource',
        [clientId],
      )
      if (owned[0] !== undefined)
        throw new AppError('conflict', {
          public: `It is the client of the API ${owned[0].resource}. Remove that, or name another.`,
        })
    },
    async remove(clientId) {
      await sql.query('delete from clients where client_id = $1', [clientId])
    },
    async registered(clientId) {
      const [row] = await readRows<ClientRow & Registration>(
        sql,
        `select client_id, kind, agent, service, clients.title, redirect_uris as "redirectUris", clients.jwks,
           notification_endpoint as "notificationEndpoint", request_alg as "requestAlgorithm",
           id_token_alg as "idTokenAlgorithm"
         from clients left join agents on agents.id = agent
         where client_id = $1 and clients.title is not null and disabled_at is null`,
        [clientId],
      )
      if (row === undefined) return undefined
      const { client_id, kind, agent, service, ...registration } = row
      return { ...fromRow({ client_id, kind, agent, service }), ...registration }
    },
    async register(client, registration) {
      const agent = client.kind === 'agent' ? client.agent : null
      const service = client.kind === 'service' ? client.service : null
      if (registration !== undefined) assertUsable(client, registration)
      await assertKnown(sql, agent, service)
      await sql.query(
        `insert into clients (client_id, kind, agent, service) values ($1, $2, $3, $4)
         on conflict (client_id) do nothing`,
        [client.clientId, client.kind, agent, service],
      )
      const existing = await get(client.clientId)
      const requested = fromRow({ client_id: client.clientId, kind: client.kind, agent, service })
      if (!isDeepStrictEqual(existing, requested))
        throw invalid('client_id', `The client ${client.clientId} is registered as something else.`)
      if (registration === undefined) return
      await sql.query(
        `update clients set title = $2, redirect_uris = $3, jwks = $4, notification_endpoint = $5,
           request_alg = $6, id_token_alg = $7
         where client_id = $1`,
        [
          client.clientId,
          registration.title,
          registration.redirectUris,
          registration.jwks ?? null,
          registration.notificationEndpoint ?? null,
          registration.requestAlgorithm ?? null,
          registration.idTokenAlgorithm ?? null,
        ],
      )
    },
  }
}

async function assertKnown(sql: Sql, agent: string | null, service: string | null): Promise<void> {
  const [row] = await sql.query<{ agent: boolean; service: boolean }>(
    `select $1::text is null or exists (select from agents where id = $1) as agent,
       $2::text is null or exists (select from services where name = $2) as service`,
    [agent, service],
  )
  if (row?.agent !== true) throw invalid('of', `There is no agent ${agent}.`)
  if (!row.service) throw invalid('of', `There is no service ${service}.`)
}

function assertUsable(client: Client, registration: Registration): void {
  const { redirectUris, jwks, notificationEndpoint, requestAlgorithm } = registration
  if (client.kind === 'service' && jwks === undefined)
    throw invalid('jwks', 'A service proves itself with its key: register its public one.')
  const keys = publicJwks.safeParse(jwks ?? { keys: [{ kty: 'EC' }] })
  if (!keys.success) throw invalid('jwks', keys.error.issues[0]?.message ?? 'This is no set of public keys.')
  for (const [field, value] of Object.entries({
    notification_endpoint: notificationEndpoint,
    request_algorithm: requestAlgorithm,
  }))
    if (value !== undefined && (client.kind !== 'agent' || jwks === undefined))
      throw invalid(field, 'Only an agent’s client that has a key asks people by itself.')
  if (notificationEndpoint !== undefined && !isNotifiable(notificationEndpoint))
    throw invalid('notification_endpoint', 'An https URL without a fragment is needed.')
  for (const [index, uri] of redirectUris.entries()) {
    // The console's address is our own, which the configuration has judged.
    if (client.clientId !== consoleClient && !isRedirect(uri))
      throw invalid(
        `redirect_uris.${index}`,
        'An https URL without a fragment is needed, or http on loopback.',
      )
  }
}

/**
 * `localhost` beside the addresses: MCP's clients come back there. A name resolves to wherever the person's
 * machine says, so that RFC 8252 §8.3 advises programs to use an address.
 */
export function isRedirect(uri: string): boolean {
  const url = plainUrl(uri)
  return url?.protocol === 'https:' || (url?.protocol === 'http:' && isLoopback(url))
}

/** Undefined for what is no URL, or has a fragment, a user or a password. */
function plainUrl(uri: string): URL | undefined {
  const url = URL.parse(uri)
  const isPlain = url?.username === '' && url.password === '' && !uri.includes('#')
  return isPlain ? url : undefined
}

/** Whether whatever listens there is on the person's own computer. */
export const isLoopback = ({ hostname }: URL): boolean =>
  ['127.0.0.1', '[::1]', 'localhost'].includes(hostname)

/**
 * NOT asked here: whether it may be asked at all (the guarded fetcher does, each time; plain http only where
 * allowed).
 */
const isNotifiable = (uri: string): boolean => /^https?:$/.test(plainUrl(uri)?.protocol ?? '')

/** A row of `clients`, with the columns as SQL names them. */
export interface ClientRow {
  readonly client_id: string
  readonly kind: string
  readonly agent: string | null | undefined
  readonly service: string | null | undefined
}

/** A row as a client; the table's checks keep kind, agent and service in step. */
export function fromRow({ client_id: clientId, kind, agent, service }: ClientRow): Client {
  if (kind === 'agent' && typeof agent === 'string') return { clientId, kind, agent }
  if (kind === 'service' && typeof service === 'string') return { clientId, kind, service }
  if (kind === 'person') return { clientId, kind }
  throw new Error(`The client ${clientId} has no known kind.`)
}
