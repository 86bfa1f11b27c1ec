import { z } from 'zod'
import { ok, type Result, refuse } from '../../kernel/result.ts'
import type { Runtime } from '../../store/runtime.ts'
import type { CodeRefusal } from '../oauth-client/code-client.ts'
import { settlesMs } from '../people/account-news.ts'
import type { AccountLinks } from '../people/links.ts'
import type { People, Person } from '../people/people.ts'
import { createAttempts } from './attempts.ts'
import { type UpstreamIdentity, type UpstreamProvider, upstreamIdentity } from './provider.ts'

/** What the browser that came back is told. `back`: where it was begun, as far as that is known. */
export type SignInReturn =
  | { readonly ok: true; readonly next: string }
  | {
      readonly ok: false
      readonly reason: CodeRefusal | 'not_begun_here'
      readonly back: string | undefined
    }

/** What begins a sign-in elsewhere: only the same can end it. */
export interface SignInOrigin {
  /** Names the sign-in, or the session that links. */
  readonly binding: string
  /** Path of ours where the browser goes on when it is known who it was. */
  readonly next: string
  /** Path of ours where it was begun. */
  readonly back: string
}

/** Sign-ins elsewhere: begun in a browser, ended in the same one. */
export interface UpstreamSignIns {
  readonly providers: readonly Pick<UpstreamProvider, 'issuer' | 'namespace' | 'host'>[]
  /**
   * Where the browser goes, and the value that it must bring back in a cookie. Undefined: no such provider.
   */
  begin(
    namespace: string,
    origin: SignInOrigin,
  ): Promise<
    Result<{ readonly url: string; readonly browser: string }, 'no_provider' | 'provider_unavailable'>
  >
  /** The browser came back with this query. `browser`: its cookie. */
  returned(namespace: string, search: string, browser: string | undefined): Promise<SignInReturn>
  /** Who came back, without ending it: for a page that asks first. */
  look(browser: string | undefined, binding: string): Promise<UpstreamIdentity | undefined>
  /** Who came back, once. */
  take(browser: string | undefined, binding: string): Promise<UpstreamIdentity | undefined>
  /**
   * The account that this identity signs in: the local one that it is linked to, or `namespace/key`.
   * Undefined where that key belongs to somebody at another issuer.
   */
  account(identity: UpstreamIdentity): Promise<SignedInAs | undefined>
  sweep(): Promise<number>
}

/** The person that somebody is after a sign-in elsewhere. */
export interface SignedInAs extends Person {
  /** Linked so lately that it shows no more than a password does. */
  readonly isYoung?: boolean
}

export interface UpstreamSignInsDeps extends Pick<Runtime, 'sql' | 'seal' | 'clock' | 'log' | 'randomBytes'> {
  readonly providers: readonly UpstreamProvider[]
  readonly people: People
  readonly links: Pick<AccountLinks, 'of'>
}

const attemptSchema = z.object({
  issuer: z.string(),
  checks: z.object({ state: z.string(), nonce: z.string(), verifier: z.string() }),
  // Paths of ours: where it goes on, and where it was begun.
  next: z.string(),
  back: z.string(),
})

/** Sign-in through trusted issuers, bound to the browser and to the sign-in or session that began it. */
export function createUpstreamSignIns(deps: UpstreamSignInsDeps): UpstreamSignIns {
  const { sql, clock, log, providers, people, links } = deps
  const attempts = createAttempts({
    ...deps,
    use: 'upstream',
    begun: attemptSchema,
    answered: upstreamIdentity,
  })
  const providerOf = (namespace: string) => providers.find((candidate) => candidate.namespace === namespace)

  return {
    providers,
    async begin(namespace, { binding, next, back }) {
      const provider = providerOf(namespace)
      if (provider === undefined) return refuse('no_provider')
      const authorization = await provider.begin()
      if (!authorization.ok) {
        const { reason, detail } = authorization
        log('upstream_refused', { issuer: provider.issuer, reason, detail })
        return authorization
      }
      const { url, state, nonce, verifier } = authorization.value
      const browser = deps.randomBytes(32).toString('base64url')
      const checks = { state, nonce, verifier }
      await attempts.begin(browser, binding, { issuer: provider.issuer, checks, next, back })
      return ok({ url, browser })
    },
    async returned(namespace, search, browser) {
      const provider = providerOf(namespace)
      const state = new URLSearchParams(search).get('state')
      // One browser, one state, once. Another browser's state is what an attacker sends to sign somebody in
      // as them.
      const attempt =
        browser === undefined || state === null ? undefined : await attempts.claim(browser, state)
      if (browser === undefined || attempt === undefined)
        return { ok: false, reason: 'not_begun_here', back: undefined }
      // Begun at one, answered at the address of another: a mix-up.
      const identity =
        provider?.issuer === attempt.issuer
          ? await provider.redeem(search, attempt.checks)
          : refuse('not_verified' as const, 'answered at the address of another issuer')
      if (!identity.ok) {
        await attempts.drop(browser)
        log('upstream_refused', { issuer: attempt.issuer, reason: identity.reason, detail: identity.detail })
        return { ok: false, reason: identity.reason, back: attempt.back }
      }
      await attempts.answer(browser, identity.value)
      return { ok: true, next: attempt.next }
    },
    look: async (browser, binding) => (browser === undefined ? undefined : attempts.look(browser, binding)),
    take: async (browser, binding) => (browser === undefined ? undefined : attempts.take(browser, binding)),
    async account(identity) {
      const { issuer, sub, key, name } = identity
      const linked = await links.of({ issuer, sub })
      if (linked !== undefined) {
        const local = await people.get(linked)
        const young = await sql.query(
          'select from account_links where issuer = $1 and sub = $2 and linked_at > $3',
          [issuer, sub, new Date(clock.now() - settlesMs)],
        )
        return local && { key: local.key, name: local.name, isYoung: young.length > 0 }
      }
      if (await people.arrive({ key, name }, { issuer, sub })) return { key, name }
      log('upstream_key_taken', { issuer, detail: 'its namespace holds people of another issuer' })
      return undefined
    },
    sweep: attempts.sweep,
  }
}
