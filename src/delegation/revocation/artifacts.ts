import { type Adapter, type AdapterPayload, errors } from 'oidc-provider'
import { clocksApartMs } from '../../kernel/clock.ts'
import type { Seal } from '../../store/encryption.ts'
import type { Runtime } from '../../store/runtime.ts'
import { countRows, lastingEnd, type Sql } from '../../store/sql.ts'
import type { Revocations } from './revocations.ts'

export interface ArtifactsDeps extends Pick<Runtime, 'sql' | 'seal' | 'clock' | 'issuer'> {
  readonly revocations: Revocations
  /** Told of each grant that ends here, once nothing under it counts any more. */
  readonly grantEnded: (grantId: string) => Promise<void>
}

/** What the authorization server stores: codes, tokens, sessions. */
export interface Artifacts {
  /** The store of one model (`AuthorizationCode`, `RefreshToken`, …), in the library's form. */
  of(model: string): Adapter
  /** Drops what has been over for an hour by both clocks, and returns how many. */
  sweep(): Promise<number>
}

// What is over is kept a while: "expired" is another answer than "never heard of it" (RFC 8628 §3.5).
const keptMs = 3_600_000
/** The longest that an access token of ours counts anywhere: its life, and the leeway of who checks it. */
export const tokenMsMax = 330_000 + clocksApartMs

/**
 * The authorization server's store in Postgres. Each method is one statement, so that it works on PGlite's
 * one session too. Does not judge expiry: the library does, by the payload's own `exp`.
 */
export function createArtifacts(deps: ArtifactsDeps): Artifacts {
  const { sql, seal, clock, revocations, issuer, grantEnded } = deps
  const now = () => new Date(clock.now())
  const context = (model: string, idHash: string) => `${model} ${idHash}`
  const hashOfPerson = (payload: AdapterPayload) => {
    const person = personIn(payload)
    return person === undefined ? null : personHash(seal, person)
  }

  return {
    of(model) {
      const hashOf = (id: string) => seal.hash(model, id)

      async function findBy(
        column: 'id_hash' | 'user_code_hash' | 'uid_hash',
        hash: string,
      ): Promise<AdapterPayload | undefined> {
        const [row] = await sql.query<ArtifactRow>(
          `select id_hash, sealed, consumed_at from oauth_artifacts
           where model = $1 and ${column} = $2 and ended_at is null`,
          [model, hash],
        )
        if (row === undefined) return undefined
        const payload = seal.open(context(model, row.id_hash), row.sealed) as AdapterPayload
        return row.consumed_at === null
          ? payload
          : { ...payload, consumed: Math.floor(row.consumed_at.getTime() / 1_000) }
      }

      return {
        find: (id) => findBy('id_hash', hashOf(id)),
        findByUserCode: (userCode) => findBy('user_code_hash', seal.hash('user code', userCode)),
        findByUid: (uid) => findBy('uid_hash', seal.hash('uid', uid)),
        async upsert(id, payload, expiresIn) {
          if (expiresIn === undefined) throw new Error(`A ${model} without an end is not kept.`)
          const idHash = hashOf(id)
          const at = now()
          const values = [
            model,
            idHash,
            seal.close(context(model, idHash), payload),
            payload.grantId ?? null,
            payload.userCode === undefined ? null : seal.hash('user code', payload.userCode),
            payload.uid === undefined ? null : seal.hash('uid', payload.uid),
            hashOfPerson(payload),
            new Date(at.getTime() + expiresIn * 1_000),
            at,
          ]
          // A replayed id must lose even against one that is being written now: nothing is replaced while it
          // lasts.
          const once = model === 'ReplayDetection'
          const written = await countRows(
            sql,
            `insert into oauth_artifacts (model, id_hash, sealed, grant_id, user_code_hash, uid_hash, person_hash, expires_at)
             values ($1, $2, $3, $4, $5, $6, $7, ${lastingEnd('$8', '$9')})
             on conflict (model, id_hash) do update set
               sealed = excluded.sealed, grant_id = excluded.grant_id, user_code_hash = excluded.user_code_hash,
               uid_hash = excluded.uid_hash, person_hash = excluded.person_hash, expires_at = excluded.expires_at
             where oauth_artifacts.ended_at is null ${once ? 'and oauth_artifacts.expires_at <= $9' : ''}
             returning model`,
            values,
          )
          // Else it was ended while this request had it in hand; what is left of it keeps it from coming
          // back.
          if (once && written === 0) throw new errors.InvalidRequest('it was used before')
        },
        async consume(id) {
          // The library reads, then writes. Here only one of many at once changes the row; the others get an
          // error.
          const consumed = await countRows(
            sql,
            `update oauth_artifacts set consumed_at = $3
             where model = $1 and id_hash = $2 and consumed_at is null and ended_at is null returning model`,
            [model, hashOf(id), now()],
          )
          if (consumed === 0) throw new errors.InvalidGrant('it was redeemed already')
        },
        async destroy(id) {
          await sql.query('delete from oauth_artifacts where model = $1 and id_hash = $2', [
            model,
            hashOf(id),
          ])
        },
        async revokeByGrantId(grantId) {
          // Access tokens are JWTs and have no row: they end by the list that every request is checked
          // against.
          if (model === 'AccessToken') {
            const revokedUntil = new Date(clock.now() + tokenMsMax)
            await revocations.revoke(
              { kind: 'grant', issuer, id: grantId },
              { until: revokedUntil, reason: 'grant ended' },
            )
            await grantEnded(grantId)
          }
          await sql.query('delete from oauth_artifacts where model = $1 and grant_id = $2', [model, grantId])
        },
      }
    },
    // By both clocks: a process that is ahead or behind would forget what was used or ended, and others or it
    // would take it.
    sweep: () =>
      countRows(
        sql,
        'delete from oauth_artifacts where expires_at < least(now(), $2) - make_interval(secs => $1) returning model',
        [keptMs / 1_000, now()],
      ),
  }
}

/**
 * Ends the sign-ins and waiting requests of a person at the authorization server, in the caller's
 * transaction. The rows stay, empty, until they would have been over: a request that has read one would write
 * a deleted row back.
 */
export async function endSignIns(sql: Sql, hash: string, now: Date): Promise<void> {
  await sql.query(
    `update oauth_artifacts set ended_at = $2, sealed = ''
     where person_hash = $1 and model in ('Session', 'Interaction') and ended_at is null`,
    [hash, now],
  )
}

/** Stands for a person in an index. */
export const personHash = (seal: Seal, person: string): string => seal.hash('person', person)

/**
 * Whose it is: of a request that waits, who has just signed in for it, else whose session it was begun in.
 */
const personIn = ({ accountId, result, session }: AdapterPayload): string | undefined =>
  accountId ?? result?.login?.accountId ?? session?.accountId

interface ArtifactRow {
  readonly id_hash: string
  readonly sealed: Uint8Array
  readonly consumed_at: Date | null
}
