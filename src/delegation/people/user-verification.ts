import { isNoOlderThan } from '../../kernel/clock.ts'

/**
 * Whether an upstream sign-in shows that the person themself was there (RFC 8176), which a password alone
 * does not: whoever reads it from a leak or a keyboard has it. Counted are `mfa`, a biometric, or something
 * they hold with something that was done or known beside it. Not counted: `otp`, `hwk` and `swk` alone (a key
 * in an unlocked profile answers for anybody who sits there), `sms` and `tel` (numbers are taken over),
 * `kba`, `geo`, `rba`, `wia` and what we do not know. NOT checked: how the provider came to say so; it is
 * trusted to name who its people are as well.
 */
export function isUserVerified(amr: readonly string[]): boolean {
  const has = (...methods: readonly string[]) => methods.some((method) => amr.includes(method))
  if (has('mfa', 'fpt', 'face', 'iris', 'retina', 'vbm')) return true
  return has('hwk', 'swk', 'sc') ? has('pin', 'pwd', 'user') : has('otp') && has('pin', 'pwd')
}

/**
 * Milliseconds for which a verification counts: an answer needs the person there now, not some time today.
 */
export const verificationMs = 300_000

/** Whether who sits there was verified lately enough for what is sensitive. */
export const isVerifiedNow = (
  { verifiedAt }: { readonly verifiedAt?: Date | undefined },
  now: number,
): boolean => verifiedAt !== undefined && isNoOlderThan(verificationMs, verifiedAt.getTime(), now)
