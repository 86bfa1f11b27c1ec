import type { IncomingMessage, ServerResponse } from 'node:http'
import type { Provider } from 'oidc-provider'
import type { SigningKey } from '../tokens/signing-key.ts'
import { answeredScope } from './answered-scope.ts'
import { hostCookies, ofFlow } from './cookies.ts'
import { createDemoConsent, type DemoConsent } from './demo-consent.ts'
import { type ExchangeGrantDeps, registerExchange } from './exchange-grant.ts'
import { createInteractions, type Interactions, type InteractionsDeps } from './interactions.ts'
import { createJwtEndpoints, type JwtEndpointsDeps } from './jwt-endpoints.ts'
import { createKnownTypes } from './known-types.ts'
import { createMetadata } from './metadata.ts'
import { createPolling } from './polling.ts'
import { createProvider, type ProviderDeps } from './provider.ts'
import { typedCodes } from './typed-codes.ts'
import { createUnavailable } from './unavailable.ts'

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
