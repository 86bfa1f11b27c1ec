import { type Prompt, SignInOver, type SignIns } from '../sign-ins.ts'

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
  /** An access token other than the one that was `refused`; undefined where nobody is signed in. Asks no person. */
  held(refused?: string): Promise<string | undefined>
  /**
   * An access token other than the one that was `refused`. Where nobody is signed in the person is asked to, once for all who
   * wait; whoever waited too long gets `SignInNeeded`, and the next one what came of it.
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
      const begun: { done: Promise<void>; prompt?: Prompt } = { done: Promise.resolve() }
      begun.done = signIns
        .login(
          url,
          scope,
          (prompt) => {
            begun.prompt = prompt
            show(prompt)
          },
          closing,
        )
        .then(({ subject, scope: given }) => welcome(subject, given))
        .finally(() => {
          going = undefined
        })
      // Whoever waits is told; nobody may wait any more.
      begun.done.catch(() => undefined)
      going = begun
    }
    const { done } = going
    const waited = going
    const patience = AbortSignal.timeout(patienceMs)
    await Promise.race([done, aborted(AbortSignal.any([signal, closing, patience]))]).catch(
      (error: unknown) => {
        if (patience.aborted && waited.prompt !== undefined) throw new SignInNeeded(waited.prompt)
        throw error
      },
    )
  }

  const held: Session['held'] = async (refused) => {
    try {
      return await signIns.token(url, refused)
    } catch (error) {
      if (error instanceof SignInOver) return undefined
      throw error
    }
  }

  return {
    held,
    async token(signal, refused) {
      const before = await held(refused)
      if (before !== undefined) return before
      await signIn(deps.scope, signal)
      const signedIn = await held(refused)
      if (signedIn === undefined) throw new Error(`Nobody is signed in at ${url}.`)
      return signedIn
    },
    async widen(scope, signal) {
      const wanted = scope.split(' ').sort().join(' ')
      if (widened.has(wanted)) return false
      await signIn(scope, signal)
      widened.add(wanted)
      return true
    },
  }
}

function aborted(signal: AbortSignal): Promise<never> {
  return new Promise((_, reject) => {
    if (signal.aborted) reject(signal.reason as Error)
    signal.addEventListener('abort', () => reject(signal.reason as Error), { once: true })
  })
}
