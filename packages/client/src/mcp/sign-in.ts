import { isSafe } from '../shared/fetch-json.ts'

/** Settings of the sign-in at a remote MCP server. */
export interface McpSignInOptions<Dpop = never> {
  /** Where the browser comes back to the program, as it is registered: https, or http on loopback. */
  readonly redirectUrl: string
  /** Sends the person there. */
  readonly open: (url: URL) => void | Promise<void>
  /**
   * Of a client that is registered. `issuer`, if named, is the only server that sees it; a client with a
   * secret has to name it. `@modelcontextprotocol/sdk` 1.x does not say at which issuer it is: there a client
   * with a secret is not used.
   */
  readonly client?: RegisteredClient
  /** Of a client that is known by a document at this https address (Client ID Metadata Document). */
  readonly clientMetadataUrl?: string
  /**
   * Asked for from the first sign-in on, beside what the server demands, so that the person agrees once.
   * Default: none. Remit offers what needs an approval only to whoever may ask for one (`approvals.request`).
   */
  readonly scopes?: readonly string[]
  /** What a server is told that registers clients by itself. Default `MCP client`. */
  readonly clientName?: string
  /**
   * Whether refresh tokens are kept. Default true. `@modelcontextprotocol/sdk` 1.x needs false: it answers a
   * demand for more scopes by refreshing what it has, and gives up.
   */
  readonly refreshes?: boolean
  /** `DpopSession.create()` of the official client: binds tokens to its key. Default: bearer tokens. */
  readonly dpop?: Dpop | Promise<Dpop>
}

type RegisteredClient =
  | { readonly client_id: string; readonly client_secret?: never; readonly issuer?: string }
  | { readonly client_id: string; readonly client_secret: string; readonly issuer: string }

/** A token answer (RFC 6749 §5.1), as the MCP SDK stores it. `expires_in` is in seconds. */
export interface McpTokens {
  readonly access_token: string
  readonly token_type: string
  readonly refresh_token?: string | undefined
  readonly scope?: string | undefined
  readonly expires_in?: number | undefined
}

interface McpClientInformation {
  readonly client_id: string
  readonly issuer?: string | undefined
  readonly client_secret?: string | undefined
}

interface Issued {
  readonly issuer: string
}

/**
 * The sign-in of one person at one MCP server, for the official clients (their `OAuthClientProvider`), in
 * memory. What one authorization server gave is never shown to another: tokens and registrations are kept by
 * issuer. An answer counts once, and only for the attempt that this program began: see
 * {@link McpSignIn.back}.
 */
export class McpSignIn<Dpop = never> {
  readonly clientMetadataUrl?: string
  /** Only there where tokens are to be bound to a key: the clients take its presence for that. */
  readonly dpop?: () => Promise<Dpop>
  readonly #options: McpSignInOptions<Dpop>
  readonly #tokens = new Map<string, McpTokens>()
  readonly #clients = new Map<string, McpClientInformation>()
  #latest: McpTokens | undefined
  #state: string | undefined
  #verifier = ''
  #discovered: unknown

  /** @throws TypeError for a `redirectUrl` that is not safe, or a client with a secret for any issuer. */
  constructor(options: McpSignInOptions<Dpop>) {
    if (!isSafe(options.redirectUrl)) throw new TypeError('redirectUrl has to be https, or http on loopback.')
    // An MCP server names its issuer as it likes, and would have the secret sent there.
    if (options.client?.client_secret !== undefined && options.client.issuer === undefined)
      throw new TypeError('A client with a secret has to name its issuer.')
    this.#options = options
    if (options.clientMetadataUrl !== undefined) this.clientMetadataUrl = options.clientMetadataUrl
    const { dpop } = options
    if (dpop !== undefined) this.dpop = async () => dpop
  }

  get redirectUrl(): string {
    return this.#options.redirectUrl
  }

  get clientMetadata() {
    const { clientName = 'MCP client', redirectUrl } = this.#options
    return { client_name: clientName, redirect_uris: [redirectUrl], token_endpoint_auth_method: 'none' }
  }

  /** Fresh for each attempt: the last one alone can come back. */
  state(): string {
    this.#state = crypto.randomUUID()
    return this.#state
  }

  /**
   * What the browser came back with, to be handed to `transport.finishAuth`.
   *
   * @throws TypeError where it is not the answer to the last attempt, or was handed over before: somebody
   * else's code would sign this program in as them (RFC 6749 §10.12).
   */
  back(url: URL): URLSearchParams {
    const { searchParams } = url
    const expected = this.#state
    this.#state = undefined
    const callbackUrl = new URL(this.redirectUrl)
    if (
      expected === undefined ||
      searchParams.get('state') !== expected ||
      url.pathname !== callbackUrl.pathname
    )
      throw new TypeError('This is not the answer to the sign-in that was begun last.')
    return searchParams
  }

  clientInformation(issued?: Issued): McpClientInformation | undefined {
    const { client } = this.#options
    if (client === undefined) return issued && this.#clients.get(issued.issuer)
    const { client_secret: secret, issuer = issued?.issuer } = client
    const isTheirs = issued === undefined ? secret === undefined : issued.issuer === issuer
    return isTheirs ? client : undefined
  }

  saveClientInformation(information: McpClientInformation, issued?: Issued): void {
    if (issued !== undefined) this.#clients.set(issued.issuer, information)
  }

  /** Without an issuer: those that came last, for requests to the MCP server. */
  tokens(issued?: Issued): McpTokens | undefined {
    return issued === undefined ? this.#latest : this.#tokens.get(issued.issuer)
  }

  saveTokens(issuedTokens: McpTokens, issued?: Issued): void {
    const { refresh_token: refresh, ...withoutRefresh } = issuedTokens
    const tokens = this.#options.refreshes === false || refresh === undefined ? withoutRefresh : issuedTokens
    this.#latest = tokens
    if (issued !== undefined) this.#tokens.set(issued.issuer, tokens)
    // Which server it was is held for the answer that comes back. Next time the resource is asked: it may
    // have moved.
    this.#discovered = undefined
  }

  async redirectToAuthorization(url: URL): Promise<void> {
    // A person's browser is sent there: never to another program by its scheme.
    if (!isSafe(url.href)) throw new TypeError('The authorization server is neither https nor on loopback.')
    const requestedUrl = new URL(url)
    const demanded = url.searchParams.get('scope')?.split(' ') ?? []
    const scopes = new Set([...demanded, ...(this.#options.scopes ?? [])])
    if (scopes.size > 0) requestedUrl.searchParams.set('scope', [...scopes].join(' '))
    await this.#options.open(requestedUrl)
  }

  saveCodeVerifier(verifier: string): void {
    this.#verifier = verifier
  }

  codeVerifier(): string {
    return this.#verifier
  }

  saveDiscoveryState(state: unknown): void {
    this.#discovered = state
  }

  // biome-ignore lint/suspicious/noExplicitAny: whatever the client gave, back to it.
  discoveryState(): any {
    return this.#discovered
  }

  /** What the server took no more is forgotten. */
  invalidateCredentials(scope: 'all' | 'client' | 'tokens' | 'verifier' | 'discovery'): void {
    if (scope === 'all' || scope === 'client') this.#clients.clear()
    if (scope === 'all' || scope === 'tokens') {
      this.#tokens.clear()
      this.#latest = undefined
    }
    if (scope === 'all' || scope === 'verifier') this.#verifier = ''
    if (scope === 'all' || scope === 'discovery') this.#discovered = undefined
  }
}
