import type { z } from 'zod'
import { invalid } from '../../kernel/errors.ts'
import { firstIssue } from '../../kernel/validation-message.ts'
import type { GuardedFetch } from '../../outbound/guarded-fetch.ts'
import type { ReadingBounds } from './bounds.ts'

/** Somebody whom a directory has, as it says it now. */
export interface ReadPerson {
  /** The directory's own id of the entry, which never changes and is nobody else's. */
  readonly id: string
  /**
   * What the issuer says in `sub` of them. Undefined: it cannot be said, such as where there are two; whoever
   * was brought by this id is shut out meanwhile.
   */
  readonly key: string | undefined
  /** Undefined: it cannot be said. */
  readonly isActive: boolean | undefined
  /**
   * Not active for no other reason than that a filter did not find them. A filter may be wrong: who was here
   * counts as missing then.
   */
  readonly isLeftOut?: true
}

/** A group with its own members: those of a group in it are that group's. */
export interface ReadGroup {
  /** As that of a person. */
  readonly id: string
  readonly name: string
  /** Ids of the people in it. Ids that stand for nobody are passed over. */
  readonly people: readonly string[]
  /** Ids of the groups in it. The same id may be a person's. */
  readonly groups: readonly string[]
  /**
   * Who was in it by one look at it only, and not by the other. They are in it where that keeps them from
   * something, and not where it gives them something.
   */
  readonly unsure?: { readonly people: readonly string[]; readonly groups: readonly string[] }
  /**
   * People who may be meant by a name that cannot be told. Whoever of them is in it stays, where that keeps
   * them from something, until somebody's word. It brings nobody in.
   */
  readonly unclear?: readonly string[]
}

/** All that a directory has, read to its own end mark. */
export interface Reading {
  readonly people: readonly ReadPerson[]
  readonly groups: readonly ReadGroup[]
  /** False: somebody is there who cannot be told by an id, and whoever is missing may be them. */
  readonly isCertain: boolean
  /** What of it was not taken as it stands, and why, for whoever runs this. */
  readonly problems: readonly string[]
}

/** What a directory is read with. */
export interface ReadingOptions {
  /** The credential that the machine registered for this kind and origin. */
  readonly secret: string
  /** For requests by HTTP: there is no other way out for them. */
  readonly outbound: GuardedFetch
  readonly signal: AbortSignal
  /** Default `readingBounds`. */
  readonly bounds?: ReadingBounds
}

/** A kind of directory that the service reads by itself, as its code defines it. */
export interface DirectoryKindDefinition<Settings> {
  readonly id: 'ldap' | 'keycloak'
  /** What one has to say of a directory of this kind. Strict: another member is refused. */
  readonly settings: z.ZodType<Settings>
  /** What it talks to: `ldaps://ldap.corp.example`. */
  originOf(settings: Settings): string
  /** Where the issuer's `sub` stands. */
  keyAttributeOf(settings: Settings): string
  /** Throws for anything less than all of it: what is left out would count as gone. */
  read(settings: Settings, options: ReadingOptions): Promise<Reading>
}

/** A kind with its settings' type inside. */
export interface DirectoryKind {
  readonly id: 'ldap' | 'keycloak'
  /** Throws `invalid_request` that names the member of `settings`. */
  open(settings: unknown): OpenDirectoryKind
}

/** Settings that were read. */
export interface OpenDirectoryKind {
  readonly origin: string
  readonly keyAttribute: string
  read(options: ReadingOptions): Promise<Reading>
}

/** Makes a kind of its definition. */
export const defineDirectoryKind = <Settings>(
  definition: DirectoryKindDefinition<Settings>,
): DirectoryKind => ({
  id: definition.id,
  open(value) {
    const parsed = definition.settings.safeParse(value)
    if (!parsed.success) {
      const { path, says } = firstIssue(parsed.error)
      const field = ['settings', ...path].join('.')
      throw invalid(field, `${field} ${says}`)
    }
    return {
      origin: definition.originOf(parsed.data),
      keyAttribute: definition.keyAttributeOf(parsed.data),
      read: (options) => definition.read(parsed.data, options),
    }
  },
})
