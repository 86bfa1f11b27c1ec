/** A credential that the machine registered for one kind of source at one origin. */
export interface SourceSecret {
  readonly name: string
  readonly kind: string
  readonly origin: string
  /** Undefined: another process has it, which is the one that reads such sources. */
  readonly value: string | undefined
}

/** Which credential a source may use. */
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
  secrets: readonly SourceSecret[],
  { name, kind, origin }: SecretUse,
): SourceSecret | undefined =>
  secrets.find((entry) => entry.name === name && entry.kind === kind && entry.origin === origin)
