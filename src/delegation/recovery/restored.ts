import { AppError } from '../../kernel/errors.ts'
import { OperatorError } from '../../kernel/operator-error.ts'
import type { Restored } from '../../store/restored.ts'
import type { Sql } from '../../store/sql.ts'

/** undefined: nothing was restored, or all of that was recovered. */
export async function readRestored(sql: Sql): Promise<Restored | undefined> {
  const [row] = await sql.query<{ restored: Restored | null }>('select restored from epochs')
  return row?.restored ?? undefined
}

/** Throws OperatorError for a database that `remit restore` filled and nobody has recovered. */
export async function assertRecovered(sql: Sql): Promise<void> {
  const restored = await readRestored(sql)
  if (restored !== undefined)
    throw new OperatorError(
      `The database was restored from the backup of ${restored.taken_at} and is not recovered: it may have forgotten who was shut out since. Run \`remit recover\` first (docs/recovery.md).`,
    )
}

/** What becomes of the access that the copy gives. */
export type AccessPlan = 'end' | 'keep'

/**
 * Throws `conflict` where nobody said what: nothing in a copy tells who was taken off since. Heads kept
 * elsewhere prove that something is missing, never that nothing is: they may be older than what was lost.
 */
export function planAccess(
  { taken_at }: Restored,
  access: AccessPlan | undefined,
  missing: number | undefined,
): AccessPlan {
  const since = `since the backup of ${taken_at}`
  if (access === undefined)
    throw new AppError('conflict', {
      public: `Nothing tells who was taken off documents and out of groups ${since}. Say --access end: then nobody reads anything before the services have sent their documents and groups again. Or --access keep, if you know that nobody was taken off.`,
    })
  if (access === 'keep' && missing !== undefined && missing > 0)
    throw new AppError('conflict', {
      public: `The heads tell of ${missing} records ${since} that are missing: somebody may have been taken off. Say --access end.`,
    })
  return access
}
