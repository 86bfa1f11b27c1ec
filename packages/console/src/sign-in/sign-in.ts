import { AccessToken, createProofKey, createProver, type TokenSource } from '@remit/client'
import {
  clientId,
  codeOf,
  type PendingSignIn,
  type Refusal,
  redeem,
  revoke,
  signInSeconds,
  startCodeFlow,
} from './code-flow.ts'

/** Who is signed in, and until when. */
export interface Person {
  /** `sub`: `anne`. */
  readonly subject: string
  /** Of security.read, security.write, agents.write. */
  readonly roles: readonly string[]
  /** Milliseconds since the epoch: until then the API answers without a sign-in anew. */
  readonly until: number
}

/** Somebody is signed in, or why nobody is. */
export type SignInState = { readonly person: Person } | { readonly refused: Refusal }

/** The sign-in of this tab. Its tokens never leave it. */
export type SignIn = Awaited<ReturnType<typeof createSignIn>>

/** What a token lacks of its end when it is not used any more, in milliseconds. */
const marginMs = 15_000
const storageKey = 'remit-console-sign-in'

/** A sign-in with a proof key of its own, which cannot be exported from the browser. */
export async function createSignIn(origin: string) {
  // Its private half cannot leave the browser: a token that was read by whatever means is worth nothing
  // elsewhere.
  const prover = createProver(await createProofKey(), () => Date.now())
  let token: AccessToken | undefined
  let renewal: Promise<SignInState> | undefined
  // Whose this tab is, until it is loaded anew: it shows what they were answered.
  let owner: string | undefined

  async function redeemed(
    code: string | { readonly refused: Refusal },
    verifier: string,
  ): Promise<SignInState> {
    if (typeof code !== 'string') return code
    const tokens = await redeem(origin, { code, verifier }, prover)
    if (tokens === undefined) return { refused: 'failed' }
    const { subject, scopes, accessToken, expiresIn, signedInAt } = tokens
    // Somebody else has signed in, in another tab: what is pressed here would be theirs.
    if (owner !== undefined && owner !== subject) return { refused: 'login_required' }
    owner = subject
    const expiresAt = Date.now() + expiresIn * 1_000
    token = new AccessToken(
      accessToken,
      { subject, audience: origin, scopes, details: [], expiresAt },
      prover,
    )
    const roles = scopes.filter((scope) => scope !== 'openid')
    return { person: { subject, roles, until: signedInAt + signInSeconds * 1_000 } }
  }

  /** Asks without showing anything: the answer is an address of our own origin, which the fetch ends at. */
  async function silently(): Promise<SignInState> {
    const { url, pending } = await startCodeFlow(origin, { path: '', prompt: 'none' })
    const response = await fetch(url).catch(() => undefined)
    if (response === undefined) return { refused: 'failed' }
    await response.body?.cancel()
    prover.learn(response.url, response)
    return redeemed(codeOf(new URL(response.url), pending, origin), pending.verifier)
  }

  const renew = (): Promise<SignInState> => {
    renewal ??= silently().finally(() => {
      renewal = undefined
    })
    return renewal
  }

  async function get(): Promise<AccessToken | undefined> {
    if (token === undefined || token.facts.expiresAt - marginMs < Date.now()) {
      token = undefined
      await renew()
    }
    return token
  }

  /** Tokens for the API. In memory alone: whoever reloads the page gets others. */
  const source: TokenSource = {
    agent: clientId,
    async get() {
      const accessToken = await get()
      if (accessToken === undefined) throw new SignInOver()
      return accessToken
    },
    async drop(_, refusedToken) {
      if (token === refusedToken) token = undefined
    },
  }

  return {
    source,
    /** At the start: from the answer in the address, or by the session at the authorization server. */
    async resume(): Promise<SignInState> {
      const currentUrl = new URL(location.href)
      if (currentUrl.pathname !== '/console/callback') return renew()
      const pending = takePending()
      const code = codeOf(currentUrl, pending, origin)
      history.replaceState(null, '', pending?.path ?? '/console')
      return redeemed(code, pending?.verifier ?? '')
    },
    /** Leaves for the sign-in page and comes back to where the person is. */
    async leave({ anew = false } = {}): Promise<void> {
      const path = `${location.pathname}${location.search}`
      const { url, pending } = await startCodeFlow(origin, {
        path,
        ...(anew && { prompt: 'login' as const }),
      })
      sessionStorage.setItem(storageKey, JSON.stringify(pending))
      location.assign(url)
    },
    /** Ends the sign-in here and at the authorization server. False: the service was not there to be told. */
    async end(): Promise<boolean> {
      // Without one there is nothing to end: the authorization server gave none any more.
      const accessToken = await get()
      if (accessToken !== undefined && !(await revoke(origin, accessToken.reveal()))) return false
      token = undefined
      return true
    },
    /** Gives up what is held here: another tab has ended the sign-in. */
    forget(): void {
      token = undefined
    },
  }
}

/** There is no session at the authorization server any more, or it gives this person nothing. */
export class SignInOver extends Error {
  override readonly name = 'SignInOver'
}

function takePending(): PendingSignIn | undefined {
  const text = sessionStorage.getItem(storageKey)
  sessionStorage.removeItem(storageKey)
  if (text === null) return undefined
  const pending: PendingSignIn = JSON.parse(text)
  // An address of the console's own, whatever was put there.
  return pending.path.startsWith('/console') ? pending : { ...pending, path: '/console' }
}
