import { type RecordActor, record } from '../audit/record.ts'
import { assertCollections } from '../delegation/registry/services.ts'
import { AppError, invalid } from '../kernel/errors.ts'
import { lockPrefixes } from '../store/prefixes.ts'
import type { Database, Sql } from '../store/sql.ts'
import { readAllowed, type Wanted } from './allowed.ts'
import { changeSource, findSource } from './change.ts'
import type { SourceKind } from './kind.ts'
import {
  digestOf,
  type HiddenItem,
  listHidden,
  listSources,
  type SourceLife,
  type SourceRow,
} from './rows.ts'
import { assertSecondPerson } from './second-person.ts'
import {
  type ChangeDeps,
  confirmChange,
  type ProposedChange,
  proposeChange,
  readChange,
  takesChanges,
} from './settings-change.ts'

/** What somebody proposes. Seconds and days that are left out: the kind's, or 300, 12 hours, 7 days. */
export interface SourceProposal {
  readonly id: string
  readonly kind: string
  readonly settings: unknown
  readonly collections: readonly string[]
  /** An entry of `SOURCE_SECRETS` for this kind and origin, by name. */
  readonly secret?: string
  /** Most requests a minute that it is asked. Default 300. */
  readonly requestsPerMinute?: number
  /** Between the end of a reading and the next. */
  readonly pollSeconds?: number
  /** After which everything is read again, whatever the source's feed says. */
  readonly crawlSeconds?: number
  /** For which permissions and groups count after they were last confirmed. */
  readonly maxAgeSeconds?: number
  /** For which the text of what the source does not have any more is kept, hidden. */
  readonly purgeDays?: number
}

/**
 * The sources of a deployment. Every change is on record. Throws `not_found` for one that is not there,
 * `conflict` for a state that does not take the change. Does NOT check who asks.
 */
export interface Sources {
  /**
   * Proposes a source: it does nothing before somebody else confirms it. Throws `invalid_request` naming
   * the field that is wrong, `conflict` for an id that is taken.
   */
  propose(who: RecordActor, proposal: SourceProposal): Promise<SourceRow>
  /**
   * The second person's yes to what `digest` stands for ({@link digestOf}), a source or other settings of
   * one: a proposal that was made anew under the same id is another one. Throws `conflict` for another
   * digest, and for the proposer, by whichever of their accounts; `forbidden` where one of the two is no
   * administrator any more.
   */
  confirm(who: RecordActor, id: string, digest: string): Promise<SourceRow>
  /**
   * Proposes other settings of a source that is there; its kind, its collections and the rest stay. See
   * {@link proposeChange} and {@link confirmChange}.
   */
  set(who: RecordActor, id: string, wanted: Wanted): Promise<SourceRow>
  /** What was proposed so, and nobody confirmed yet. */
  change(id: string): Promise<ProposedChange | undefined>
  list(): Promise<readonly SourceRow[]>
  get(id: string): Promise<SourceRow>
  /** What of it nobody may read, and why, by id. */
  hidden(
    id: string,
    page: { readonly after?: string; readonly limit: number },
  ): Promise<readonly HiddenItem[]>
  /** Has it read now; `all`: everything, not only what changed. */
  wake(who: RecordActor, id: string, options?: { readonly all?: boolean }): Promise<SourceRow>
  /** Reads no more. What it brought stays for as long as its permissions count. */
  pause(who: RecordActor, id: string): Promise<SourceRow>
  resume(who: RecordActor, id: string): Promise<SourceRow>
  /** Nobody reads anything of it from now on; then its documents, its groups and itself are taken away. */
  remove(who: RecordActor, id: string): Promise<SourceRow>
  /**
   * Lets everything that is missing now be purged, however much it is. `documents` is how many that is:
   * `conflict` where it is another number by now.
   */
  purge(who: RecordActor, id: string, documents: number): Promise<SourceRow>
}

/** What {@link createSources} works with. */
export interface SourcesDeps extends ChangeDeps {
  readonly database: Database
}

const defaults = { pollSeconds: 300, crawlSeconds: 43_200, purgeDays: 7, requestsPerMinute: 300 }

