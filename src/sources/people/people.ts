import { createHash } from 'node:crypto'
import { isId } from '@remit/contract/is-id'
import { type RecordActor, record } from '../../audit/record.ts'
import { AppError, invalid } from '../../kernel/errors.ts'
import { printable } from '../../kernel/printable.ts'
import type { Seal } from '../../store/encryption.ts'
import { movedTo } from '../../store/moved.ts'
import type { Database, Sql } from '../../store/sql.ts'
import { assertSecondPerson, type Proposed, type SecondPersonDeps } from '../second-person.ts'
import { peopleChanged } from './recorded.ts'
import {
  countPeople,
  isKeptId,
  listPeople,
  type PeopleCounts,
  type PeoplePage,
  readPeople,
  type SourcePerson,
  writePeople,
} from './rows.ts'

/** Who an account is, as an administrator says it. */
export interface SaidPerson {
  readonly account: string
  /** `user:ID`. */
  readonly subject: string
}

/** What one administrator said and nobody else confirmed yet. */
export interface ProposedPeople extends Proposed {
  readonly people: readonly SaidPerson[]
  /** Stands for all of it. */
  readonly digest: string
}

/** A page of a source's accounts. */
export interface ReadPeople {
  readonly counts: PeopleCounts
  readonly people: readonly SourcePerson[]
  readonly proposed: ProposedPeople | undefined
}

/**
 * Who the accounts of sources are. Every question and change is on record. Throws `not_found` where there is
 * no such source. Does NOT check who asks.
 */
export interface SourcePeople {
  read(who: RecordActor, source: string, page: PeoplePage): Promise<ReadPeople>
  /**
   * Proposes who these accounts are, in place of whatever was proposed of this source before. Throws
   * `invalid_request` for what no account or person can be, and for one that is named twice.
   */
  propose(who: RecordActor, source: string, people: readonly SaidPerson[]): Promise<void>
  /**
   * The second person's yes to what `digest` stands for. From then on it is so, until somebody takes it back
   * or the directory deactivates the person. Throws `conflict` for another digest, for the proposer, where
   * one of the people is another account or deactivated, and where an account still gives something to
   * another person.
   */
  confirm(who: RecordActor, source: string, digest: string): Promise<void>
  /** Makes an account nobody, whatever else says who it is. Throws `not_found` where it is not known. */
  suspend(who: RecordActor, source: string, account: string): Promise<void>
}

export interface SourcePeopleDeps extends SecondPersonDeps {
  readonly database: Database
  /** Of accounts that are nobody the record keeps an HMAC. */
  readonly seal: Pick<Seal, 'hash'>
}

/** In Postgres. See {@link SourcePeople}. */
export function createSourcePeople(dependencies: SourcePeopleDeps): SourcePeople {
  const { database, seal } = dependencies
  /** Under the source's lock; what changed counts from its next reading, which is now. */
  const change = (source: string, work: (sql: Sql) => Promise<void>): Promise<void> =>
    database.transaction(async (sql) => {
      const found = await sql.query('select from sources where id = $1 for update', [source])
      if (found.length === 0) throw missing()
      await work(sql)
      await sql.query(`update sources set next_at = now() where id = $1`, [source])
    })

  return {
    read: (who, source, page) =>
      database.transaction(async (sql) => {
        if ((await sql.query('select from sources where id = $1', [source])).length === 0) throw missing()
        await record(sql, who, { event: 'source_people_read', source })
        return {
          counts: await countPeople(sql, source),
          people: await listPeople(sql, source, page),
          proposed: await readProposed(sql, source),
        }
      }),
    propose: (who, source, said) =>
      change(source, async (sql) => {
        const moved = await movedTo(
          sql,
          said.map(({ subject }) => subject),
        )
        const people = said.map((one) => ({ ...one, subject: moved.get(one.subject) ?? one.subject }))
        assertSayable(people)
        await sql.query(
          `insert into source_people_proposed (source, people, proposed_by) values ($1, $2::jsonb, $3)
           on conflict (source) do update set people = excluded.people, proposed_by = excluded.proposed_by,
             proposed_at = excluded.proposed_at`,
          [source, JSON.stringify(people), who.subject],
        )
        await record(sql, who, { event: 'source_people_proposed', source, people, erasable: true })
      }),
    confirm: (who, source, digest) =>
      change(source, async (sql) => {
        const proposed = await readProposed(sql, source)
        if (proposed?.digest !== digest)
          throw new AppError('conflict', { field: 'digest', public: 'This is not what is proposed now.' })
        await assertSecondPerson(dependencies, sql, proposed, who.subject)
        await link(sql, source, proposed.people)
        await sql.query('delete from source_people_proposed where source = $1', [source])
        const linked = proposed.people.map((one) => ({ ...one, state: 'linked' as const }))
        await record(sql, who, peopleChanged(seal, source, linked))
      }),
    suspend: (who, source, account) =>
      change(source, async (sql) => {
        const rows = await sql.query<{ subject: string | null }>(
          `update source_people set state = 'suspended', linked_by = 'people', is_held = true, changed_at = now(),
             reason = 'An administrator suspended it.' where source = $1 and account = $2 returning subject`,
          [source, account],
        )
        const [row] = rows
        if (row === undefined) throw new AppError('not_found', { public: 'There is no such account.' })
        const suspended = { account, state: 'suspended', subject: row.subject ?? undefined } as const
        await record(sql, who, peopleChanged(seal, source, [suspended]))
      }),
  }
}

