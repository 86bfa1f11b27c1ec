import type { AllowList } from '../authz/allow-list/allow-list.ts'
import { AppError } from '../kernel/errors.ts'
import type { FgaObject } from '../kernel/ids.ts'
import { reasonOf } from '../kernel/reason.ts'
import type { Sql } from '../store/sql.ts'
import { writeChange } from './access.ts'
import { type Caller, readObjects, refusalOf } from './access-rights.ts'
import type { IngestContext } from './context.ts'
import { addTags, type Entry, removeTags } from './desired-tuples.ts'

/** A membership that OpenFGA may not hold as it should be. */
export interface UnsettledMember {
  /** `user:acme/anne`, `group:acme/staff#member` */
  readonly member: string
  readonly isMember: boolean
}

/** Which memberships of one group are unsettled, as whoever feeds it keeps them. */
export interface MemberSource<Member extends UnsettledMember> {
  readonly group: FgaObject
  /**
   * The next ones to write, at most {@link membersAtOnce}, without those of `except`; none: the group is
   * settled. In an order in which nobody is out of it on the way.
   */
  readonly next: (sql: Sql, options: { readonly except: readonly string[] }) => Promise<readonly Member[]>
  /** They are written. Called in a transaction that commits only while nobody else writes this group. */
  readonly settled: (sql: Sql, members: readonly Member[]) => Promise<void>
}

interface Row {
  readonly subject: string
  readonly expires_at: Date | null
}

/** Memberships of one Write. */
export const membersAtOnce = 90

/**
 * Writes the memberships of a group until none is unsettled, by the write path of `POST /access`: the
 * allow-list in force, the record, one fenced Write each time. What is to be is read while the group is held,
 * so that whoever was slow writes what is right by then. What ends asks no list, and no membership that
 * cannot be written keeps another from being: those are logged, stay unsettled, and it throws
 * `authorization_unavailable` in the end.
 */
export async function settleMembers<Member extends UnsettledMember>(
  context: IngestContext,
  caller: Caller,
  { group, next, settled: onSettled }: MemberSource<Member>,
): Promise<void> {
  await context.documentLocks.hold([group], async (hold) => {
    const failed: string[] = []
    let failures = 0
    const fail = (member: string, error: unknown): void => {
      failed.push(member)
      context.log('membership_not_written', { group, member, reason: reasonOf(error) })
    }
    const rowsOf = (members: readonly Member[]): Promise<readonly Row[]> =>
      context.database.query<Row>(
        `select subject, expires_at from desired_tuples
         where object = $1 and relation = 'member' and subject = any($2)`,
        [group, members.map(({ member }) => member)],
      )
    /** Rows as they were: the directory asks anew, and a mending meanwhile would apply a half of it. */
    const putBack = async (members: readonly Member[], rows: readonly Row[]): Promise<void> => {
      // Of what only ends a mending applies all.
      if (!members.some(({ isMember }) => isMember)) return
      await hold.transaction(async (sql) => {
        const names = new Set(members.map(({ member }) => member))
        await removeTags(
          sql,
          members.map((member) => entryOf(group, member).tuple),
        )
        await addTags(
          sql,
          group,
          rows
            .filter(({ subject }) => names.has(subject))
            .map(({ subject, expires_at: end }) => ({
              relation: 'member',
              subject,
              ...(end !== null && { expiresAt: end.toISOString() }),
            })),
        )
      })
    }
    const write = async (members: readonly Member[]): Promise<void> => {
      if (members.length === 0) return
      const isGiving = members.some(({ isMember }) => isMember)
      const entries = members.map((member) => entryOf(group, member))
      await writeChange(context, isGiving ? context.allowList() : undefined, hold, caller.writer, entries)
      await hold.transaction((sql) => onSettled(sql, members))
    }
    for (;;) {
      const members = await next(context.database, { except: failed })
      if (members.length === 0) break
      const refusals = await refusalsOf(context, caller, group, members)
      for (const [{ member }, reason] of refusals) fail(member, reason)
      const good = members.filter((member) => !refusals.has(member))
      const before = await rowsOf(good)
      const steps = await write(good).then(
        () => [],
        async () => {
          await putBack(good, before)
          return stepsOf(good)
        },
      )
      for (const step of steps)
        await write(step).catch(async (error: unknown) => {
          const [{ member, isMember } = noMember] = step
          failures += 1
          // Also since as a row it would keep all else of the group from being mended.
          await putBack(step, before)
          // Behind a group that is not in yet, nobody leaves: through it they stay in.
          if (!isMember || member.startsWith('group:') || failures >= failuresMax) throw asUnavailable(error)
          fail(member, error)
        })
    }
    if (failed.length > 0)
      throw new AppError('authorization_unavailable', {
        internal: `${failed.length} memberships of ${group} cannot be written`,
      })
  })
}

const noMember: UnsettledMember = { member: '', isMember: false }

/** In the same order, so that nobody is out meanwhile: what begins one by one, what ends together. */
function stepsOf<Member extends UnsettledMember>(members: readonly Member[]): readonly (readonly Member[])[] {
  const steps: Member[][] = []
  for (const member of members) {
    const last = steps.at(-1)
    if (last === undefined || member.isMember || last[0]?.isMember === true) steps.push([member])
    else last.push(member)
  }
  return steps
}

/** The change is stored: whoever asked for it is to ask again, not to give up. */
const asUnavailable = (error: unknown): unknown =>
  error instanceof AppError && error.status < 500
    ? new AppError('authorization_unavailable', { internal: reasonOf(error), cause: error })
    : error

// So many by themselves, and it is not for what they are: the next run tries again.
const failuresMax = 3

const entryOf = (object: FgaObject, { member, isMember }: UnsettledMember): Entry => ({
  tuple: { user: member, relation: 'member', object },
  operation: isMember ? 'write' : 'delete',
  field: 'members',
})

/** Of those that give: which ones the allow-list or the ids keep from being written, and why. */
async function refusalsOf<Member extends UnsettledMember>(
  context: IngestContext,
  caller: Caller,
  group: FgaObject,
  members: readonly Member[],
): Promise<ReadonlyMap<Member, string>> {
  const giving = members.filter(({ isMember }) => isMember)
  const refusals = new Map<Member, string>()
  if (giving.length === 0) return refusals
  let list: AllowList
  try {
    list = context.allowList()
  } catch (error) {
    return new Map(giving.map((member) => [member, reasonOf(error)]))
  }
  const entries = giving.map((member) => ({ member, entry: entryOf(group, member) }))
  const fitting = entries.filter(({ member, entry: { tuple, operation } }) => {
    const misfit = list.misfitOf(tuple, operation)
    if (misfit !== undefined) refusals.set(member, misfit.detail)
    return misfit === undefined
  })
  const storedObjects = await readObjects(
    context,
    caller,
    fitting.map(({ entry }) => entry),
  )
  for (const { member, entry } of fitting) {
    const refusal = refusalOf(list, caller, entry, storedObjects)
    if (refusal !== undefined) refusals.set(member, refusal)
  }
  return refusals
}
