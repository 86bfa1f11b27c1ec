import { DpopSession, type OAuthDiscoveryState } from '@modelcontextprotocol/client'

const redirectUri = 'http://127.0.0.1:49152/callback'

export interface SignInOptions {
  /** Of a client that is registered. */
  readonly clientId?: string
  /** Of a client that is known by a document of its own. */
  readonly metadataUrl?: string
  /** Whether its tokens are bound to a key. Default false. */
  readonly bound?: boolean
  /** Whether it keeps its refresh tokens. Default true. */
  readonly refreshes?: boolean
}

/** What a program keeps of its sign-in, in memory. Serves both official clients: they ask for the same things. */
export class SignIn {
  readonly redirectUrl = redirectUri
  readonly clientMetadata = { client_name: 'Test', redirect_uris: [redirectUri] }
  readonly clientMetadataUrl?: string
  /** Where the person was sent, latest last. */
  readonly opened: URL[] = []
  held: { access_token: string; token_type: string; refresh_token?: string; scope?: string } | undefined
  private known: { client_id: string } | undefined
  private readonly refreshes: boolean
  private readonly session: Promise<DpopSession> | undefined
  private discovered: OAuthDiscoveryState | undefined
  private verifier = ''

  constructor(options: SignInOptions) {
    this.known = options.clientId === undefined ? undefined : { client_id: options.clientId }
    if (options.metadataUrl !== undefined) this.clientMetadataUrl = options.metadataUrl
    this.refreshes = options.refreshes ?? true
    this.session = options.bound === true ? DpopSession.create() : undefined
  }
  state(): string {
    return 'a-state'
  }
  clientInformation(): { client_id: string } | undefined {
    return this.known
  }
  saveClientInformation(information: { client_id: string }): void {
    this.known = information
  }
  tokens() {
    return this.held
  }
  saveTokens(tokens: NonNullable<SignIn['held']>): void {
    const { refresh_token: refresh, ...rest } = tokens
    this.held = { ...rest, ...(this.refreshes && refresh !== undefined && { refresh_token: refresh }) }
  }
  redirectToAuthorization(url: URL): void {
    this.opened.push(url)
  }
  saveCodeVerifier(verifier: string): void {
    this.verifier = verifier
  }
  codeVerifier(): string {
    return this.verifier
  }
  saveDiscoveryState(state: OAuthDiscoveryState): void {
    this.discovered = state
  }
  discoveryState() {
    return this.discovered
  }
  dpop() {
    return this.session
  }
}
