import type { Clock } from '../../kernel/clock.ts'
import type { Principal } from '../../kernel/principal.ts'
import { countRows, type Sql } from '../../store/sql.ts'
import type { GrantHolder } from '../lending/approval-grant.ts'
import { holderOf } from './approval.ts'

/**
 * One bit to an agent: that its person could be asked. What for stands here alone, fixed when it was made.
 */
export interface Offer extends GrantHolder {
  /** `o_…` */
  readonly id: string
  /** Of the question that was answered. */
  readonly queryHmac: string
  /** Best first, 1 to 8. */
  readonly documentIds: readonly string[]
  readonly expiresAt: Date
}

/** Short-lived names for documents that an answer withheld, for which a person may be asked. */
export interface Offers {
  /**
   * Whether one may be made now, to be asked before anything is done that could tell by the time it takes:
   * for an agent whose token may ask for approval, within its {@link offersPerHour}.
   */
  mayOffer(principal: Principal): Promise<boolean>
  /** In the transaction of the record. Undefined: the limit was reached meanwhile. */
  makeWithin(sql: Sql, principal: Principal, draft: OfferDraft): Promise<string | undefined>
  /**
   * Undefined: there is none, it is older than 5 minutes, or it is another person's, agent's or delegation's.
   */
  find(holder: GrantHolder, id: string): Promise<Offer | undefined>
  /** Forgets those that are over, and returns how many. */
  sweep(): Promise<number>
}

/** The question as a keyed digest, and the documents that an offer stands for. */
export type OfferDraft = Pick<Offer, 'queryHmac' | 'documentIds'>

export interface OffersDeps {
  readonly sql: Sql
  readonly clock: Clock
  readonly randomBytes: (size: number) => Buffer
}

/** For one person and one agent, whatever its questions: each tells a little of what is kept from it. */
export const offersPerHour = 10
const offerMs = 300_000
const hourMs = 3_600_000

/** Keeps offers in the database until they expire. Does NOT check that the documents may be offered. */
export function createOffers({ sql: database, clock, randomBytes }: OffersDeps): Offers {
  return {
    async mayOffer(principal) {
      const holder = holderOf(principal)
      if (holder === undefined || !principal.scopes.has('approvals.request')) return false
      const rows = await database.query(
        `select from offer_limits where subject = $1 and agent = $2
           and (select count(*) from unnest(made_at) as at where at > $3) >= $4`,
        [holder.subject, holder.agent, new Date(clock.now() - hourMs), offersPerHour],
      )
      return rows.length === 0
    },
    async makeWithin(sql, principal, { queryHmac, documentIds }) {
      const holder = holderOf(principal)
      if (holder === undefined || !(await takeTurn(sql, holder, clock.now()))) return undefined
      const id = `o_${randomBytes(16).toString('base64url')}`
      await sql.query(
        `insert into offers (id, subject, agent, delegation, query_hmac, document_ids, expires_at)
         values ($1, $2, $3, $4, $5, $6, $7)`,
        [
          id,
          holder.subject,
          holder.agent,
          holder.delegation,
          queryHmac,
          documentIds,
          new Date(clock.now() + offerMs),
        ],
      )
      return id
    },
    async find({ subject, agent, delegation }, id) {
      const [offer] = await database.query<Offer>(
        `select id, subject, agent, delegation, query_hmac as "queryHmac", document_ids as "documentIds",
           expires_at as "expiresAt" from offers
         where id = $1 and subject = $2 and agent = $3 and delegation = $4 and expires_at > $5`,
        [id, subject, agent, delegation, new Date(clock.now())],
      )
      return offer
    },
    async sweep() {
      const now = new Date(clock.now())
      // A process whose clock is ahead would give back turns that others still count, and take their offers.
      await database.query(
        `delete from offer_limits where not exists
           (select from unnest(made_at) as at where at > least(now(), $1) - interval '1 hour')`,
        [now],
      )
      return countRows(database, 'delete from offers where expires_at <= least(now(), $1) returning id', [
        now,
      ])
    },
  }
}

/** One statement on one row: of those who come at once no more pass than there are turns left. */
async function takeTurn(sql: Sql, { subject, agent }: GrantHolder, now: number): Promise<boolean> {
  const turn = await sql.query(
    `insert into offer_limits as held (subject, agent, made_at) values ($1, $2, array[$3::timestamptz])
     on conflict (subject, agent) do update
       set made_at = array(select at from unnest(held.made_at) as at where at > $4 order by at) || $3::timestamptz
       where (select count(*) from unnest(held.made_at) as at where at > $4) < $5
     returning subject`,
    [subject, agent, new Date(now), new Date(now - hourMs), offersPerHour],
  )
  return turn.length > 0
}
