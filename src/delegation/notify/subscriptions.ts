import type { Clock } from '../../kernel/clock.ts'
import type { Seal } from '../../store/encryption.ts'
import type { Sql } from '../../store/sql.ts'
import { settlesMs } from '../people/account-news.ts'
import { endPushOf, endPushWhere } from '../people/push-ends.ts'
import type { Subscription } from './subscription.ts'

/** A browser session of ours, by the keyed hash of its id, and whose it is. */
export interface SubscriptionOwner {
  /** Account key. */
  readonly person: string
  readonly session: string
}

/** A browser that is told, by the keyed hash of its endpoint. */
export interface SubscribedBrowser {
  readonly hash: string
  readonly subscription: Subscription
}

/** Browsers in which people want to be told. Each method is one statement or two that may be cut apart. */
export interface Subscriptions {
  /**
   * This browser is this person's from now on, whoever's it was. Beyond 10 of theirs the longest unseen one
   * goes.
   */
  save(owner: SubscriptionOwner, subscription: Subscription): Promise<void>
  /** It was seen in this session, which ends it from now on. False: it is not this person's. */
  seen(owner: SubscriptionOwner, endpoint: string): Promise<boolean>
  /** False: it was not this person's. */
  end(person: string, endpoint: string): Promise<boolean>
  /** All of this person's. Those, as whatever goes beyond 10, are told of news of the account for a day. */
  endAll(person: string): Promise<void>
  count(person: string): Promise<number>
  /**
   * Those to tell; none of a person who is revoked, or was since they were last seen. `newsAt`: of news of
   * the account of that moment, of which some hear that are told of nothing else any more. `transaction`: the
   * caller's transaction.
   */
  of(person: string, newsAt?: Date, transaction?: Sql): Promise<SubscribedBrowser[]>
  /** The push service knows it no more. */
  remove(hash: string): Promise<void>
  /** Drops those that nobody has seen for 90 days; returns how many. */
  sweep(): Promise<number>
}

export interface SubscriptionsDeps {
  readonly sql: Sql
  readonly seal: Seal
  readonly clock: Clock
}

/** Browsers of one person that may be told. Beyond it, those that were not seen for longest are ended. */
export const subscriptionsMax = 10
const unseenMs = 90 * 24 * 3_600_000

/** Endpoints and keys are encrypted at rest. Does NOT check that the caller is the person. */
export function createSubscriptions({ sql, seal, clock }: SubscriptionsDeps): Subscriptions {
  const now = () => new Date(clock.now())
  const hashOf = (endpoint: string) => seal.hash('push endpoint', endpoint)
  const context = (hash: string) => `push subscription ${hash}`
  /** Undefined: it was sealed by another key. Its browser comes again, and everybody else is told. */
  function opened(hash: string, sealed: Uint8Array): Subscription | undefined {
    try {
      return seal.open(context(hash), sealed) as Subscription
    } catch {
      return undefined
    }
  }

  return {
    async save({ person, session }, subscription) {
      const hash = hashOf(subscription.endpoint)
      await sql.query(
        `insert into push_subscriptions as p (endpoint_hash, person, session_hash, sealed, seen_at, saved_at)
         values ($1, $2, $3, $4, $5, $5)
         on conflict (endpoint_hash) do update set person = excluded.person, session_hash = excluded.session_hash,
           sealed = excluded.sealed, seen_at = excluded.seen_at,
           saved_at = case when p.person = excluded.person then p.saved_at else excluded.saved_at end`,
        [hash, person, session, seal.close(context(hash), subscription), now()],
      )
      await endPushWhere(
        sql,
        `person = $1 and endpoint_hash not in (
           select endpoint_hash from push_subscriptions where person = $1
           order by seen_at desc, endpoint_hash limit ${subscriptionsMax})`,
        [person],
        now(),
      )
    },
    async seen({ person, session }, endpoint) {
      const rows = await sql.query(
        `update push_subscriptions set session_hash = $3, seen_at = $4
         where endpoint_hash = $1 and person = $2 returning person`,
        [hashOf(endpoint), person, session, now()],
      )
      return rows.length > 0
    },
    async end(person, endpoint) {
      const rows = await sql.query(
        'delete from push_subscriptions where endpoint_hash = $1 and person = $2 returning person',
        [hashOf(endpoint), person],
      )
      return rows.length > 0
    },
    endAll: (person) => endPushOf(sql, person, { at: now() }),
    async count(person) {
      const rows = await sql.query('select 1 from push_subscriptions where person = $1', [person])
      return rows.length
    },
    async of(person, newsAt, transaction = sql) {
      const rows = await transaction.query<{ endpoint_hash: string; sealed: Uint8Array }>(
        `(select endpoint_hash, sealed from push_subscriptions
          where person = $1 and not ${isRevokedSince('seen_at')}
          order by seen_at desc, endpoint_hash limit ${subscriptionsMax})
         union all
         (select endpoint_hash, sealed from push_ended as ended
          where person = $1 and news_until >= $3 and not ${isRevokedSince('saved_at')}
            and not exists (select from push_subscriptions as one where one.endpoint_hash = ended.endpoint_hash))`,
        [person, now(), newsAt ?? null],
      )
      return rows.flatMap(({ endpoint_hash: hash, sealed }) => {
        const subscription = opened(hash, sealed)
        return subscription === undefined ? [] : [{ hash, subscription }]
      })
    },
    async remove(hash) {
      await sql.query('delete from push_subscriptions where endpoint_hash = $1', [hash])
      await sql.query('delete from push_ended where endpoint_hash = $1', [hash])
    },
    async sweep() {
      const rows = await sql.query('delete from push_subscriptions where seen_at < $1 returning person', [
        new Date(clock.now() - unseenMs),
      ])
      await sql.query('delete from push_ended where news_until < $1', [new Date(clock.now() - settlesMs)])
      return rows.length
    },
  }
}

const isRevokedSince = (savedColumn: 'seen_at' | 'saved_at') => `exists (
  select from revocations where kind = 'subject' and key = 'user:' || $1
    and (until is null or until > $2 or created_at >= ${savedColumn}))`
