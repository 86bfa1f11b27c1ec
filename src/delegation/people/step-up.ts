import type { Clock } from '../../kernel/clock.ts'
import { ok, type Result, refuse } from '../../kernel/result.ts'
import { type PasskeyRefusal, type Passkeys, passkeyAmr } from './passkeys.ts'
import type { BrowserSession, Sessions } from './sessions.ts'

/**
 * Why nobody was verified. `not_yours`: a passkey of somebody else. `too_young`: it counts a day after it was
 * added. `signed_out`: the session ended meanwhile.
 */
export type StepUpRefusal = PasskeyRefusal | 'unavailable' | 'not_yours' | 'too_young' | 'signed_out'

/**
 * Whoever is signed in shows once more that it is they who sit there, by a passkey of theirs, for what they
 * look at.
 */
export interface StepUp {
  /** How they can. `matter` names what they look at: an answer counts for it alone. */
  ask(session: BrowserSession, matter: string): Promise<StepUpWay>
  /**
   * From now on this session is verified, on record with it; gives what it says now. `id` is the cookie's
   * value. One question, one answer, within 5 minutes. NOT limited in rate.
   */
  answer(
    id: string,
    session: BrowserSession,
    stepUpAnswer: StepUpAnswer,
  ): Promise<Result<VerifiedSession, StepUpRefusal>>
}

/** What a session says after its person was verified. */
export type VerifiedSession = Required<Pick<BrowserSession, 'verifiedAt' | 'amr'>>

/**
 * `passkey`: `options` are for the browser. `elsewhere`: by a fresh sign-in at the provider through which
 * they came. `add_passkey`: they have none yet, and may add one. `none`: there are no passkeys here.
 */
export type StepUpWay =
  | { readonly way: 'passkey'; readonly options: object }
  | { readonly way: 'elsewhere' | 'add_passkey' | 'none' }

/** The browser's answer, and what the person was looking at. */
export interface StepUpAnswer {
  readonly matter: string
  /** As the browser's passkey gave it. */
  readonly answer: unknown
  readonly txn: string
}

export interface StepUpDeps {
  /** Undefined where there are none. */
  readonly passkeys: Passkeys | undefined
  readonly sessions: Pick<Sessions, 'verified'>
  readonly clock: Clock
}

/** Does NOT limit the rate of tries: the route does. */
export function createStepUp({ passkeys, sessions, clock }: StepUpDeps): StepUp {
  const bindingOf = ({ csrf }: BrowserSession, matter: string) => `${csrf} ${matter}`
  return {
    async ask(session, matter) {
      const existingPasskeys = (await passkeys?.list(session.person)) ?? []
      if (passkeys !== undefined && existingPasskeys.length > 0)
        return { way: 'passkey', options: await passkeys.ask(bindingOf(session, matter), 'confirm') }
      if (session.upstream !== undefined) return { way: 'elsewhere' }
      return { way: passkeys === undefined ? 'none' : 'add_passkey' }
    },
    async answer(id, session, { matter, answer, txn }) {
      if (passkeys === undefined) return refuse('unavailable')
      const verified = await passkeys.verify(bindingOf(session, matter), answer, 'confirm')
      if (!verified.ok) return verified
      // A device of a family or an office holds passkeys of several people.
      if (verified.value.person !== session.person) return refuse('not_yours')
      if (!verified.value.verifies) return refuse('too_young')
      if (!(await sessions.verified(id, { amr: passkeyAmr, txn }))) return refuse('signed_out')
      const amr = [...new Set([...session.amr, ...passkeyAmr])]
      return ok({ verifiedAt: new Date(clock.now()), amr })
    },
  }
}
