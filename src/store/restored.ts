/** What `remit restore` leaves in `epochs.restored`, until a recovery has ended. */
export interface Restored {
  readonly taken_at: string
  readonly restored_at: string
  /** Whether OpenFGA is of the archive too: else it stands as it was, and tells what was taken away since. */
  readonly openfga: boolean
  /** The newest seal that the archive has. */
  readonly seal: number
}
