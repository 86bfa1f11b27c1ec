export type { Stored } from './compare.ts'
export { changesByListing, itemByListing, itemsByListing, type Listing } from './listing.ts'
export { everyoneGroup, subjectsOfShare, type WideShare, type WideShareOptions } from './people.ts'
export { type Folded, foldPlain } from './places.ts'
export {
  type BrokenItem,
  type Change,
  type ChangePage,
  CursorExpired,
  type DeletedItem,
  type Directory,
  depthMax,
  type ExpiringSubject,
  gatesMax,
  type ItemChange,
  type ItemContent,
  type LoadedItem,
  type Source,
  type SourceAccess,
  type SourceAccount,
  type SourceFolder,
  type SourceGroup,
  type SourceSubject,
  SourceUnavailable,
  type SourceZone,
} from './source.ts'
export { type SourceRule, type SourceWorld, sourceRules } from './source-rules.ts'
export { memoryState, type SyncMemory, type SyncState, type SyncUpdate } from './state.ts'
export { type SyncOptions, type SyncReport, syncOnce } from './sync.ts'
export type { DirectoryReport } from './sync-directory.ts'
export type { FailedItem } from './sync-items.ts'
