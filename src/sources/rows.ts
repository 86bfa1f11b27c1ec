import { createHash } from 'node:crypto'
import { readRows, type Sql, type SqlValue } from '../store/sql.ts'

/**
 * How a source stands. `proposed`: nobody but its proposer agreed. `removing`: what it brought is on its
 * way out.
 */
export type SourceLife = 'proposed' | 'active' | 'paused' | 'removing'

/** A source as it is stored. Times of its readings are left out where there was none. */
export interface SourceRow {
  readonly id: string
  readonly kind: string
  readonly origin: string
  readonly settings: unknown
  readonly collections: readonly string[]
  readonly state: SourceLife
  readonly proposedBy: string
  readonly proposedAt: Date
  readonly confirmedBy: string | undefined
  readonly pollSeconds: number
  readonly crawlSeconds: number
  readonly maxAgeSeconds: number
  readonly purgeDays: number
  /** The entry of `SOURCE_SECRETS` that it uses, by name. */
  readonly secret: string | undefined
  readonly requestsPerMinute: number
  /** How often its settings were changed: a reading writes only for the one that it began with. */
  readonly edition: number
  readonly crawledAt: Date | undefined
  /** Since when somebody wants all of it read again, and its groups compared with OpenFGA. */
  readonly crawlWantedAt: Date | undefined
  /** Up to when its groups are known to be as the source has them. */
  readonly groupsAt: Date | undefined
  /** The same of the permissions of every settled item. */
  readonly itemsAt: Date | undefined
  readonly nextAt: Date
  readonly beganAt: Date | undefined
  readonly endedAt: Date | undefined
  /** Readings that failed in a row. */
  readonly failures: number
  /** Why the last reading stopped, or what of it was not brought. */
  readonly problem: string | undefined
  readonly nameless: readonly Nameless[]
  readonly requests: number
  readonly throttled: number
  /** Whether its documents may be read as far as the source as a whole goes. */
  readonly isFresh: boolean
  readonly items: number
  /** Items that nobody may read, missing ones included. */
  readonly hidden: number
  /** Items that the source does not have any more, and that are not purged yet. */
  readonly missing: number
  /** Whether its system may wake it. */
  readonly hasHook: boolean
  /** When it did last, by the hook that it has now. */
  readonly hookCalledAt: Date | undefined
}

/** What two people agree on. */
export type Agreed = Pick<
  SourceRow,
  | 'id'
  | 'kind'
  | 'origin'
  | 'settings'
  | 'collections'
  | 'pollSeconds'
  | 'crawlSeconds'
  | 'maxAgeSeconds'
  | 'purgeDays'
  | 'secret'
  | 'requestsPerMinute'
  | 'proposedBy'
  | 'proposedAt'
>

/** Stands for what was proposed, by whom and when: what the second person says yes to. */
export const digestOf = (row: Agreed): string =>
  createHash('sha256')
    .update(
      JSON.stringify([
        row.id,
        row.kind,
        row.origin,
        row.settings,
        row.collections,
        row.pollSeconds,
        row.crawlSeconds,
        row.maxAgeSeconds,
        row.purgeDays,
        row.secret ?? null,
        row.requestsPerMinute,
        row.proposedBy,
        row.proposedAt.toISOString(),
      ]),
    )
    .digest('base64url')

/** An item that has no id of its own, such as a second one under the id of another. */
export interface Nameless {
  readonly name: string
  readonly problem: string
}

const select = `select s.id, s.kind, s.origin, s.settings, s.collections, s.state, s.proposed_by as "proposedBy",
  s.proposed_at as "proposedAt", s.confirmed_by as "confirmedBy", s.poll_seconds as "pollSeconds",
  s.crawl_seconds as "crawlSeconds", s.max_age_seconds as "maxAgeSeconds", s.purge_days as "purgeDays", s.secret,
  s.requests_per_minute as "requestsPerMinute", s.edition,
  s.crawled_at as "crawledAt", s.crawl_wanted_at as "crawlWantedAt", s.groups_at as "groupsAt", s.items_at as "itemsAt", s.next_at as "nextAt",
  s.began_at as "beganAt", s.ended_at as "endedAt", s.failures, s.problem, s.nameless, s.requests, s.throttled,
  coalesce(s.state in ('active', 'paused') and least(s.groups_at, s.items_at) > now() - make_interval(secs => s.max_age_seconds)
    and s.groups_at is not null and s.items_at is not null, false) as "isFresh",
  counted.items, counted.hidden, counted.missing, h.source is not null as "hasHook", h.called_at as "hookCalledAt"
  from sources s left join source_hooks h on h.source = s.id cross join lateral (
    select count(*)::float8 as items, count(*) filter (where hidden is not null)::float8 as hidden,
      count(*) filter (where missing_at is not null)::float8 as missing
    from source_items where source = s.id) counted`

/** All sources by id. */
export const listSources = (sql: Sql): Promise<SourceRow[]> => readRows(sql, `${select} order by s.id`)

/** One of them; undefined where there is none. */
export const readSource = async (sql: Sql, id: string): Promise<SourceRow | undefined> =>
  (await readRows<SourceRow>(sql, `${select} where s.id = $1`, [id]))[0]

/** What operators see of all sources together. */
export interface SourceTotals {
  readonly sources: number
  /** Read, and not confirmed lately enough: nobody reads what they brought. */
  readonly stale: number
  /** Whose last reading failed. */
  readonly failing: number
  /** Seconds since the permissions of the one that was confirmed longest ago; 0 where there is none. */
  readonly age: number
  readonly items: number
  readonly hidden: number
  readonly missing: number
}

/** Counts all of it anew. */
export const readSourceTotals = async (sql: Sql): Promise<SourceTotals | undefined> =>
  (
    await sql.query<SourceTotals>(
      `select counted.*, items.* from
         (select count(*)::float8 as sources,
            count(*) filter (where least(groups_at, items_at) is null or groups_at is null or items_at is null
              or least(groups_at, items_at) <= now() - make_interval(secs => max_age_seconds))::float8 as stale,
            count(*) filter (where failures > 0)::float8 as failing,
            coalesce(max(extract(epoch from now() - coalesce(least(groups_at, items_at), proposed_at))), 0)::float8 as age
          from sources where state in ('active', 'paused')) as counted,
         (select count(*)::float8 as items, count(*) filter (where hidden is not null)::float8 as hidden,
            count(*) filter (where missing_at is not null)::float8 as missing from source_items) as items`,
    )
  )[0]

/** One item that nobody may read. */
export interface HiddenItem {
  readonly document: string
  readonly reason: string
  readonly confirmedAt: Date | undefined
  readonly missingAt: Date | undefined
}

/** Items that are hidden, with the reason, by id. */
export const listHidden = (
  sql: Sql,
  id: string,
  { after, limit }: { readonly after: string | undefined; readonly limit: number },
): Promise<HiddenItem[]> => {
  const values: SqlValue[] = [id, after ?? '', limit]
  return readRows(
    sql,
    `select document, hidden as reason, confirmed_at as "confirmedAt", missing_at as "missingAt" from source_items
     where source = $1 and hidden is not null and document > $2 order by document limit $3`,
    values,
  )
}
