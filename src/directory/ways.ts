import { invalid } from '../kernel/errors.ts'
import { entryFor } from '../kernel/registered-secret.ts'
import type { BringingDirectory, DirectoriesDeps, Directory, ListedDirectory } from './directories.ts'

/** What one says of a directory to register it. */
export type NewDirectory = Omit<BringingDirectory, 'issuer' | 'preset'> & NewDirectoryKind

/** How it comes: pushed by SCIM, or read by the service. */
export type NewDirectoryKind =
  | { readonly kind?: 'scim'; readonly keyAttribute: Directory['keyAttribute'] }
  | {
      readonly kind: 'ldap' | 'keycloak'
      readonly settings: unknown
      /** An entry of `DIRECTORY_SECRETS` for this kind and origin, by name. */
      readonly secret: string
      /** Between the end of a reading and the next. Default 300. */
      readonly pollSeconds?: number
      /** For which memberships count after they were last confirmed. Default a day. */
      readonly maxAgeSeconds?: number
      /** Its people count no longer than that either: then they are held. Default false. */
      readonly isRequired?: boolean
    }

/** How a directory comes, checked. */
export interface Way {
  readonly kind: ListedDirectory['kind']
  readonly keyAttribute: string
  readonly settings: unknown
  readonly origin: string | null
  readonly secret: string | null
  readonly pollSeconds: number
  readonly maxAgeSeconds: number
  readonly isRequired: boolean
}

const daySeconds = 86_400

/** Throws `invalid_request` that names what does not fit. */
export function wayOf(
  { kinds, secrets }: Pick<DirectoriesDeps, 'kinds' | 'secrets'>,
  given: NewDirectoryKind,
): Way {
  const timing = { pollSeconds: 300, maxAgeSeconds: daySeconds, isRequired: false }
  if ('keyAttribute' in given) {
    const { keyAttribute } = given
    return { kind: 'scim', keyAttribute, settings: {}, origin: null, secret: null, ...timing }
  }
  const { kind, settings, secret } = given
  const opened = kinds.get(kind)?.open(settings)
  if (opened === undefined)
    throw invalid('kind', `There is no such kind. There is ${[...kinds.keys()].join(', ')}.`)
  const { origin, keyAttribute } = opened
  if (entryFor(secrets, { name: secret, kind, origin }) === undefined)
    throw invalid('secret', `DIRECTORY_SECRETS has no entry ${secret} for the kind ${kind} at ${origin}.`)
  const {
    pollSeconds = timing.pollSeconds,
    maxAgeSeconds = timing.maxAgeSeconds,
    isRequired = timing.isRequired,
  } = given
  if (!Number.isInteger(maxAgeSeconds) || maxAgeSeconds < 60 || maxAgeSeconds > 30 * daySeconds)
    throw invalid('max_age_seconds', 'max_age_seconds must be from a minute to 30 days.')
  if (!Number.isInteger(pollSeconds) || pollSeconds < 1 || pollSeconds >= maxAgeSeconds)
    throw invalid('poll_seconds', 'poll_seconds must be from 1 on, and less than max_age_seconds.')
  return { kind, keyAttribute, settings, origin, secret, pollSeconds, maxAgeSeconds, isRequired }
}
