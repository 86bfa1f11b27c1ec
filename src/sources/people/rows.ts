import { printable } from '../../kernel/printable.ts'
import { readRows, type Sql } from '../../store/sql.ts'
import type { PersonLink } from './decide.ts'

/** An account of a source as administrators see it. */
export interface SourcePerson extends PersonLink {
  /** What the source calls it. */
  readonly name: string | undefined
  /** The source had it in its last reading. */
  readonly isTold: boolean
  readonly changedAt: Date
}

/** How many accounts of a source are in each state. */
export type PeopleCounts = Readonly<Record<PersonLink['state'], number>>

/** What is written of an account. */
export interface WrittenPerson extends PersonLink {
  readonly name?: string | undefined
  readonly isTold: boolean
  /** Whether it was suspended for good when it was read. */
  readonly wasHeld: boolean
}

const select = `select account, name, address, state, subject, linked_by as "linkedBy", reason,
  is_held as "isHeld", is_told as "isTold", changed_at as "changedAt" from source_people`

/** All accounts that are kept of a source. */
export const readPeople = (sql: Sql, source: string): Promise<SourcePerson[]> =>
  readRows(sql, `${select} where source = $1`, [source])

/** Which of them are listed. */
export interface PeoplePage {
  readonly state?: PersonLink['state'] | undefined
  /** The last account of the page before. */
  readonly after?: string | undefined
  readonly limit: number
}

/** Accounts by their ids. */
export const listPeople = (
  sql: Sql,
  source: string,
  { state, after, limit }: PeoplePage,
): Promise<SourcePerson[]> =>
  readRows(
    sql,
    `${select} where source = $1 and ($2::text is null or state = $2) and account collate "C" > $3
     order by account collate "C" limit $4`,
    [source, state ?? null, after ?? '', limit],
  )

/** How many there are of each. */
export async function countPeople(sql: Sql, source: string): Promise<PeopleCounts> {
  const rows = await sql.query<{ state: PersonLink['state']; count: number }>(
    'select state, count(*) as count from source_people where source = $1 group by state',
    [source],
  )
  const countOf = (state: PersonLink['state']) => rows.find((row) => row.state === state)?.count ?? 0
  return { linked: countOf('linked'), suspended: countOf('suspended'), unknown: countOf('unknown') }
}

const accountLengthMax = 500
const nameLengthMax = 200

/** Whether Postgres takes it, and an index does. */
export const isKeptId = (account: string): boolean =>
  account !== '' && account.length <= accountLengthMax && account.isWellFormed() && !account.includes('\0')

/** As it is kept. */
export const keptName = (name: string): string => printable(name.slice(0, nameLengthMax)).toWellFormed()

/**
 * Writes these over what is there, and gives the accounts that were written. Not where the link was suspended
 * for good since it was read, which it stays. Who is linked comes last, and whoever becomes another person is
 * nobody between: a person is one account at each moment.
 */
export async function writePeople(
  sql: Sql,
  source: string,
  people: readonly WrittenPerson[],
): Promise<ReadonlySet<string>> {
  const written = new Set<string>()
  if (people.length === 0) return written
  await sql.query(
    `update source_people set state = 'suspended' where source = $1 and account = any($2) and state = 'linked'`,
    [source, people.map(({ account }) => account)],
  )
  const pages = Map.groupBy(people, ({ state, wasHeld }) => `${state === 'linked'} ${wasHeld}`)
  for (const [, page] of [...pages].sort(([a], [b]) => (a < b ? -1 : 1))) {
    const rows = await sql.query<{ account: string }>(
      `insert into source_people (source, account, name, address, state, subject, linked_by, reason, is_held, is_told, gives)
       select $1, p.account, p.name, p.address, p.state, p.subject, p."linkedBy", p.reason, p."isHeld", p."isTold",
         p.state = 'linked'
       from jsonb_to_recordset($2::jsonb) as p (account text, name text, address text, state text, subject text,
         "linkedBy" text, reason text, "isHeld" boolean, "isTold" boolean)
       on conflict (source, account) do update set name = excluded.name, address = excluded.address,
         state = excluded.state, subject = excluded.subject, linked_by = excluded.linked_by,
         reason = excluded.reason, is_held = excluded.is_held, is_told = excluded.is_told,
         gives = source_people.gives or excluded.gives,
         changed_at = case when (source_people.subject, source_people.reason) is distinct from (excluded.subject, excluded.reason)
           then now() else source_people.changed_at end
       where $3 or not source_people.is_held returning account`,
      [source, JSON.stringify(page), page[0]?.wasHeld ?? false],
    )
    for (const { account } of rows) written.add(account)
  }
  return written
}

/** The source does not have these any more. Who was somebody is remembered, and who never was is not. */
export async function forgetUntold(sql: Sql, source: string, accounts: readonly string[]): Promise<void> {
  await sql.query(
    `delete from source_people p where source = $1 and subject is null and not is_held
       and not exists (select from unnest($2::text[]) as told (account) where told.account = p.account)`,
    [source, accounts],
  )
  await sql.query(
    `update source_people p set is_told = false where source = $1 and is_told
       and not exists (select from unnest($2::text[]) as told (account) where told.account = p.account)`,
    [source, accounts],
  )
}

/** An account that is nobody, and whom OpenFGA may still hold something for. */
export interface Giving {
  readonly account: string
  readonly subject: string
}

/** Who is nobody, and what they were given may be there still. */
export const readGiving = (sql: Sql, source: string): Promise<Giving[]> =>
  sql.query(
    `select account, subject from source_people
     where source = $1 and gives and state <> 'linked' and subject is not null`,
    [source],
  )

/** What these were given is taken away, unless they are somebody again. */
export const noteTakenAway = (sql: Sql, source: string, nobodies: readonly Giving[]): Promise<unknown> =>
  nobodies.length === 0
    ? Promise.resolve()
    : sql.query(
        `update source_people set gives = false where source = $1 and account = any($2) and state <> 'linked'`,
        [source, nobodies.map(({ account }) => account)],
      )
