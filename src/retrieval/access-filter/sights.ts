import type { LocalQuestion } from '../../authz/permission-index.ts'
import type { Snapshot, Snapshots } from './snapshots.ts'

/**
 * What somebody may perhaps see: looked up in this process, or asked of another one
 * (docs/decisions/0066-nominators.md).
 */
export interface Sights {
  /**
   * A snapshot for each question, in their order; all questions are one person's, with the same tuples
   * presented. Rejects where others are to be asked and none answers.
   */
  of(questions: readonly LocalQuestion[], signal?: AbortSignal): Promise<Seen>
}

/** What was seen, and how far that can be relied on. */
export interface Seen {
  /** As {@link Snapshots.of} gives them. */
  readonly snapshots: readonly (Snapshot | undefined)[]
  /** All was heard that OpenFGA held less than a second ago. */
  readonly isWhole: boolean
}

/** Snapshots of this process. `hasTail` may wait a little for the tail of OpenFGA's log. */
export interface LocalSightsDeps {
  readonly snapshots: Snapshots
  readonly hasTail: () => boolean | Promise<boolean>
}

/** Looks in the replica of this process. */
export const createLocalSights = ({ snapshots, hasTail }: LocalSightsDeps): Sights => ({
  async of(questions) {
    const isWhole = await hasTail()
    return { snapshots: questions.map(snapshots.of), isWhole }
  },
})
