import type { DocumentAccess } from '@remit/client'
import { isSubject, notAnId } from './ids.ts'
import type {
  Directory,
  ExpiringSubject,
  SourceAccess,
  SourceAccount,
  SourceGroup,
  SourceSubject,
} from './source.ts'

/** A list of whom a source names, as subjects of Remit, or why it cannot be said so. */
export type Said<T> =
  | { readonly ok: true; readonly value: T }
  | { readonly ok: false; readonly problem: string }

/**
 * Who the accounts and groups of a source are in Remit. What grants leaves out whoever is nobody; what denies
 * is refused where anybody whom it means is nobody, alone or in a group.
 */
export class People {
  readonly #accounts: ReadonlyMap<string, SourceAccount>
  /** Group → groups in it, and an account in it that is nobody. */
  readonly #inner: ReadonlyMap<string, readonly string[]>
  readonly #nobody: ReadonlyMap<string, string>
  readonly #withinBySubject = new Map<string, ReadonlySet<string>>()
  /** Groups that could not be made to hold all their members, or that hold more. */
  readonly #lacking = new Map<string, string>()
  readonly #exceeding = new Map<string, string>()

  constructor({ accounts = [], groups = [] }: Partial<Pick<Directory, 'accounts' | 'groups'>> = {}) {
    this.#accounts = new Map(accounts.map((account) => [account.id, account]))
    this.#inner = new Map(
      groups.map(({ id, members }) => [
        id,
        members.flatMap((member) => ('group' in member ? [member.group] : [])),
      ]),
    )
    this.#nobody = new Map(
      groups.flatMap(({ id, members }) =>
        members.flatMap((member) =>
          'account' in member && this.subjectOf(member.account) === undefined ? [[id, member.account]] : [],
        ),
      ),
    )
  }

  /** A membership that could not be written, or not be deleted. */
  inexact(group: string, operation: 'write' | 'delete', problem: string): void {
    const groups = operation === 'write' ? this.#lacking : this.#exceeding
    groups.set(group, problem)
  }

  /** Undefined: nobody. So is who has a name there that is none in Remit. */
  subjectOf(account: string): string | undefined {
    const subject = this.#accounts.get(account)?.subject
    return subject !== undefined && isSubject(subject) ? subject : undefined
  }

  /** Whom a list lets read. */
  let(list: readonly SourceSubject[] = []): Said<string[]> {
    const subjects = list.flatMap((named) => this.#named(named) ?? [])
    return this.#unless(this.#problemOfEach(subjects, this.#exceeding, 'It is open to'), subjects)
  }

  /** Whom a list keeps from reading. */
  deny(list: readonly SourceSubject[] = []): Said<string[]> {
    const nobody = list.find((named) => this.#named(named) === undefined)
    if (typeof nobody === 'object')
      return { ok: false, problem: `It is denied to an account that is nobody in Remit: ${nobody.account}.` }
    const subjects = list.flatMap((named) => this.#named(named) ?? [])
    return this.#unless(this.#problemOfDenied(subjects), subjects)
  }

  /** What Remit takes as the access of a document. Parents stay as they are. */
  access({ owner, viewers, parents, blocked, sensitive }: SourceAccess): Said<DocumentAccess> {
    const ownedBy = owner === undefined ? undefined : this.#named(owner)
    const letRead = (viewers ?? []).flatMap((viewer) => this.#viewer(viewer) ?? [])
    const names = letRead.map((viewer) => (typeof viewer === 'string' ? viewer : viewer.user))
    const open = this.#unless(this.#problemOfEach(names, this.#exceeding, 'It is open to'), letRead)
    if (!open.ok) return open
    const denied = this.deny(blocked)
    if (!denied.ok) return denied
    return {
      ok: true,
      value: {
        ...(ownedBy !== undefined && { owner: ownedBy }),
        ...(viewers !== undefined && { viewers: open.value }),
        ...(parents !== undefined && { parents }),
        ...(blocked !== undefined && { blocked: denied.value }),
        ...(sensitive !== undefined && { sensitive }),
      },
    }
  }

  /** The groups that these subjects are, and those in them, by their ids. */
  groupsIn(subjects: readonly string[]): readonly string[] {
    return subjects.flatMap((subject) => [...this.#groupsIn(subject)])
  }

  #named(named: SourceSubject): string | undefined {
    return typeof named === 'string' ? named : this.subjectOf(named.account)
  }

  #viewer(
    viewer: SourceSubject | ExpiringSubject,
  ): string | { readonly user: string; readonly expires_at: string } | undefined {
    if (typeof viewer === 'string' || 'user' in viewer) return viewer
    const user = this.subjectOf(viewer.account)
    if (user === undefined || !('expires_at' in viewer)) return user
    return { user, expires_at: viewer.expires_at }
  }

  #unless<T>(problem: string | undefined, value: T): Said<T> {
    return problem === undefined ? { ok: true, value } : { ok: false, problem }
  }

  /** Why a deny for these would let somebody read whom the source means. */
  #problemOfDenied(subjects: readonly string[]): string | undefined {
    for (const subject of subjects)
      for (const group of this.#groupsIn(subject)) {
        const account = this.#nobody.get(group)
        if (account !== undefined)
          return `It is denied to ${subject}, in which an account is nobody in Remit: ${account}.`
      }
    return this.#problemOfEach(subjects, this.#lacking, 'It is denied to')
  }

  #problemOfEach(
    subjects: readonly string[],
    inexact: ReadonlyMap<string, string>,
    what: string,
  ): string | undefined {
    const bad = subjects.find((subject) => !isSubject(subject))
    if (bad !== undefined) return `${what} somebody who cannot be said: ${notAnId(bad)}`
    for (const subject of subjects)
      for (const group of this.#groupsIn(subject)) {
        const problem = inexact.get(group)
        if (problem !== undefined)
          return `${what} ${subject}, and group:${group} is not up to date: ${problem}`
      }
    return undefined
  }

  /** The group that a subject is, and those in it. */
  #groupsIn(subject: string): ReadonlySet<string> {
    const known = this.#withinBySubject.get(subject)
    if (known !== undefined) return known
    const id = groupOf(subject)
    const found = new Set(id === undefined ? [] : [id])
    for (const group of found) for (const inner of this.#inner.get(group) ?? []) found.add(inner)
    this.#withinBySubject.set(subject, found)
    return found
  }
}