/** The registry in Postgres. See {@link Sources}. */
export function createSources(dependencies: SourcesDeps): Sources {
  const { database } = dependencies

  const change = (
    who: RecordActor,
    id: string,
    event: SourceEvent,
    work: (sql: Sql, row: SourceRow) => Promise<void>,
    first?: (sql: Sql) => Promise<void>,
  ): Promise<SourceRow> =>
    changeSource(
      database,
      id,
      async (sql, row) => {
        await work(sql, row)
        await record(sql, who, { event, source: id })
      },
      first,
    )

  const turn =
    (event: SourceEvent, from: readonly SourceLife[], to: SourceLife) => (who: RecordActor, id: string) =>
      change(who, id, event, async (sql, { state }) => {
        if (!from.includes(state)) throw new AppError('conflict', { public: `This source is ${state}.` })
        await sql.query('update sources set state = $2, next_at = now() where id = $1', [id, to])
      })

  return {
    propose: (who, proposal) => propose(dependencies, who, proposal),
    confirm: (who, id, digest) =>
      change(
        who,
        id,
        'source_confirmed',
        async (sql, row) => {
          if (takesChanges(row)) return confirmChange(dependencies, sql, { row, who, digest })
          if (digestOf(row) !== digest)
            throw new AppError('conflict', { field: 'digest', public: 'This is not what is proposed now.' })
          if (row.state !== 'proposed')
            throw new AppError('conflict', { public: `This source is ${row.state}.` })
          await assertSecondPerson(dependencies, sql, row, who.subject)
          await assertFree(sql, row)
          await sql.query(
            `update sources set state = 'active', confirmed_by = $2, next_at = now() where id = $1`,
            [id, who.subject],
          )
        },
        lockPrefixes,
      ),
    set: (who, id, proposal) =>
      changeSource(database, id, (sql, row) =>
        proposeChange(dependencies, sql, { row, who, wanted: proposal }),
      ),
    change: async (id) => readChange(database, await findSource(database, id)),
    list: () => listSources(database),
    get: (id) => findSource(database, id),
    async hidden(id, { after, limit }) {
      await findSource(database, id)
      return listHidden(database, id, { after, limit })
    },
    wake: (who, id, { all = false } = {}) =>
      change(who, id, 'source_woken', async (sql, { state }) => {
        if (state !== 'active') throw new AppError('conflict', { public: `This source is ${state}.` })
        await sql.query(
          `update sources set next_at = now(), crawl_wanted_at = case when $2 then now() else crawl_wanted_at end where id = $1`,
          [id, all],
        )
      }),
    pause: turn('source_paused', ['active'], 'paused'),
    resume: turn('source_resumed', ['paused'], 'active'),
    remove: turn('source_removed', ['proposed', 'active', 'paused'], 'removing'),
    purge: (who, id, documents) =>
      change(who, id, 'source_purged', async (sql, { missing }) => {
        if (missing !== documents)
          throw new AppError('conflict', { field: 'documents', public: `${missing} are missing now.` })
        await sql.query('update sources set purge_until = now(), next_at = now() where id = $1', [id])
      }),
  }
}

type SourceEvent =
  | 'source_confirmed'
  | 'source_woken'
  | 'source_paused'
  | 'source_resumed'
  | 'source_removed'
  | 'source_purged'

