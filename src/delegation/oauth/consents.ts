import { record } from '../../audit/record.ts'
import { AppError } from '../../kernel/errors.ts'
import type { Runtime } from '../../store/runtime.ts'
import { countRows, readRows, type Sql } from '../../store/sql.ts'
import type { Delegations } from '../lending/delegations.ts'
import { type ExternalAccount, upstreamAccount } from '../people/links.ts'
import type { Proof, SignInValidity } from '../people/sign-in-validity.ts'
import { atPages } from '../people/sign-ins.ts'

/** What one consent stands for, by the grant id that its tokens carry. */
export interface Consent {
  readonly grantId: string
  readonly clientId: string
  /** Account key, `anne`. */
  readonly subject: string
  /** Present for an agent's client. */
  readonly delegation: string | undefined
  readonly signedInAt: Date
  /** How they proved who they are (RFC 8176). */
  readonly amr: readonly string[]
  /** Who they are at the trusted issuer through which they signed in. */
  readonly upstream: ExternalAccount | undefined
  /** What they showed to sign in. Asked for when it is saved, and not kept: what stands outlives it. */
  readonly proof?: Proof | undefined
  readonly expiresAt: Date
  /**
   * Thread of the request that was said yes to, with which its tokens go on. Left out: each token has one of
   * its own.
   */
  readonly txn?: string | undefined
  /** False: `delegation` was lent before, and does not end with this grant. Default true. */
  readonly lends?: boolean
  /** The question whose yes it is (CIBA): made once for all requests that stand for it. */
  readonly approval?: string
}

/** Consents by grant id. Without its row a grant gives no token. */
export interface Consents {
  /**
   * On record as a consent, with the link without which the grant gives no token; once, where it is saved
   * again. 403 where the sign-in counts no more: whoever was revoked, whose account elsewhere lost its link
   * to this person, or who showed what is over since; and where it is of an approval and was ended, or is
   * over. Returns its end: of the one that stands, where it is saved again.
   */
  save(link: Consent, consent: ConsentedAccess): Promise<Date>
  /**
   * Undefined also for one of a person who is revoked by either name, or who came through a link that is
   * over.
   */
  get(grantId: string): Promise<Consent | undefined>
  /**
   * The grant was ended at the authorization server: by a refresh token or code that was used twice, or by
   * its client. What was lent by the same consent ends with it; what was lent before does not.
   */
  end(grantId: string, txn: string): Promise<void>
  /** Every consent for a client, and what was lent by it. Returns how many. */
  endOf(clientId: string, txn: string): Promise<number>
  /** Drops those that are over, and returns how many. */
  sweep(): Promise<number>
}

/** What a consent was for, as the record says it. */
export interface ConsentedAccess {
  readonly resource: string
  readonly scope: string
  readonly txn: string
}

export interface ConsentsDeps extends Pick<Runtime, 'database' | 'clock'> {
  readonly delegations: Pick<Delegations, 'revoke'>
  readonly signInValidity: SignInValidity
}

/** Asks at each read whether the sign-in behind a consent still counts. */
export function createConsents(deps: ConsentsDeps): Consents {
  const { database, delegations, signInValidity, clock } = deps
  const consentOf = async (grantId: string): Promise<Consent | undefined> =>
    (await readRows<Consent>(database, `${select} where grant_id = $1`, [grantId]))[0]

  const get: Consents['get'] = async (grantId) => {
    const link = await consentOf(grantId)
    if (link === undefined || (await signInValidity.of(signInOf(link), database)) !== 'stands')
      return undefined
    return link
  }

  async function endConsent(grantId: string, txn: string): Promise<void> {
    const link = await consentOf(grantId)
    // What was lent first: it takes the link along. The other way about, a crash between would leave it
    // standing.
    if (link?.delegation !== undefined && link.lends !== false)
      await delegations.revoke(link.delegation, {
        subject: `user:${link.subject}`,
        actors: [],
        client: link.clientId,
        txn,
      })
    await database.query('delete from oauth_grants where grant_id = $1', [grantId])
  }

  return {
    get,
    end: endConsent,
    async endOf(clientId, txn) {
      const rows = await database.query<{ readonly grant_id: string }>(
        'select grant_id from oauth_grants where client_id = $1',
        [clientId],
      )
      for (const { grant_id: grantId } of rows) await endConsent(grantId, txn)
      return rows.length
    },
    save: (link, consent) =>
      database.transaction((sql) => save(sql, link, consent, { signInValidity, now: new Date(clock.now()) })),
    // By both clocks: one that is ahead would end what people lend.
    sweep: () =>
      countRows(database, 'delete from oauth_grants where expires_at < least(now(), $1) returning grant_id', [
        new Date(clock.now()),
      ]),
  }
}

const signInOf = ({ subject: person, upstream, proof, signedInAt: signedInTime }: Consent) => ({
  person,
  upstream,
  proof,
  at: signedInTime,
})

async function save(
  sql: Sql,
  link: Consent,
  { resource, scope, txn }: ConsentedAccess,
  { signInValidity, now }: { readonly signInValidity: SignInValidity; readonly now: Date },
): Promise<Date> {
  const { grantId, clientId, subject, delegation, signedInAt, amr, upstream, expiresAt, lends = true } = link
  await signInValidity.assertWithin(sql, signInOf(link))
  const saved = await sql.query(
    `insert into oauth_grants (grant_id, client_id, subject, delegation, signed_in_at, amr, expires_at,
       upstream_issuer, upstream_sub, txn, lends)
     values ($1, $2, $3, $4, $5, $6, $7, $8, $9, $10, $11)
     on conflict (grant_id) do nothing returning grant_id`,
    [
      grantId,
      clientId,
      subject,
      delegation ?? null,
      signedInAt,
      amr,
      expiresAt,
      upstream?.issuer ?? null,
      upstream?.sub ?? null,
      link.txn ?? null,
      lends,
    ],
  )
  const isNew = saved.length > 0
  if (isNew && link.approval !== undefined && !(await isFirst(sql, link.approval)))
    throw new AppError('forbidden')
  if (!isNew) return endOf(sql, link, now)
  await record(
    sql,
    { ...atPages(subject, txn), ...(delegation !== undefined && { delegation }) },
    {
      event: 'consented',
      client: clientId,
      grant: grantId,
      resource,
      scope,
      expires_at: expiresAt.toISOString(),
    },
  )
  return expiresAt
}

/**
 * Whether the one consent of an approval is made now for the first time. A row may come after it: another
 * request that asks the same was on its way, and knows of no consent.
 */
const isFirst = async (sql: Sql, approval: string): Promise<boolean> =>
  (await countRows(
    sql,
    `update backchannel_requests set consented = true where approval = $1
       and not exists (select from backchannel_requests other where other.approval = $1 and other.consented)
     returning id_hash`,
    [approval],
  )) > 0

/** End of the one that is there. */
async function endOf(sql: Sql, { grantId, approval }: Consent, now: Date): Promise<Date> {
  const [row] = await sql.query<{ readonly end: Date }>(
    'select expires_at as "end" from oauth_grants where grant_id = $1',
    [grantId],
  )
  if (row === undefined || (approval !== undefined && row.end <= now)) throw new AppError('forbidden')
  return row.end
}

const select = `select grant_id as "grantId", client_id as "clientId", subject, delegation,
    signed_in_at as "signedInAt", amr, ${upstreamAccount} as upstream, expires_at as "expiresAt", txn, lends
  from oauth_grants`
