import { AppError } from '../../kernel/errors.ts'
import { reasonOf } from '../../kernel/reason.ts'
import type { Sql } from '../../store/sql.ts'
import { groupsHolding } from '../member-rows.ts'
import type { Memberships } from '../memberships.ts'
import type { DirectoryPeople, Feeder, PersonLife } from '../people.ts'
import type { Reading } from './kind.ts'
import { applyGroups } from './members.ts'
import { type PeoplePlan, type PersonRow, planPeople } from './plan.ts'
import { noteWaiting, readSaid, type Waiting } from './waiting.ts'

/** What applying a reading takes. */
export interface ApplyDeps {
  readonly people: DirectoryPeople
  readonly memberships: Pick<Memberships, 'settle' | 'restrictingIn' | 'givingIn' | 'readOlderBlocks'>
  readonly newId: (prefix: 'u' | 'g') => string
  readonly now: () => Date
  /** Commits only while this process may write for the directory; else it throws {@link Lost}. */
  readonly transaction: <T>(work: (sql: Sql) => Promise<T>) => Promise<T>
}

/** Ends what is under way as it stands: another process has the directory. */
export class Lost extends Error {
  override readonly name = 'Lost'
  constructor() {
    super('Another process reads this directory.')
  }
}

/** Collects what of a reading is not taken as it stands. */
export interface Report {
  note(problem: string): void
  /**
   * Runs `work`; what it throws is a problem, and keeps nothing else from being done. False: it threw, and
   * what was said of the members of these groups is not all done; left out: of no group is it sure to be.
   */
  attempt(what: string, work: () => Promise<void>, groups?: readonly string[]): Promise<boolean>
  /** What was said of its members is not all done, for another reason. */
  leave(group: string): void
}

/** What became of a reading. */
export interface Applied {
  /** What of it is done by somebody's word only, with what they said it of. */
  readonly waiting: readonly Waiting[]
  readonly problems: readonly string[]
  /** Groups of which the rows may not be as was said; undefined: any. */
  readonly left: readonly string[] | undefined
}

/**
 * Makes rows and OpenFGA as a directory says, in an order in which a crash leaves nobody in who is out: ends,
 * then people, then members, then who comes back. May be killed anywhere, and run again with a later reading.
 * One person or group that cannot be written keeps no other from it.
 */
export async function applyReading(deps: ApplyDeps, feeder: Feeder, reading: Reading): Promise<Applied> {
  const problems = [...reading.problems]
  const failures: string[] = []
  const left = new Set<string>()
  let isAnyLeft = false
  const report: Report = {
    note: (problem) => void problems.push(problem),
    leave: (group) => void left.add(group),
    async attempt(what, work, groups) {
      try {
        await work()
        return true
      } catch (error) {
        if (error instanceof Lost) throw error
        if (groups === undefined) isAnyLeft = true
        else for (const group of groups) left.add(group)
        failures.push(`${what}: ${(error instanceof AppError && error.public) || reasonOf(error)}`)
        return false
      }
    },
  }
  const { rows, said } = await deps.transaction(async (sql) => ({
    rows: await readPeople(sql, feeder),
    said: await readSaid(sql, feeder.directory.name),
  }))
  const { added, turns, waiting, problems: unclear } = planPeople(feeder.directory, reading, rows, said)
  problems.push(...unclear)
  // Before anything is done: who waits does so too where this reading never comes to its end.
  await deps.transaction((sql) => noteWaiting(sql, feeder.directory.name, waiting))
  /** Who is not what the directory says: by the rows that they have they may be in a group too much. */
  const unturned = new Set<string>()
  async function turn(row: Pick<PersonRow, 'id' | 'account'>, to: PersonLife): Promise<void> {
    if (!(await report.attempt(row.account, () => turnPerson(deps, feeder, row, to), [])))
      unturned.add(row.id)
  }
  for (const { row, to } of turns) if (to !== 'active') await turn(row, to)
  // Who has no row is in no group by rows: one who cannot be added makes none of them wrong.
  for (const person of added) await report.attempt(person.account, () => addPerson(deps, feeder, person), [])
  const groups = { ...deps, said }
  const blocks = await applyGroups(groups, feeder, reading, report)
  // Taking access away waits for nobody's word.
  for (const person of blocks.kept) await turn(person, 'held')
  const keptIds = new Set(blocks.kept.map(({ id }) => id))
  const back = turns.filter(({ row, to }) => to === 'active' && !keptIds.has(row.id))
  for (const { row, to } of back) await turn(row, to)
  // What they had ended as they came back: the directory has said where they are now.
  const later =
    back.length > 0
      ? await applyGroups(groups, feeder, reading, { ...report, note: () => undefined })
      : undefined
  for (const group of await deps.transaction((sql) => groupsHolding(sql, [...unturned]))) left.add(group)
  // First: of many problems the last are cut off.
  return {
    waiting: [...waiting, ...(later ?? blocks).waiting],
    problems: [...failures, ...problems],
    left: isAnyLeft ? undefined : [...left],
  }
}

const readPeople = (sql: Sql, { directory }: Feeder): Promise<PersonRow[]> =>
  sql.query<PersonRow>(
    `select id, sub, account, is_active as "isActive", is_held as "isHeld", version,
       immutable_id as "immutableId"
     from directory_users where directory = $1 and immutable_id is not null order by id`,
    [directory.name],
  )

async function turnPerson(
  { people, transaction }: ApplyDeps,
  feeder: Feeder,
  { id, account }: Pick<PersonRow, 'id' | 'account'>,
  to: PersonLife,
): Promise<void> {
  const settled = to === 'active' ? await people.settleBefore(feeder, { id, account }) : undefined
  const afterwards = await people.orRefusal(feeder, id, () =>
    transaction(async (sql) => {
      const [row] = await sql.query<PersonRow>(
        `select id, sub, account, is_active as "isActive", is_held as "isHeld", version from directory_users
         where id = $1 for update`,
        [id],
      )
      if (row === undefined) throw new Lost()
      return people.turn(sql, feeder, row, to, settled)
    }),
  )
  await afterwards()
}

async function addPerson(
  { people, transaction, newId, now }: ApplyDeps,
  feeder: Feeder,
  person: PeoplePlan['added'][number],
): Promise<void> {
  const afterwards = await transaction((sql) =>
    people.add(sql, feeder, {
      ...person,
      id: newId('u'),
      attributes: {},
      login: person.sub,
      createdAt: now(),
    }),
  )
  if (afterwards === undefined)
    throw new AppError('conflict', { public: 'The key is, or was, somebody else’s here.' })
  await afterwards()
}
