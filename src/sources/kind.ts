import type { Source } from '@remit/connector'
import type { z } from 'zod'
import type { ParseInput } from '../ingest/parse/parsed.ts'
import { invalid } from '../kernel/errors.ts'
import { firstIssue } from '../kernel/validation-message.ts'
import type { SourceFetch } from './fetch.ts'

/** What a source is opened with. Nothing else of the service is within its reach. */
export interface Opening {
  /**
   * `ID/`: the ids of its documents, groups, folders and zones begin so. What begins otherwise is refused.
   */
  readonly prefix: string
  /** Where its documents are filed. What is filed elsewhere is refused. */
  readonly collections: readonly string[]
  /** Those of them that may be opened to everybody, `user:*`. Left out: none. */
  readonly publicCollections?: readonly string[]
  /** Asks the source's own origin, within its requests a minute. There is no other way out. */
  readonly fetch: SourceFetch
  /** The credential that the machine registered for this kind and origin; undefined where it takes none. */
  readonly secret: string | undefined
  /** A document's own title; undefined where it has none, or cannot be read. */
  readonly titleOf: (input: ParseInput) => Promise<string | undefined>
  /** By which a kind can tell that something else lies there now. Left out: nothing was ever read. */
  readonly before?: Before
}

/** What readings before this one left. */
export interface Before {
  /** Of the last one that went to its end. Undefined: none did. */
  readonly cursor: string | undefined
  /** Whether anything of it was brought that is not gone since. */
  readonly hasItems: boolean
  /** An administrator wants all of it anew: then something else may lie there. */
  readonly takesOther: boolean
}

/** `required`: a source of the kind names an entry of `SOURCE_SECRETS`. */
export type Credential = 'none' | 'optional' | 'required'

/** A kind of source, such as a folder or a wiki, as its code defines it. */
export interface KindDefinition<Settings> {
  /** `a-z 0-9 -`. */
  readonly id: string
  /** What one has to say of a source of this kind. Strict: another member is refused. */
  readonly settings: z.ZodType<Settings>
  /**
   * Which changes of permissions its feed does not tell, in words. Then only a reading of all of it
   * confirms them.
   */
  readonly untold: readonly string[]
  /**
   * Seconds for which permissions count after they were last confirmed, where the source does not say
   * otherwise. Default: a day.
   */
  readonly maxAgeSeconds?: number
  /** Whether it takes a credential. Default: none. */
  readonly credential?: Credential
  /**
   * Whether nobody who uses the source can give their account an address that is not theirs: then addresses
   * may say who is who (docs/sources.md). Default: no.
   */
  verifiesAddresses?(settings: Settings): boolean
  /** What it talks to, one of `SOURCE_ORIGINS`: `https://wiki.example`, or `file:///srv/shared`. */
  originOf(settings: Settings): string
  /**
   * Which system the ids of items, groups and accounts are of: in another one they are others. It stays for
   * as long as the source does. Default: the origin.
   */
  systemOf?(settings: Settings): string
  open(settings: Settings, opening: Opening): Source
}

/** A kind with its settings' type inside. */
export interface SourceKind
  extends Pick<KindDefinition<unknown>, 'id' | 'untold'>,
    Required<Pick<KindDefinition<unknown>, 'maxAgeSeconds' | 'credential'>> {
  /** Throws `invalid_request` that names the member of `settings`. */
  read(settings: unknown): ReadSettings
}

/** Settings that were read. */
export interface ReadSettings {
  readonly origin: string
  readonly system: string
  readonly verifiesAddresses: boolean
  open(opening: Opening): Source
}

const daySeconds = 86_400

/** Makes a kind of its definition, to be listed in `kinds.ts`. */
export const defineKind = <Settings>(definition: KindDefinition<Settings>): SourceKind => ({
  id: definition.id,
  untold: definition.untold,
  maxAgeSeconds: definition.maxAgeSeconds ?? daySeconds,
  credential: definition.credential ?? 'none',
  read(value) {
    const parsed = definition.settings.safeParse(value)
    if (!parsed.success) {
      const { path, says } = firstIssue(parsed.error)
      throw invalid(['settings', ...path].join('.'), says)
    }
    const settings = parsed.data
    return {
      origin: definition.originOf(settings),
      system: definition.systemOf?.(settings) ?? definition.originOf(settings),
      verifiesAddresses: definition.verifiesAddresses?.(settings) ?? false,
      open: (opening) => definition.open(settings, opening),
    }
  },
})
