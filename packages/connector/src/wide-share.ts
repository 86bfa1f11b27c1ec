import type { SourceAccount, SourceGroup, SourceSubject } from './source.ts'

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
