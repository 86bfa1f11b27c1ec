/** A credential that the machine registered for one kind of source or directory at one origin. */
export interface RegisteredSecret extends SecretUse {
  /** Undefined: another process has it, which is the one that reads there. */
  readonly value: string | undefined
}

/** Where a credential is to be used. */
export interface SecretUse {
  readonly name: string
  readonly kind: string
  readonly origin: string
}

/**
 * The entry of this name, for exactly this kind and origin: whatever else is named, such as another setting
 * of the service or a credential for elsewhere, is no entry.
 */
export const entryFor = (
  secrets: readonly RegisteredSecret[],
  { name, kind, origin }: SecretUse,
): RegisteredSecret | undefined =>
  secrets.find((entry) => entry.name === name && entry.kind === kind && entry.origin === origin)
