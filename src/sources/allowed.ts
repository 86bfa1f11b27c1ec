import { invalid } from '../kernel/errors.ts'
import { entryFor, type RegisteredSecret } from '../kernel/registered-secret.ts'
import type { ReadSettings, SourceKind } from './kind.ts'

/** What the machine lets sources talk to, and by which credentials. */
export interface AllowedDeps {
  /** `SOURCE_ORIGINS`. */
  readonly origins: readonly string[]
  /** `SOURCE_SECRETS`. */
  readonly secrets: readonly RegisteredSecret[]
}

/** What somebody wants of a source. */
export interface Wanted {
  readonly settings: unknown
  /** An entry of `SOURCE_SECRETS`, by name. */
  readonly secret?: string | undefined
}

/** Reads settings that the machine allows. Throws `invalid_request` that names what it does not. */
export function readAllowed(
  { origins, secrets }: AllowedDeps,
  kind: SourceKind,
  { settings, secret: name }: Wanted,
): ReadSettings {
  const read = kind.read(settings)
  if (!origins.includes(read.origin))
    throw invalid(
      'settings',
      `${read.origin} is none of SOURCE_ORIGINS: whoever runs this machine adds it there.`,
    )
  assertSecret(secrets, kind, { name, origin: read.origin })
  return read
}

/** What is named is an entry for this kind and origin, or nothing: why it is none is not told. */
function assertSecret(
  secrets: readonly RegisteredSecret[],
  kind: SourceKind,
  { name, origin }: { readonly name: string | undefined; readonly origin: string },
): void {
  if (name === undefined) {
    if (kind.credential === 'required')
      throw invalid('secret', `A source of the kind ${kind.id} names an entry of SOURCE_SECRETS.`)
    return
  }
  if (kind.credential === 'none' || entryFor(secrets, { name, kind: kind.id, origin }) === undefined)
    throw invalid('secret', `SOURCE_SECRETS has no such entry for the kind ${kind.id} at ${origin}.`)
}