async function propose(
  dependencies: SourcesDeps,
  who: RecordActor,
  proposal: SourceProposal,
): Promise<SourceRow> {
  const { database, kinds } = dependencies
  const { id, collections, settings } = proposal
  if (!/^[a-z0-9][a-z0-9-]{0,39}$/.test(id)) throw invalid('id', 'Must be 1 to 40 of a-z 0-9 -.')
  const kind = kinds.get(proposal.kind)
  if (kind === undefined)
    throw invalid('kind', `There is no such kind. There is ${[...kinds.keys()].join(', ')}.`)
  const { origin } = readAllowed(dependencies, kind, proposal)
  if (collections.length === 0) throw invalid('collections', 'At least one is needed.')
  await assertCollections(database, collections)
  const timing = timingOf(proposal, kind)
  await database.transaction(async (sql) => {
    await lockPrefixes(sql)
    await assertFree(sql, { id, collections })
    const rows = await sql.query(
      `insert into sources (id, kind, origin, settings, collections, state, proposed_by, poll_seconds, crawl_seconds,
         max_age_seconds, purge_days, secret, requests_per_minute)
       values ($1, $2, $3, $4::jsonb, $5, 'proposed', $6, $7, $8, $9, $10, $11, $12) on conflict (id) do nothing returning 1`,
      [
        id,
        kind.id,
        origin,
        JSON.stringify(settings),
        collections,
        who.subject,
        timing.pollSeconds,
        timing.crawlSeconds,
        timing.maxAgeSeconds,
        timing.purgeDays,
        proposal.secret ?? null,
        proposal.requestsPerMinute ?? defaults.requestsPerMinute,
      ],
    )
    if (rows.length === 0) throw new AppError('conflict', { field: 'id', public: `There is a source ${id}.` })
    await record(sql, who, {
      event: 'source_proposed',
      source: id,
      kind: kind.id,
      origin,
      collections,
    })
  })
  return findSource(database, id)
}

function timingOf(proposal: SourceProposal, kind: SourceKind): Required<Timing> {
  const maxAgeSeconds = proposal.maxAgeSeconds ?? kind.maxAgeSeconds
  const pollSeconds = proposal.pollSeconds ?? Math.min(defaults.pollSeconds, maxAgeSeconds / 2)
  const crawlSeconds = proposal.crawlSeconds ?? Math.min(defaults.crawlSeconds, maxAgeSeconds / 2)
  if (pollSeconds >= maxAgeSeconds)
    throw invalid('poll_seconds', 'Must be less than permissions_max_age_seconds: else it is always hidden.')
  if (kind.untold.length > 0 && crawlSeconds >= maxAgeSeconds)
    throw invalid(
      'crawl_seconds',
      `Must be less than permissions_max_age_seconds: the feed of ${kind.id} does not tell ${kind.untold.join(', ')}.`,
    )
  return {
    pollSeconds: Math.ceil(pollSeconds),
    crawlSeconds: Math.ceil(crawlSeconds),
    maxAgeSeconds,
    purgeDays: proposal.purgeDays ?? defaults.purgeDays,
  }
}

type Timing = Pick<SourceProposal, 'pollSeconds' | 'crawlSeconds' | 'maxAgeSeconds' | 'purgeDays'>

/**
 * No source had the id before: what was lent or granted by its items' ids would be this one's. No other
 * source and no service writes where a source files its documents, or groups under its prefix. Whoever gives
 * such a right looks for the source, behind the same lock.
 */
async function assertFree(
  sql: Sql,
  { id, collections }: { readonly id: string; readonly collections: readonly string[] },
): Promise<void> {
  const [ended] = await sql.query('select from source_ids where id = $1', [id])
  if (ended !== undefined)
    throw invalid(
      'id',
      `There was a source ${id}. What people lent or were granted of it would count for another one: choose another id.`,
    )
  const [other] = await sql.query<{ name: string }>(
    `select 'The source ' || id as name from sources where collections && $1 and id <> $2
     union all select 'The service ' || name from services where collections && $1 and name <> 'source/' || $2
     union all select 'The ' || replace(subject, ':', ' ') from desired_tuples
       where object in (select 'collection:' || own from unnest($1::text[]) as own) and relation in ('writer', 'tagger')
         and subject <> 'service:source/' || $2
     limit 1`,
    [collections, id],
  )
  if (other !== undefined)
    throw invalid('collections', `${other.name} files documents there. A source has collections of its own.`)
  const [feeder] = await sql.query<{ name: string }>(
    `select 'service ' || name as name from services where name <> 'source/' || $1 and exists (
       select from unnest(prefixes) as prefix
       where starts_with(prefix, $1 || '/') or (prefix <> '' and starts_with($1 || '/', prefix)))
     union all
     select 'directory ' || name from directories
     where starts_with(prefix, $1 || '/') or starts_with($1 || '/', prefix) limit 1`,
    [id],
  )
  if (feeder !== undefined)
    throw invalid('id', `The ${feeder.name} writes groups whose ids begin so. Choose another id.`)
}
