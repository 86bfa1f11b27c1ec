import { Unavailable } from '../errors/kinds.ts'
import { type Fetch, fetchJson, isSafe, urlOf } from '../shared/fetch-json.ts'
import { partsOf, readIssuerDocument } from '../shared/issuer-document.ts'
import { isObject } from '../shared/json.ts'
import { type PlatformOptions, platformOf } from '../shared/platform.ts'

/** What a client has to know of an authorization server (RFC 8414). */
export interface IssuerMetadata {
  readonly issuer: string
  /** Where tokens are had. */
  readonly token: string
  readonly device: string | undefined
  readonly backchannel: string | undefined
}

/** How metadata is fetched, and the clock that ages it. */
export interface DiscoveryDeps {
  readonly fetch: Fetch
  /** Milliseconds since the epoch. */
  readonly now: () => number
}

const keptMs = 600_000
const keptMax = 100

/**
 * Reads the metadata of issuers (RFC 8414), kept for ten minutes in this process. What it makes throws
 * Unavailable where that cannot be had, names another issuer, or an address that is not safe.
 */
export const createDiscovery = ({
  fetch,
  now,
}: DiscoveryDeps): ((issuer: string) => Promise<IssuerMetadata>) =>
  remember((issuer) => readIssuer(issuer, fetch), now)

async function readIssuer(issuer: string, fetch: Fetch): Promise<IssuerMetadata> {
  if (!isSafe(issuer)) throw new TypeError(`${issuer} has to be an https URL, or http on loopback.`)
  const metadata = await readIssuerDocument(issuer, fetch, (document) => {
    const token = addressOf(document['token_endpoint'])
    const device = addressOf(document['device_authorization_endpoint'])
    const backchannel = addressOf(document['backchannel_authentication_endpoint'])
    return token && { issuer, token, device, backchannel }
  })
  if (metadata) return metadata
  throw new Unavailable('unavailable', { message: `What ${issuer} says of itself cannot be had.` }, {})
}

/**
 * The one authorization server of an API by what that says of itself (RFC 9728), if it is of the API's own
 * origin: an API must not be able to send an agent's proof, and a person's token, to any other.
 *
 * @throws TypeError where the issuer has to be named by you; Unavailable where it cannot be had.
 */
export async function findIssuer(resource: string, options: PlatformOptions = {}): Promise<string> {
  const { fetch } = platformOf(options)
  if (!isSafe(resource)) throw new TypeError(`${resource} has to be an https URL, or http on loopback.`)
  const { origin, path } = partsOf(resource)
  const document = await fetchJson(fetch, `${origin}/.well-known/oauth-protected-resource${path}`)
  const message = `Which server issues tokens for ${resource} cannot be had.`
  if (!isObject(document) || document['resource'] !== resource)
    throw new Unavailable('unavailable', { message }, {})
  const servers: readonly unknown[] = [document['authorization_servers']].flat()
  const ownServers = servers.filter(
    (server) => typeof server === 'string' && urlOf(server)?.origin === origin,
  )
  const [issuer] = ownServers
  if (ownServers.length !== 1 || typeof issuer !== 'string')
    throw new TypeError(`The issuer of tokens for ${resource} has to be named.`)
  return issuer
}

const addressOf = (value: unknown): string | undefined =>
  typeof value === 'string' && isSafe(value) ? value : undefined

/** One read at a time for each key; what failed is not kept. */
function remember<T>(read: (key: string) => Promise<T>, now: () => number): (key: string) => Promise<T> {
  const cached = new Map<string, { readonly value: Promise<T>; readonly until: number }>()
  return (key) => {
    const entry = cached.get(key)
    if (entry !== undefined && entry.until > now()) return entry.value
    if (cached.size >= keptMax) cached.clear()
    const value = read(key)
    cached.set(key, { value, until: now() + keptMs })
    value.catch(() => {
      if (cached.get(key)?.value === value) cached.delete(key)
    })
    return value
  }
}