async function link(sql: Sql, source: string, people: readonly SaidPerson[]): Promise<void> {
  await sql.query('select from source_people where source = $1 order by account for update', [source])
  const keptByAccount = new Map((await readPeople(sql, source)).map((one) => [one.account, one]))
  await assertNobodyElses(sql, source, people)
  await assertActive(sql, people)
  const accountOf = new Map(people.map(({ account, subject }) => [subject, account]))
  for (const { account, subject, state } of keptByAccount.values()) {
    const other = subject === undefined || state !== 'linked' ? undefined : accountOf.get(subject)
    // One that becomes somebody else by the same yes makes room.
    if (other !== undefined && other !== account && !people.some((one) => one.account === account))
      throw new AppError('conflict', {
        public: `${subject} is the account ${account}. Suspend that one first.`,
      })
  }
  await writePeople(
    sql,
    source,
    people.map(({ account, subject }) => {
      const before = keptByAccount.get(account)
      return {
        account,
        subject,
        state: 'linked',
        linkedBy: 'people',
        name: before?.name,
        address: before?.address,
        isHeld: false,
        isTold: before?.isTold ?? false,
        wasHeld: true,
      }
    }),
  )
}

/** What an account gave stays somebody's at OpenFGA until a reading has taken it away. */
async function assertNobodyElses(sql: Sql, source: string, people: readonly SaidPerson[]): Promise<void> {
  const [other] = await sql.query<SaidPerson>(
    `select p.account, p.subject from source_people p
     join jsonb_to_recordset($2::jsonb) as said (account text, subject text) on said.account = p.account
     where p.source = $1 and p.gives and p.subject <> said.subject limit 1`,
    [source, JSON.stringify(people)],
  )
  if (other !== undefined)
    throw new AppError('conflict', {
      public: `${printable(other.account)} is ${other.subject}. Suspend it first, and link it after the next reading.`,
    })
}

/** Who is deactivated gets nothing that would count once they are active again. */
async function assertActive(sql: Sql, people: readonly SaidPerson[]): Promise<void> {
  const [ended] = await sql.query<{ account: string }>(
    'select account from directory_users where account = any($1) and not is_active for share',
    [people.map(({ subject }) => subject.slice('user:'.length))],
  )
  if (ended !== undefined)
    throw new AppError('conflict', { public: `The directory deactivated user:${ended.account}.` })
}

function assertSayable(people: readonly SaidPerson[]): void {
  for (const [index, { account, subject }] of people.entries()) {
    if (!isKeptId(account)) throw invalid(`people.${index}.account`, 'Must be the source’s id of an account.')
    if (!subject.startsWith('user:') || !isId(subject.slice('user:'.length)))
      throw invalid(`people.${index}.subject`, 'Must be user:ID.')
    if (people.some((other, at) => at < index && (other.account === account || other.subject === subject)))
      throw invalid(`people.${index}`, 'This account, or this person, is named twice.')
  }
}

async function readProposed(sql: Sql, source: string): Promise<ProposedPeople | undefined> {
  const [row] = await sql.query<Omit<ProposedPeople, 'digest'>>(
    `select people, proposed_by as "proposedBy", proposed_at as "proposedAt" from source_people_proposed
     where source = $1`,
    [source],
  )
  return row && { ...row, digest: digestOf(source, row) }
}

const digestOf = (
  source: string,
  { people, proposedBy, proposedAt }: Omit<ProposedPeople, 'digest'>,
): string =>
  createHash('sha256')
    .update(
      JSON.stringify([
        source,
        people.map(({ account, subject }) => [account, subject]),
        proposedBy,
        proposedAt.toISOString(),
      ]),
    )
    .digest('base64url')

const missing = (): AppError => new AppError('not_found', { public: 'There is no such source.' })
