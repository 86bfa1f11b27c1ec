import type { IncomingMessage, ServerResponse } from 'node:http'
import { Readable } from 'node:stream'
import { errors, type KoaContextWithOIDC, type Provider } from 'oidc-provider'
import { ownElapsed } from '../../kernel/elapsed.ts'
import { reasonOf } from '../../kernel/reason.ts'
import type { Runtime } from '../../store/runtime.ts'
import type { Clients } from '../registry/clients.ts'
import type { Resources } from '../registry/resources.ts'
import type { Proofs } from '../tokens/dpop.ts'
import type { SigningKey } from '../tokens/signing-key.ts'
import { tokenExchange } from './client-metadata.ts'
import { hostCookies, ofFlow } from './cookies.ts'
import { accessTokenType, type Exchange } from './exchange.ts'
import { createInteractions, type Interactions, type InteractionsDeps } from './interactions.ts'
import {
  answeredScope,
  createJwtEndpoints,
  createMetadata,
  createPolling,
  createUnavailable,
  type JwtEndpointsDeps,
  typedCodes,
} from './middleware.ts'
import { createProvider, type ProviderDeps } from './provider.ts'
import { createDemoConsent, type DemoConsent } from './unasked-consents.ts'

/** The built-in authorization server, as the rest of the service sees it. */
export interface AuthorizationServer {
  /** Answers one request. `inside`: its path and query below `/oauth`. */
  handle(request: IncomingMessage, response: ServerResponse, inside: string): Promise<void>
  readonly interactions: Interactions
  /** Only in the demo. */
  readonly demoConsent: DemoConsent | undefined
}

export interface AuthorizationServerDeps
  extends ProviderDeps,
    JwtEndpointsDeps,
    ExchangeGrantDeps,
    Omit<InteractionsDeps, 'provider'> {}

/**
 * The built-in authorization server: `oidc-provider` on our store, made anew when the signing key changes.
 */
export function createAuthorizationServer(deps: AuthorizationServerDeps): AuthorizationServer {
  const { clock, keys, publicUrl } = deps
  const jwtEndpoints = createJwtEndpoints(deps)
  const polling = createPolling(clock)
  const metadata = createMetadata(publicUrl)
  let madeServer:
    | { readonly kid: string; readonly types: string; readonly provider: Provider; readonly answer: Answer }
    | undefined
  const knownTypes = createKnownTypes(deps)

  let idTokenKey: SigningKey | undefined
  function current() {
    const kid = `${keys.current().kid} ${idTokenKey?.kid}`
    const types = knownTypes.current().join(' ')
    if (madeServer?.kid !== kid || madeServer.types !== types) {
      const provider = createProvider(deps, knownTypes.current(), idTokenKey)
      provider.use(createUnavailable(deps.pages.error))
      provider.use(hostCookies)
      provider.use(typedCodes)
      provider.use(answeredScope)
      provider.use(polling)
      provider.use(deps.backchannel.answers)
      provider.use(jwtEndpoints)
      provider.use(metadata)
      registerExchange(provider, deps)
      madeServer = { kid, types, provider, answer: provider.callback() }
    }
    return madeServer
  }

  return {
    interactions: createInteractions({ ...deps, provider: () => current().provider }),
    demoConsent: deps.demo ? createDemoConsent({ ...deps, provider: () => current().provider }) : undefined,
    async handle(request, response, inside) {
      const { pathname } = new URL(inside, publicUrl)
      if (!(await readWhole(request))) return
      settle(request, inside, publicUrl)
      // OAuth's answers there are JSON (RFC 6749 §5.2), whatever a program's HTTP library says it prefers.
      if (!isPage(pathname)) request.headers.accept = 'application/json'
      ofFlow(request, pathname)
      await knownTypes.refresh()
      idTokenKey = await keys.idTokens()
      const closed = new Promise<void>((resolve) => response.once('close', resolve))
      await current().answer(request, response)
      if (!response.writableEnded) response.end()
      await closed
    },
  }
}

/**
 * Where people come by a browser, as the library finds its routes: in any case, with a slash behind or
 * without.
 */
const isPage = (path: string): boolean => /^\/(auth|device)(\/(?!auth\/?$)[^/]+)?\/?$/i.test(path)

// More than the library takes.
const bodyBytesMax = 64 * 1_024

/**
 * Reads the body, and lets the library read it from here: it finds the session first, and the sender may take
 * two minutes, in which that may end. A longer one is left half read: the library refuses it. False: the
 * sender is gone.
 */
async function readWhole(request: IncomingMessage): Promise<boolean> {
  if (request.method !== 'POST') return true
  const chunks: Buffer[] = []
  let bytes = 0
  try {
    for await (const chunk of request.iterator({ destroyOnReturn: false }) as AsyncIterable<Buffer>) {
      chunks.push(chunk)
      bytes += chunk.length
      if (bytes > bodyBytesMax) break
    }
  } catch {
    return false
  }
  Object.defineProperties(request, {
    readable: { value: true },
    iterator: { value: () => Readable.from(chunks) },
  })
  return true
}

