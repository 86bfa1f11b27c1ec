import { record } from '../../audit/record.ts'
import type { FgaObject } from '../../kernel/ids.ts'
import type { Runtime } from '../../store/runtime.ts'
import { countRows, readRows, type Sql } from '../../store/sql.ts'
import { settlesMs } from './account-news.ts'
import { type ExternalAccount, upstreamAccount } from './links.ts'
import { endPushOf, endPushOfSession, passPushOn } from './push-ends.ts'
import type { SignInEnds } from './sign-in-ends.ts'
import type { SignInValidity } from './sign-in-validity.ts'
import { atPages, type SignedIn } from './sign-ins.ts'

/** A signed-in browser on our own pages. */
export interface BrowserSession {
  /** Account key, `anne` or `namespace/key`. */
  readonly person: string
  /** `user:anne` */
  readonly subject: FgaObject
  readonly amr: readonly string[]
  readonly signedInAt: Date
  /**
   * When the person in front of it was last verified by more than what they know; undefined: not in this
   * session.
   */
  readonly verifiedAt?: Date
  /** Who they are at the trusted issuer through which they came. */
  readonly upstream?: ExternalAccount
  /** Proves that a request came from a page of ours; bound to this session. */
  readonly csrf: string
  /** Keyed hash of its id, by which the database knows it. */
  readonly idHash: string
}

/** Browser sessions by the value of a cookie, of which only a digest is stored. */
export interface Sessions {
  /**
   * A session with an id of its own, whatever the browser brought: the id is the cookie's value and is kept
   * nowhere here. `before`: the browser's session until now, which ends. On record with it. 403 where the
   * sign-in does not count by now.
   */
  begin(signedIn: SignedIn, options: { readonly before?: string; readonly txn: string }): Promise<string>
  /**
   * Undefined for what is unknown, signed out, over, of a subject that was revoked by either name, or came
   * through a link that is over.
   */
  find(id: string): Promise<BrowserSession | undefined>
  /**
   * The person of this session has just been verified in front of it. On record with it. False: it counts no
   * more, as for `find`.
   */
  verified(
    id: string,
    verification: { readonly amr: readonly string[]; readonly txn: string },
  ): Promise<boolean>
  /**
   * Signs out, on record with it, also at the authorization server. Nothing where there is no such session.
   */
  end(id: string, txn: string): Promise<void>
  /**
   * Signs the person of this session out of every other browser, each on record, and out of the authorization
   * server, in the caller's transaction.
   */
  endOthers(sql: Sql, session: Pick<BrowserSession, 'person' | 'idHash'>, txn: string): Promise<void>
  /** Ends what is over and what belongs to a revoked subject, and returns how many. */
  sweep(): Promise<number>
  /**
   * The token of a form that is shown before anybody has signed in: bound to a value that only this browser
   * has.
   */
  formToken(value: string): string
}

export interface SessionsDeps extends Pick<Runtime, 'database' | 'seal' | 'clock' | 'randomBytes'> {
  readonly signInValidity: Pick<SignInValidity, 'upstreamPerson' | 'assertWithin'>
  readonly signInEnds: Pick<SignInEnds, 'atAuthorizationServer'>
}

const livesMs = 8 * 3_600_000

