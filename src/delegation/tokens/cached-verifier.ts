import { hash } from 'node:crypto'
import { inAction, type Principal } from '../../kernel/principal.ts'
import { ok, type Result, refuse } from '../../kernel/result.ts'
import type { Runtime } from '../../store/runtime.ts'
import type { RevocationFeed } from '../revocation/revocation-feed.ts'
import type { Proofs } from './dpop.ts'
import type { Resource } from './issuers.ts'
import { createPrincipalCache } from './principal-cache.ts'
import type { VerifyReason } from './reasons.ts'
import { type JudgedToken, judgedAt, type Presented, type TokenJudge, type Verifier } from './verify.ts'

export interface CachedVerifierDeps extends Pick<Runtime, 'clock' | 'newTxn'> {
  readonly judge: TokenJudge
  readonly authority: RevocationFeed
  /** Checks the proof of a token that is bound to a key. */
  readonly proofs: Pick<Proofs, 'check'>
  /** Tokens remembered, of about a kilobyte each. Default 10,000. */
  readonly max?: number
}

type Remembered = Pick<JudgedToken, 'principal' | 'until' | 'deniable' | 'hasOwnTxn' | 'issuer' | 'edition'>

/**
 * Says who a token stands for without checking its signature and asking the database again, by the token's
 * sha256: the token itself is not kept. Only a yes is remembered, and every doubt about it (a change of who
 * may act, a key that came or went, its end, the deny-list) goes to the judge, which alone refuses. The proof
 * of a token that is bound to a key (RFC 9449) is not remembered: it is checked on every call. Both kinds of
 * question throw `authorization_unavailable` while changes are not heard.
 */
export function createCachedVerifier(deps: CachedVerifierDeps): Verifier {
  const { judge, authority, clock, newTxn, proofs, max = 10_000 } = deps
  const cache = createPrincipalCache<Remembered>(authority, max)

  function stands(
    { principal, until: validUntil, deniable, issuer, edition }: Remembered,
    underWay: boolean,
  ): boolean {
    const at = judgedAt(principal.expiresAt, clock.now(), underWay)
    return validUntil > at && issuer.keys.edition() === edition && !authority.isDenied(deniable, at)
  }

  function recall(key: string, underWay: boolean): Principal | undefined {
    const remembered = cache.get(key)
    if (remembered === undefined || !stands(remembered, underWay)) return undefined
    return remembered.hasOwnTxn ? remembered.principal : inAction(remembered.principal, newTxn())
  }

  async function judgeAnew(
    token: string,
    resource: Resource,
    key: string,
    presented: Presented | undefined,
  ): Promise<Result<Principal, VerifyReason>> {
    const judged = await judge.judge(token, resource, presented)
    if (!judged.ok) return judged
    const { principal, until: validUntil, deniable, hasOwnTxn, issuer, edition, version } = judged.value
    const remembered = { principal, until: validUntil, deniable, hasOwnTxn, issuer, edition }
    if (edition !== undefined) cache.put(key, remembered, version, principal.delegation)
    return ok(principal)
  }

  return {
    async verify(token, resource, presented) {
      authority.assertHeard()
      const key = `${resource} ${hash('sha256', token, 'base64url')}`
      const remembered = recall(key, presented === 'under_way')
      const found =
        remembered === undefined ? await judgeAnew(token, resource, key, presented) : ok(remembered)
      if (!found.ok) return found
      const possession = await checkPossession(token, found.value.boundTo, presented, proofs)
      return possession.ok ? found : possession
    },
    async examine(token) {
      authority.assertHeard()
      return judge.examine(token)
    },
    async examineSubject(token) {
      authority.assertHeard()
      return judge.examineSubject(token)
    },
  }
}

/** Whether whoever shows a token may: by the proof of its key, or by having it where it is bound to none. */
async function checkPossession(
  token: string,
  boundTo: string | undefined,
  presented: Presented | undefined,
  proofs: Pick<Proofs, 'check'>,
): Promise<Result<true, VerifyReason>> {
  if (presented === 'proven' || presented === 'under_way') return ok(true)
  if (boundTo === undefined) return presented === undefined ? ok(true) : refuse('not_bound')
  // Stolen, it would be as good as in its owner's hands.
  if (presented === undefined) return refuse('proof_missing')
  const possession = await proofs.check(presented, { accessToken: token })
  if (!possession.ok) return refuse(possession.reason === 'use_dpop_nonce' ? 'nonce_needed' : 'proof_invalid')
  return possession.value === boundTo ? ok(true) : refuse('proof_of_another_key')
}