type Answer = ReturnType<Provider['callback']>

/**
 * Tells the library where it is: below `/oauth` of PUBLIC_URL. The sender's own word about host and protocol
 * would go into every URL that it makes, and into what a DPoP proof is held to.
 */
function settle(
  request: IncomingMessage & { originalUrl?: string },
  inside: string,
  publicUrl: string,
): void {
  const { host, protocol } = new URL(publicUrl)
  request.originalUrl = `/oauth${inside}`
  request.url = inside
  request.headers.host = host
  request.headers['x-forwarded-host'] = host
  request.headers['x-forwarded-proto'] = protocol.slice(0, -1)
  delete request.headers['x-forwarded-for']
}

const parameters = [
  'subject_token',
  'subject_token_type',
  'actor_token',
  'actor_token_type',
  'requested_token_type',
  'resource',
  'audience',
  'scope',
  'authorization_details',
]

interface ExchangeGrantDeps {
  readonly exchange: Exchange
  readonly clients: Clients
  readonly proofs: Pick<Proofs, 'check' | 'nonce'>
  readonly issuer: string
}

/** Token exchange (RFC 8693) as a grant type of the library, which has authenticated the client. */
function registerExchange(
  provider: Provider,
  { exchange, clients, proofs, issuer }: ExchangeGrantDeps,
): void {
  provider.registerGrantType(
    tokenExchange,
    async (ctx) => {
      const params: Readonly<Record<string, unknown>> = ctx.oidc.params
      const singleParameter = (name: string): string | undefined => {
        const value = params[name]
        return typeof value === 'string' && value !== '' ? value : undefined
      }
      const client = await clients.registered(ctx.oidc.client.clientId)
      if (client === undefined) throw new errors.UnauthorizedClient()
      const provenKey = await provenKeyOf(ctx, proofs, issuer)
      const details = singleParameter('authorization_details')
      const exchanged = await exchange({
        client,
        provenKey,
        subjectToken: singleParameter('subject_token') ?? '',
        subjectTokenType: singleParameter('subject_token_type') ?? '',
        actorToken: singleParameter('actor_token'),
        actorTokenType: singleParameter('actor_token_type'),
        requestedTokenType: singleParameter('requested_token_type'),
        targets: [params['resource'], params['audience']].flat().filter((value) => typeof value === 'string'),
        scope: singleParameter('scope'),
        // The library has parsed and validated it once already.
        details: details === undefined ? undefined : JSON.parse(details),
      })
      if (!exchanged.ok) throw refusal(exchanged, 'this cannot be exchanged')
      const { accessToken, expiresIn, scope, details: granted } = exchanged.value
      ctx.body = {
        access_token: accessToken,
        issued_token_type: accessTokenType,
        token_type: provenKey === undefined ? 'Bearer' : 'DPoP',
        expires_in: expiresIn,
        scope,
        ...(granted.length > 0 && { authorization_details: granted }),
      }
    },
    parameters,
    ['resource', 'audience'],
  )
}

/**
 * The key that the client proves, to which the new token is then bound; undefined for a request without a
 * proof. The library checks proofs for its own grants only.
 */
async function provenKeyOf(
  ctx: KoaContextWithOIDC,
  proofs: ExchangeGrantDeps['proofs'],
  issuer: string,
): Promise<string | undefined> {
  const proof = ctx.get('dpop')
  if (proof === '') return undefined
  const presentedProof = { proof, method: ctx.method, url: `${issuer}/token` }
  const possession = await proofs.check(presentedProof, { nonce: 'demanded' })
  ctx.set('dpop-nonce', proofs.nonce())
  if (!possession.ok) throw refusal(possession, 'this proof is not accepted')
  return possession.value
}

const refusal = (
  { reason, detail }: { readonly reason: string; readonly detail?: string },
  otherwise: string,
) => new errors.CustomOIDCProviderError(reason, detail ?? otherwise)

// Another process's change is seen that late; until then a new type is refused, and a removed one at the
// token.
const staleMs = 1_000

interface KnownTypesDeps extends Pick<Runtime, 'log'> {
  readonly resources: Resources
}

/**
 * Types of details that the registered APIs announce, kept so that no request of the authorization server
 * waits for them.
 */
function createKnownTypes({ resources, log }: KnownTypesDeps) {
  let types: readonly string[] = []
  let seenVersion = -1
  let readAt = Number.NEGATIVE_INFINITY

  async function read(): Promise<void> {
    const version = resources.version()
    readAt = ownElapsed()
    types = await resources.detailTypes()
    seenVersion = version
  }

  return {
    /** What was read last. */
    current: () => types,
    /**
     * Waits where nothing was read yet, or this process changed the registry; else reads again behind the
     * request.
     */
    async refresh(): Promise<void> {
      if (seenVersion !== resources.version()) return read()
      if (ownElapsed() - readAt < staleMs) return
      read().catch((error: unknown) => log('resources_unread', { reason: reasonOf(error) }))
    },
  }
}
