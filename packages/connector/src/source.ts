import type { DocumentInput } from '@remit/client'

/** What of an item becomes the document: all but its id and who may read it. */
export type ItemContent = Omit<DocumentInput, 'id' | 'access' | 'version'>

/**
 * Whom a source names: `user:ID`, `user:*`, `group:ID#member` or `organization:ID#member`, where the list
 * takes it; or an account by the source's own id, which becomes whoever the directory says that it is. An
 * account that is nobody in Remit is left out where it would be let read. Where it is denied, nobody reads
 * until it is somebody: they may read by another way already.
 */
export type SourceSubject = string | { readonly account: string }

/** The same with an end, ISO 8601. */
export type ExpiringSubject =
  | { readonly user: string; readonly expires_at: string }
  | { readonly account: string; readonly expires_at: string }

/** Who may read an item, and what narrows that. Members that are left out: nobody. */
export interface SourceAccess {
  /** `user:ID`, or an account. */
  readonly owner?: SourceSubject
  readonly viewers?: readonly (SourceSubject | ExpiringSubject)[]
  /** `folder:ID`, `zone:ID` or `collection:ID`, whose readers may read it and whose denies hold for it. */
  readonly parents?: readonly string[]
  /** Who may not read it, whatever else lets them: `user:ID`, `group:ID#member`, or an account. */
  readonly blocked?: readonly SourceSubject[]
  readonly sensitive?: boolean
}

/** An item as it was read: these three belong together. */
export interface LoadedItem {
  readonly version: string
  readonly content: ItemContent
  readonly access: SourceAccess
  /**
   * Asked before it is written, once for all of an import that have the same one: whether what was told of
   * who is who holds. Left out: it need not be asked.
   *
   * @throws SourceUnavailable where it does not.
   */
  readonly stillHolds?: (signal?: AbortSignal) => Promise<void>
}

/** An item that is there. */
export interface ItemChange {
  readonly kind: 'item'
  /** The document's id in Remit. It is the same for the same item, for ever. */
  readonly id: string
  /** What people call it, for reports. Default: the id. */
  readonly name?: string
  /** Opaque. Another one whenever the content, or who may read it, is another. */
  readonly version: string
  /** Who may read it. Never left out: `{}` is nobody. */
  readonly access: SourceAccess
  /**
   * The content, or a way to fetch it. Whoever fetches reads the content first, then who may read it, and
   * then the version: else a secret that is written after an unshare could be brought under the readers of
   * before.
   *
   * @throws SourceUnavailable where the source as a whole does not answer. Any other error is this item's
   * own.
   */
  readonly content: ItemContent | ((signal?: AbortSignal) => Promise<LoadedItem>)
}

/** An item that is gone. */
export interface DeletedItem {
  readonly kind: 'deleted'
  readonly id: string
}

/**
 * An item that is there and cannot be brought: its permissions cannot be said, say. Nobody reads it until it
 * can be.
 */
export interface BrokenItem {
  readonly kind: 'broken'
  /** Left out where it has none, or where the id is another item's. */
  readonly id?: string
  readonly name: string
  /** Why, as a sentence for whoever administers the source. */
  readonly problem: string
  /**
   * In place of an id, for a part of the source that could not be listed: whether an item of this id lies in
   * it. All that were brought before are hidden, and none of them counts as gone.
   */
  readonly covers?: (id: string) => boolean
}

/** One item that is there, was deleted, or cannot be read. */
export type Change = ItemChange | DeletedItem | BrokenItem

/** One page of a source's changes. */
export interface ChangePage {
  readonly changes: readonly Change[]
  /**
   * Opaque. Where to go on once everything up to here is in; asked from an earlier one, the same changes come
   * again.
   */
  readonly cursor: string
  /** The source's own word that this page is the last one. A reading without it was cut short. */
  readonly isLast: boolean
}

/** Somebody whom the source knows. */
export interface SourceAccount {
  /** The source's own id of them, which never becomes somebody else's. */
  readonly id: string
  /**
   * Who they are in Remit, `user:anne`, where the source's settings say it. Left out: nobody, and what the
   * source lets them read stays closed, unless the service knows who it is. Items name this account and not
   * the person: it may be suspended.
   */
  readonly subject?: string
  /** What people call them, for lists. Nothing is decided by it. */
  readonly name?: string
  /**
   * The one e-mail address that the source has of them. It can link them to a person only where the kind
   * says that its addresses are verified. NOT checked: that it is.
   */
  readonly email?: string
  /** From outside the organization that the source belongs to. No address links a guest. Default: no. */
  readonly isGuest?: boolean
}

