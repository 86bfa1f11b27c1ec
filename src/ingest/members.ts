import type { Tuple } from '../authz/fga.ts'
import { AppError } from '../kernel/errors.ts'
import type { FgaObject } from '../kernel/ids.ts'
import type { Sql } from '../store/sql.ts'
import { assertFits, writeChange } from './access.ts'
import { type Caller, type Entry, readObjects, refusalOf } from './access-rights.ts'
import type { IngestContext } from './context.ts'

/** A membership that OpenFGA may not hold as it should be. */
export interface UnsettledMember {
  /** `user:acme/anne`, `group:acme/staff#member` */
  readonly member: string
  readonly isMember: boolean
}

/** Which memberships of one group are unsettled, as whoever feeds it keeps them. */
export interface MemberSource<Member extends UnsettledMember> {
  readonly group: FgaObject
  /** The next ones to write, at most {@link membersAtOnce}; none: the group is settled. */
  readonly next: (sql: Sql) => Promise<readonly Member[]>
  /** They are written. Called in a transaction that commits only while nobody else writes this group. */
  readonly settled: (sql: Sql, members: readonly Member[]) => Promise<void>
}

/** Memberships of one Write. */
export const membersAtOnce = 90

/**
 * Writes the memberships of a group until none is unsettled, by the write path of `POST /access`: the
 * allow-list in force, the record, one fenced Write each time. What is to be is read while the group is held,
 * so that whoever was slow writes what is right by then. Throws what `changeAccess` does; what was not
 * written stays unsettled.
 */
export async function settleMembers<Member extends UnsettledMember>(
  context: IngestContext,
  caller: Caller,
  { group, next, settled }: MemberSource<Member>,
): Promise<void> {
  await context.documentLocks.hold([group], async (hold) => {
    for (;;) {
      const members = await next(context.database)
      if (members.length === 0) return
      const entries = members.map(({ member, isMember }, index): Entry => {
        const tuple: Tuple = { user: member, relation: 'member', object: group }
        return { tuple, operation: isMember ? 'write' : 'delete', field: `members.${index}` }
      })
      const list = context.allowList()
      assertFits(list, entries)
      const storedObjects = await readObjects(context, caller, entries)
      for (const entry of entries) {
        const refusal = refusalOf(list, caller, entry, storedObjects)
        if (refusal !== undefined) throw new AppError('forbidden', { field: entry.field, public: refusal })
      }
      await writeChange(context, list, hold, caller.writer, entries)
      await hold.transaction((sql) => settled(sql, members))
    }
  })
}
