export { changesByListing, itemByListing, type Listing } from './listing.ts'
export {
  type BrokenItem,
  type Change,
  type ChangePage,
  CursorExpired,
  type DeletedItem,
  type Directory,
  type ItemChange,
  type ItemContent,
  type LoadedItem,
  type Source,
  type SourceAccount,
  type SourceFolder,
  type SourceGroup,
  SourceUnavailable,
} from './source.ts'
export { type SourceRule, type SourceWorld, sourceRules } from './source-rules.ts'
export { memoryState, type SyncMemory, type SyncState, type SyncUpdate } from './state.ts'
export { type SyncOptions, type SyncReport, syncOnce } from './sync.ts'
export type { DirectoryReport } from './sync-directory.ts'
export type { FailedItem } from './sync-items.ts'
