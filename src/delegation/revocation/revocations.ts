import type { Runtime } from '../../store/runtime.ts'
import { countRows, lastingEnd } from '../../store/sql.ts'

/** What no longer counts. A token's `jti` and `grant_id` mean something at their issuer only. */
export type RevocationTarget =
  | { readonly kind: 'jti' | 'grant'; readonly issuer: string; readonly id: string }
  /** `user:anne` */
  | { readonly kind: 'subject'; readonly id: string }
  /** `research-bot`, wherever it stands in a chain. */
  | { readonly kind: 'agent'; readonly id: string }

/** The deny-list in the database. {@link RevocationFeed} brings it to every process. */
export interface Revocations {
  /**
   * In force on the next request. `until` undefined: for ever; a later call never shortens it. Where this
   * process's clock is behind the database's, it lasts as long by that one.
   */
  revoke(target: RevocationTarget, options: { readonly until?: Date; readonly reason: string }): Promise<void>
  /** Takes one back. False: there was none. Tokens that have not ended count again. */
  lift(target: RevocationTarget): Promise<boolean>
  /** Drops rows that have been over for an hour by both clocks, and returns how many. */
  sweep(): Promise<number>
}

/** What is over is kept for so long: an import that outlives its token is held to it. */
export const keptMs = 3_600_000

/** Writes rows. Does NOT check who asks. */
export function createRevocations({ sql, clock }: Pick<Runtime, 'sql' | 'clock'>): Revocations {
  return {
    async revoke(target, { until: expiresAt, reason }) {
      await sql.query(
        `insert into revocations (kind, key, until, reason, created_at)
         values ($1, $2, ${lastingEnd('$3', '$5')}, $4, $5)
         on conflict (kind, key) do update set until =
           case when revocations.until is null or excluded.until is null then null
                else greatest(revocations.until, excluded.until) end,
           -- What an operator says stays the operator's, whoever says it too.
           reason = case when excluded.reason = 'operator' then excluded.reason else revocations.reason end`,
        [target.kind, revocationKey(target), expiresAt ?? null, reason, new Date(clock.now())],
      )
    },
    async lift(target) {
      const text = 'delete from revocations where kind = $1 and key = $2 returning key'
      return (await countRows(sql, text, [target.kind, revocationKey(target)])) > 0
    },
    // By both clocks. Ahead, it would tell all that what it takes for over was lifted, since the trigger goes
    // by the database's. Behind, it still takes what is over by that one.
    sweep: () =>
      countRows(
        sql,
        'delete from revocations where until < least(now(), $2) - make_interval(secs => $1) returning key',
        [keptMs / 1_000, new Date(clock.now())],
      ),
  }
}

/** The key of a row; with its kind it names one target. */
export const revocationKey = (target: RevocationTarget): string =>
  target.kind === 'jti' || target.kind === 'grant' ? `${target.issuer} ${target.id}` : target.id