/** Stores digests of cookie values only. Does NOT check the CSRF token of a form. */
export function createSessions(deps: SessionsDeps): Sessions {
  const { database, seal, signInValidity, clock, randomBytes, signInEnds } = deps
  const hashOf = (id: string) => seal.hash('browser session', id)
  return {
    async begin({ person, amr, upstream, proof, verifiedAt }, { before: previousId, txn }) {
      const id = randomBytes(32).toString('base64url')
      const now = clock.now()
      const elsewhere = upstream && signInValidity.upstreamPerson(upstream)
      if (upstream !== undefined && elsewhere === undefined)
        throw new Error('Nobody is trusted for this sign-in.')
      await database.transaction(async (sql) => {
        await signInValidity.assertWithin(sql, { person, upstream, proof })
        if (previousId !== undefined) {
          await passPushOn(sql, { from: hashOf(previousId), to: hashOf(id), person, at: new Date(now) })
          await sql.query('delete from browser_sessions where id_hash = $1', [hashOf(previousId)])
        }
        await sql.query(
          `insert into browser_sessions (id_hash, person, amr, signed_in_at, expires_at,
             upstream_issuer, upstream_sub, upstream_person, verified_at)
           values ($1, $2, $3, $4, $5, $6, $7, $8, ${unlessLinkedLately})`,
          [
            hashOf(id),
            person,
            amr,
            new Date(now),
            new Date(now + livesMs),
            upstream?.issuer ?? null,
            upstream?.sub ?? null,
            elsewhere ?? null,
            // Another provider's clock may be ahead of ours.
            verifiedAt === undefined ? null : new Date(Math.min(verifiedAt.getTime(), now)),
            new Date(now - settlesMs),
          ],
        )
        await record(sql, atPages(person, txn), {
          event: 'signed_in',
          at: 'pages',
          amr,
          ...(upstream && { through: upstream.issuer }),
        })
      })
      return id
    },
    async find(id) {
      const [session] = await readRows<Omit<BrowserSession, 'csrf' | 'idHash'>>(
        database,
        `select person, 'user:' || person as subject, amr, signed_in_at as "signedInAt", verified_at as "verifiedAt",
           ${upstreamAccount} as upstream from browser_sessions
         where id_hash = $1 and ${counts}`,
        [hashOf(id), new Date(clock.now())],
      )
      return session && { ...session, csrf: seal.hash('session csrf', id), idHash: hashOf(id) }
    },
    async verified(id, { amr, txn }) {
      return database.transaction(async (sql) => {
        const rows = await sql.query<{ person: string }>(
          `update browser_sessions set verified_at = $2,
             amr = amr || array(select unnest($3::text[]) except select unnest(amr))
           where id_hash = $1 and ${counts} returning person`,
          [hashOf(id), new Date(clock.now()), amr],
        )
        for (const { person } of rows)
          await record(sql, atPages(person, txn), { event: 'user_verified', amr })
        return rows.length > 0
      })
    },
    async end(id, txn) {
      await database.transaction(async (sql) => {
        const ended = await sql.query<{ person: string }>(
          'delete from browser_sessions where id_hash = $1 returning person',
          [hashOf(id)],
        )
        await endPushOfSession(sql, hashOf(id), new Date(clock.now()))
        for (const { person } of ended) {
          await signInEnds.atAuthorizationServer(sql, person)
          await record(sql, atPages(person, txn), { event: 'signed_out' })
        }
      })
    },
    async endOthers(sql, { person, idHash }, txn) {
      const ended = await sql.query(
        'delete from browser_sessions where person = $1 and id_hash <> $2 returning person',
        [person, idHash],
      )
      // In the order in which a new password takes them: neither waits for the other for ever.
      await endPushOf(sql, person, { at: new Date(clock.now()), except: idHash })
      await signInEnds.atAuthorizationServer(sql, person)
      for (const _ of ended) await record(sql, atPages(person, txn), { event: 'signed_out' })
    },
    sweep: () =>
      countRows(
        database,
        `delete from browser_sessions where expires_at <= $1 or ${isRevoked('$1')} or not ${isWhoTheyWere} returning person`,
        [new Date(clock.now())],
      ),
    formToken: (value) => seal.hash('form before sign-in', value),
  }
}

// A thief of a session could have linked an account of their own, which then says that somebody was verified.
const unlessLinkedLately = `case when exists (
  select from account_links where issuer = $6 and sub = $7 and linked_at > $10::timestamptz
) then null else $9::timestamptz end`

// A revocation that is over since has still ended the sessions that began before it.
const isRevoked = (now: '$1' | '$2') => `exists (
  select from revocations where kind = 'subject' and key in ('user:' || person, 'user:' || upstream_person)
    and (until is null or until > ${now} or created_at >= signed_in_at))`

// A link that ended, and one that was made since: the account elsewhere is not who it was at the sign-in.
const isWhoTheyWere = `(upstream_person is null or browser_sessions.person = coalesce(
  (select link.person from account_links as link where link.issuer = upstream_issuer and link.sub = upstream_sub),
  upstream_person))`

// With `$2` for now.
const counts = `expires_at > $2 and not ${isRevoked('$2')} and ${isWhoTheyWere}`
