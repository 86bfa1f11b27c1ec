import type { X509Certificate } from 'node:crypto'

/** What a process may be in the exchange with nominators. */
export type CertifiedRole = 'api' | 'nominator'

const roleUri = /^URI:urn:remit:role:(.+)$/

/**
 * Whether a certificate, verified already, gives this role and no other: by an alternative name of its own,
 * `URI:urn:remit:role:api`. Does NOT look at who signed it, nor at its dates.
 */
export function hasRole(certificate: X509Certificate | undefined, role: CertifiedRole): boolean {
  // Node puts a name in quotes that holds anything which could be taken for the next one.
  const names = certificate?.subjectAltName?.split(', ') ?? []
  const roles = names.flatMap((name) => roleUri.exec(name)?.[1] ?? [])
  return roles.length === 1 && roles[0] === role
}
