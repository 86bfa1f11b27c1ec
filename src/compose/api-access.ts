import type { Administrators } from '../delegation/administration/administrators.ts'
import type { Proofs } from '../delegation/tokens/dpop.ts'
import { publicErrorOf } from '../delegation/tokens/reasons.ts'
import type { Verifier } from '../delegation/tokens/verify.ts'
import { createRequireBearer, type RequireBearer } from '../http/middleware/bearer.ts'
import { type Admission, createAdmission } from '../http/middleware/limits.ts'
import { createReading, type Reading } from '../http/routes/reading.ts'
import type { IsAdministrator } from '../http/routes/writing.ts'
import { refuse } from '../kernel/result.ts'
import type { ComposeContext } from './context.ts'

/** The verifier of tokens, their proofs, and who administers. */
export interface ApiAccessDeps extends Pick<ComposeContext, 'config' | 'log' | 'now'> {
  readonly verifier: Verifier
  readonly proofs: Proofs
  readonly administrators: Administrators
}

/** What stands before the API: tokens, limits and roles. */
export interface ApiAccess {
  readonly admission: Admission
  readonly requireBearer: RequireBearer
  /** Of the role `security.write`. */
  readonly isAdministrator: IsAdministrator
  /** Of the role `security.read`. */
  readonly isReader: IsAdministrator
  /** Of the role `agents.write`. */
  readonly keepsAgents: IsAdministrator
  readonly reading: Reading
}

/** Makes what every API route stands behind: bearer tokens, rate limits and roles. */
export function createApiAccess({
  config,
  log,
  now,
  verifier,
  proofs,
  administrators,
}: ApiAccessDeps): ApiAccess {
  const admission = createAdmission({ perMinute: config.ratePerMinute, now })
  const requireBearer = createRequireBearer({
    async verify(token, credentials) {
      const verified = await verifier.verify(token, 'api', credentials)
      if (verified.ok) return verified
      // Outside it is one of a few words; why is for the operator alone.
      log('token_refused', { reason: verified.reason })
      return refuse(publicErrorOf(verified.reason), verified.reason)
    },
    admit: admission.principal,
    publicUrl: config.publicUrl,
    nonce: () => proofs.nonce(),
  })
  const isReader: IsAdministrator = (subject) => administrators.has(subject, 'security.read')
  return {
    admission,
    requireBearer,
    isAdministrator: (subject) => administrators.has(subject, 'security.write'),
    isReader,
    keepsAgents: (subject) => administrators.has(subject, 'agents.write'),
    reading: createReading({ requireBearer, isReader, now }),
  }
}
