import { type RecordActor, record } from '../audit/record.ts'
import { AppError, invalid } from '../kernel/errors.ts'
import { readRows, type Sql } from '../store/sql.ts'
import { type AllowedDeps, readAllowed, type Wanted } from './allowed.ts'
import type { ReadSettings, SourceKind } from './kind.ts'
import { digestOf, type SourceRow } from './rows.ts'
import { assertSecondPerson, type Proposed, type SecondPersonDeps } from './second-person.ts'

/** Other settings of a source that one administrator proposed and nobody else confirmed yet. */
export interface ProposedChange extends Proposed {
  readonly origin: string
  readonly settings: unknown
  /** The credential that it will use: none where it is left out, whatever it uses now. */
  readonly secret: string | undefined
  /** Stands for the whole source as it will be. */
  readonly digest: string
}

export interface ChangeDeps extends SecondPersonDeps, AllowedDeps {
  readonly kinds: ReadonlyMap<string, SourceKind>
}

/** The newest one that waits for its second person. */
export async function readChange(sql: Sql, row: SourceRow): Promise<ProposedChange | undefined> {
  const [change] = await readRows<Omit<ProposedChange, 'digest'>>(
    sql,
    `select origin, settings, secret, proposed_by as "proposedBy", proposed_at as "proposedAt"
     from source_changes where source = $1`,
    [row.id],
  )
  return change && { ...change, digest: digestOf({ ...row, ...change, secret: change.secret }) }
}

/**
 * Proposes other settings, in place of whatever was proposed of this source before: nothing changes until
 * somebody else confirms it. Under the source's lock. Throws `invalid_request` naming what is wrong,
 * `conflict` for a source that is not read.
 */
export async function proposeChange(
  dependencies: ChangeDeps,
  sql: Sql,
  {
    row,
    who,
    wanted: proposal,
  }: { readonly row: SourceRow; readonly who: RecordActor; readonly wanted: Wanted },
): Promise<void> {
  if (!takesChanges(row)) throw new AppError('conflict', { public: `This source is ${row.state}.` })
  const kind = kindOf(dependencies, row)
  const { origin, system } = readAllowed(dependencies, kind, proposal)
  assertSameSystem(kind, row, system)
  await sql.query(
    `insert into source_changes (source, origin, settings, secret, proposed_by) values ($1, $2, $3::jsonb, $4, $5)
     on conflict (source) do update set origin = excluded.origin, settings = excluded.settings,
       secret = excluded.secret, proposed_by = excluded.proposed_by, proposed_at = excluded.proposed_at`,
    [row.id, origin, JSON.stringify(proposal.settings), proposal.secret ?? null, who.subject],
  )
  await record(sql, who, { event: 'source_change_proposed', source: row.id, origin })
}

/** Whether it is there and stays. One that nobody confirmed yet is removed and proposed anew. */
export const takesChanges = ({ state }: SourceRow): boolean => state === 'active' || state === 'paused'

/**
 * The second person's yes. From then on nothing of the source is read by anybody, until it is confirmed under
 * the new settings: each item by a reading, and its groups at the end of one of everything. What a reading
 * under the settings of before has not written by then it never does ({@link SourceRow.edition}). Under the
 * source's lock. Throws as {@link proposeChange} where the machine allows it no more, and `conflict` for
 * another digest and for the proposer.
 */
export async function confirmChange(
  dependencies: ChangeDeps,
  sql: Sql,
  { row, who, digest }: { readonly row: SourceRow; readonly who: RecordActor; readonly digest: string },
): Promise<void> {
  const change = await readChange(sql, row)
  if (change?.digest !== digest)
    throw new AppError('conflict', { field: 'digest', public: 'This is not what is proposed now.' })
  await assertSecondPerson(dependencies, sql, change, who.subject)
  const kind = kindOf(dependencies, row)
  assertSameSystem(kind, row, readAllowed(dependencies, kind, change).system)
  await sql.query(
    `update sources s set origin = c.origin, settings = c.settings, secret = c.secret, proposed_by = c.proposed_by,
       proposed_at = c.proposed_at, confirmed_by = $2, edition = edition + 1,
       -- In force now, and not when this transaction began: it waited for a reading's. To the millisecond, as a
       -- reading knows when it began.
       settings_at = date_trunc('milliseconds', clock_timestamp()), groups_at = null, items_at = null,
       -- As one that was never read: all of it, compared with OpenFGA. What an earlier one told does not count.
       -- By the cursor a kind still knows where something else lies now.
       crawled_at = null, crawl = crawl + 1, crawl_cursor = null, crawl_began_at = null,
       -- What may be purged was said of the settings of before.
       purge_until = null, next_at = now()
     from source_changes c where s.id = $1 and c.source = s.id`,
    [row.id, who.subject],
  )
  await sql.query('delete from source_changes where source = $1', [row.id])
}

/**
 * Another system has other items and groups of the same ids: what people lent, allowed or gave by these would
 * be theirs. The same where it is not known.
 */
function assertSameSystem(kind: SourceKind, row: SourceRow, system: string): void {
  if (systemOf(kind, row.settings) !== system)
    throw invalid(
      'settings',
      'These settings read another system, which has to be a source of its own. Add it under another id.',
    )
}

/** Undefined: the settings are of an earlier version, and it is not known. */
function systemOf(kind: SourceKind, settings: unknown): ReadSettings['system'] | undefined {
  try {
    return kind.read(settings).system
  } catch {
    return undefined
  }
}

function kindOf({ kinds }: ChangeDeps, { kind: name }: SourceRow): SourceKind {
  const kind = kinds.get(name)
  if (kind === undefined) throw new AppError('conflict', { public: `No kind ${name} is there.` })
  return kind
}