/** A group of the source. */
export interface SourceGroup {
  /** Its id in Remit, without `group:`. */
  readonly id: string
  /** Accounts by their id in the source, and groups by their id in Remit. */
  readonly members: readonly ({ readonly account: string } | { readonly group: string })[]
}

/** A folder of the source, whose readers may read what names it as a parent. */
export interface SourceFolder {
  /** Its id in Remit, without `folder:`. */
  readonly id: string
  /** Where it is filed, for ever. */
  readonly collection: string
  /** `folder:ID`, `zone:ID` or `collection:ID`. */
  readonly parents: readonly string[]
  /** `user:ID`, `user:*`, `group:ID#member`, `organization:ID#member`, or an account. */
  readonly viewers: readonly SourceSubject[]
  /** Who reads nothing below it, whatever else lets them: `user:ID`, `group:ID#member`, or an account. */
  readonly blocked?: readonly SourceSubject[]
}

/**
 * A place where the source intersects: who reads by it is in its audience and in each of its gates. It has no
 * parent: where restrictions add up along a tree, each chain of them is a zone of its own.
 */
export interface SourceZone {
  /** Its id in Remit, without `zone:`. */
  readonly id: string
  /** Where it is filed, for ever. */
  readonly collection: string
  /** As the viewers of a folder. */
  readonly audience: readonly SourceSubject[]
  /**
   * Up to {@link gatesMax}, each `user:ID`, `user:*`, `group:ID#member`, or an account. In an empty one is
   * nobody.
   */
  readonly gates: readonly (readonly SourceSubject[])[]
  /** As of a folder. */
  readonly blocked?: readonly SourceSubject[]
}

/** Most gates of a zone. What is below a zone with more is hidden, with that reason. */
export const gatesMax = 3
/** Most folders one above the other. What lies deeper is hidden, with that reason: see `foldPlain`. */
export const depthMax = 20

/** All groups, accounts, folders and zones of a source. What is not in it any more is taken away. */
export interface Directory {
  readonly accounts: readonly SourceAccount[]
  readonly groups: readonly SourceGroup[]
  readonly folders: readonly SourceFolder[]
  /** Left out: none. */
  readonly zones?: readonly SourceZone[]
}

/** A system whose items Remit guards. `sourceRules` says what an implementation has to keep to. */
export interface Source {
  /**
   * What changed since a cursor, in pages, at least one; left out: everything that is there. What takes
   * access away should come first. A reading of everything that was cut short goes on from the cursor of its
   * last page that is in. What changes or vanishes meanwhile in what it has told is told by it, or from the
   * cursor of its last page: see `sourceRules`.
   *
   * @throws CursorExpired where the source cannot say what changed since; SourceUnavailable where it does not
   * answer.
   */
  changes(cursor: string | undefined, signal?: AbortSignal): AsyncIterable<ChangePage>
  /**
   * One item as it is now: to try again what failed. `deleted` where there is none.
   *
   * @throws SourceUnavailable where the source as a whole does not answer. Any other error is this item's
   * own.
   */
  item(id: string, signal?: AbortSignal): Promise<Change>
  /**
   * Several items as `item` gives each, in any order: up to a thousand at once. Left out: they are asked for
   * one by one, which takes a source that has to list everything for each of them for ever.
   */
  items?(ids: readonly string[], signal?: AbortSignal): Promise<readonly Change[]>
  /** Left out: the source has no groups, accounts, folders or zones of its own. */
  directory?(signal?: AbortSignal): Promise<Directory>
}

/** The source cannot say what changed since this cursor. Everything is read again. */
export class CursorExpired extends Error {
  override readonly name = 'CursorExpired'
}

/**
 * The source as a whole does not answer, or does not let us in. Nothing is known of any item: the sync stops
 * as it stands.
 */
export class SourceUnavailable extends Error {
  override readonly name = 'SourceUnavailable'
}