/** `group:eng#member` → `eng`. */
export const groupOf = (subject: string): string | undefined =>
  subject.startsWith('group:') ? subject.slice('group:'.length).split('#')[0] : undefined

/**
 * With whom a source shares something without naming anybody: whoever has a link, everybody of the
 * organization that the source belongs to, or whoever comes by and finds it listed.
 */
export type WideShare = 'anyone_with_link' | 'organization' | 'public'

/** What {@link subjectsOfShare} goes by. */
export interface WideShareOptions {
  /** `ID/`, of the source. */
  readonly prefix: string
  /** Whether the collection may be opened to everybody. Left out: it may not. */
  readonly isPublicAllowed?: boolean
}

/** A group of everybody of the source's organization who is somebody in Remit. */
export const everyoneGroup = (
  accounts: readonly Pick<SourceAccount, 'id' | 'isGuest'>[],
  { prefix }: Pick<WideShareOptions, 'prefix'>,
): SourceGroup => ({
  id: `${prefix}everyone`,
  members: accounts.filter(({ isGuest = false }) => !isGuest).map(({ id }) => ({ account: id })),
})

/**
 * Whom such a share lets read. A link: nobody, since who has it is not known. The organization: the accounts
 * of the source that are no guests, by {@link everyoneGroup}, which the directory has to have. Not
 * `organization#member`: that could let somebody read who has no account at the source. Public: everybody
 * where the collection allows it, else as the organization. One that ends is a viewer of an item with
 * `expires_at`; folders and zones take none.
 */
export function subjectsOfShare(
  share: WideShare,
  { prefix, isPublicAllowed = false }: WideShareOptions,
): readonly SourceSubject[] {
  switch (share) {
    case 'anyone_with_link':
      return []
    case 'organization':
      return [`group:${prefix}everyone#member`]
    case 'public':
      return isPublicAllowed ? ['user:*'] : [`group:${prefix}everyone#member`]
  }
}
