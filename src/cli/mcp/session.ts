import { DpopSession, extractWWWAuthenticateParams, withDpop } from '@modelcontextprotocol/client'
import { createMcpHandler, McpServer } from '@modelcontextprotocol/server'
import type { Fetch } from '../../delegation/tokens/fetch-json.ts'
import { mcpCapabilities, mcpInstructions, mcpListed, mcpServer } from '../../kernel/mcp.ts'
import { unlessAborted } from '../../kernel/with-timeout.ts'
import { type Prompt, SignInOver, type SignIns } from '../sign-ins.ts'
import type { ProofKey } from './proof-key.ts'

/** The person has to do something first: what, and where. */
export class SignInNeeded extends Error {
  readonly prompt: Prompt

  constructor(prompt: Prompt) {
    super(`Sign in first: open ${prompt.url} in a browser, enter ${prompt.code}, and try again.`)
    this.prompt = prompt
  }
}

/** The tokens of one program at one service, for as long as it runs. */
export interface Session {
  /**
   * An access token other than the one that was `refused`; undefined where nobody is signed in. Asks no
   * person.
   */
  held(refused?: string): Promise<string | undefined>
  /**
   * An access token other than the one that was `refused`. Where nobody is signed in the person is asked to,
   * once for all who wait; whoever waited too long gets `SignInNeeded`, and the next one what came of it.
   */
  token(signal: AbortSignal, refused?: string): Promise<string>
  /** A token for these scopes: asks the person to sign in for them, once. False: they were asked already. */
  widen(scope: string, signal: AbortSignal): Promise<boolean>
}

export interface SessionDeps {
  readonly url: string
  readonly signIns: SignIns
  readonly scope: string | undefined
  readonly show: (prompt: Prompt) => void
  readonly welcome: (subject: string, scope: string) => void
  /** Milliseconds that a message waits for the person: less than a client waits for its answer. */
  readonly patienceMs: number
  /** Ends every wait for the person. */
  readonly closing: AbortSignal
}

export function createSession(deps: SessionDeps): Session {
  const { url, signIns, show, welcome, patienceMs, closing } = deps
  let going: { readonly done: Promise<void>; prompt?: Prompt } | undefined
  const widened = new Set<string>()

  /** One sign-in at a time, which goes on when whoever began it waits no more. */
  async function signIn(scope: string | undefined, signal: AbortSignal): Promise<void> {
    if (going === undefined) {
      const attempt: { done: Promise<void>; prompt?: Prompt } = { done: Promise.resolve() }
      attempt.done = signIns
        .login(
          url,
          scope,
          (prompt) => {
            attempt.prompt = prompt
            show(prompt)
          },
          closing,
        )
        .then(({ subject, scope: grantedScope }) => welcome(subject, grantedScope))
        .finally(() => {
          going = undefined
        })
      // Whoever waits is told; nobody may wait any more.
      attempt.done.catch(() => undefined)
      going = attempt
    }
    const { done: completion } = going
    const waited = going
    const patience = AbortSignal.timeout(patienceMs)
    await unlessAborted(completion, AbortSignal.any([signal, closing, patience])).catch((error: unknown) => {
      if (patience.aborted && waited.prompt !== undefined) throw new SignInNeeded(waited.prompt)
      throw error
    })
  }

  const heldToken: Session['held'] = async (refusedToken) => {
    try {
      return await signIns.token(url, refusedToken)
    } catch (error) {
      if (error instanceof SignInOver) return undefined
      throw error
    }
  }

  return {
    held: heldToken,
    async token(signal, refusedToken) {
      const before = await heldToken(refusedToken)
      if (before !== undefined) return before
      await signIn(deps.scope, signal)
      const signedIn = await heldToken(refusedToken)
      if (signedIn === undefined) throw new Error(`Nobody is signed in at ${url}.`)
      return signedIn
    },
    async widen(scope, signal) {
      const scopeKey = scope.split(' ').sort().join(' ')
      if (widened.has(scopeKey)) return false
      await signIn(scope, signal)
      widened.add(scopeKey)
      return true
    },
  }
}

export interface DpopFetchDeps {
  readonly session: Session
  readonly key: ProofKey
  readonly fetch: Fetch
}

/**
 * Sends each request under a token of the session with a proof of its key. What a token cannot do is mended
 * once each: a nonce is put into the proof, a token that is refused makes way for another, and the person is
 * asked for the scopes that are missing. Whatever is still refused then is the answer.
 */
export async function createDpopFetch({
  session,
  key,
  fetch,
}: DpopFetchDeps): Promise<typeof globalThis.fetch> {
  const proofs = await DpopSession.create({ keyPair: key })

  // The library signs, and puts a nonce into the proof where the service asks for one.
  const send = (url: string, init: RequestInit, token: string): Promise<Response> =>
    withDpop(proofs, () => token)((to, signed) => fetch(String(to), { ...signed, redirect: 'manual' }))(
      url,
      init,
    )

  /** Asks no person. Undefined: nobody is signed in. */
  async function greetService(url: string, init: RequestInit): Promise<Response | undefined> {
    const token = await session.held()
    if (token === undefined) return undefined
    const response = await send(url, init, token)
    if (!isRefused(response)) return response
    await response.body?.cancel()
    const other = await session.held(token)
    return other === undefined ? undefined : send(url, init, other)
  }

  return async (input, init = {}) => {
    const url = input instanceof Request ? input.url : String(input)
    if (isGreeting(init.body)) return (await greetService(url, init)) ?? greet(new Request(url, init))
    const signal = init.signal ?? new AbortController().signal
    const token = await session.token(signal)
    const response = await send(url, init, token)
    const missing = scopeMissing(response)
    if (missing !== undefined && (await session.widen(missing, signal))) {
      await response.body?.cancel()
      return send(url, init, await session.token(signal))
    }
    if (!isRefused(response)) return response
    const other = await session.token(signal, token)
    await response.body?.cancel()
    return send(url, init, other)
  }
}

/**
 * Whether another token may do better. 403 without a scope: what was lent is over, or the agent is barred; a
 * sign-in that has ended shows at the refresh.
 */
const isRefused = (response: Response): boolean =>
  response.status === 401 || (response.status === 403 && scopeMissing(response) === undefined)

const greetings = new Set<unknown>(['server/discover', 'initialize', 'notifications/initialized', 'ping'])

const isGreeting = (body: RequestInit['body']): boolean =>
  typeof body === 'string' && greetings.has((JSON.parse(body) as { readonly method?: unknown }).method)

/**
 * Answers a handshake as the service would, while nobody is signed in: the official client tries one with a
 * process of which it shows nothing. There is nothing in it that is not the same for everybody.
 */
const greet = (request: Request): Promise<Response> =>
  createMcpHandler(
    () =>
      new McpServer(mcpServer, {
        instructions: mcpInstructions,
        capabilities: mcpCapabilities,
        cacheHints: { 'server/discover': mcpListed },
      }),
  ).fetch(request)

function scopeMissing(response: Response): string | undefined {
  const { error, scope } = extractWWWAuthenticateParams(response)
  return response.status === 403 && error === 'insufficient_scope' ? scope : undefined
}
