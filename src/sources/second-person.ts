import { AppError } from '../kernel/errors.ts'
import type { Sql } from '../store/sql.ts'

/** How two persons are told apart. */
export interface SecondPersonDeps {
  /** Asked in the transaction that a yes counts in; it must stay so until its end. */
  readonly isAdministrator: (sql: Sql, subject: string) => Promise<boolean>
  /** Every name that is one person, now or at any time since. */
  readonly namesOf: (sql: Sql, subject: string, since: Date) => Promise<ReadonlySet<string>>
}

/** Who proposed something, and when. */
export interface Proposed {
  readonly proposedBy: string
  readonly proposedAt: Date
}

/**
 * Throws where whoever says yes is who proposed it, by whichever of their accounts (`conflict`), or one of
 * the two is no administrator any more (`forbidden`).
 */
export async function assertSecondPerson(
  { isAdministrator, namesOf }: SecondPersonDeps,
  sql: Sql,
  { proposedBy, proposedAt }: Proposed,
  subject: string,
): Promise<void> {
  // In one order: two transactions that lock the same administrators do not wait for each other.
  for (const person of [proposedBy, subject].sort())
    if (!(await isAdministrator(sql, person)))
      throw new AppError('forbidden', {
        public:
          person === subject
            ? 'You are no administrator any more.'
            : 'Whoever proposed it is no administrator any more. It has to be proposed anew.',
      })
  if (proposedBy === subject || (await namesOf(sql, proposedBy, proposedAt)).has(subject))
    throw new AppError('conflict', { public: 'You proposed this yourself: it needs somebody else.' })
}
